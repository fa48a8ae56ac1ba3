"""The one door to other programs: bounded in time and memory, and nothing is left running."""

import sys
import time
from pathlib import Path

import pytest

from wakeline.edges import process


def python(code: str, **more):
    return process.run([sys.executable, "-c", code], **{"timeout_s": 20, **more})


def test_code_and_both_outputs_come_back():
    finished = python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert (finished.code, finished.out, finished.err) == (3, b"out\n", b"err\n")


def test_input_is_fed_whatever_its_size():
    data = b"x" * 1_000_000
    assert python("import sys; print(len(sys.stdin.buffer.read()))", input=data).out == b"1000000\n"


def test_a_command_that_reads_no_input_is_no_error():
    assert python("pass", input=b"x" * 1_000_000).code == 0


def test_memory_is_bounded_and_the_rest_is_counted():
    finished = python(f"import sys; sys.stdout.write('x' * {process.KEPT_BYTES_MAX + 1000})")
    assert len(finished.out) == process.KEPT_BYTES_MAX
    assert finished.dropped == 1000


def test_a_missing_program_and_a_missing_folder_are_told_apart(tmp_path):
    with pytest.raises(process.CommandMissing, match="no-such-program"):
        process.run(["no-such-program"], timeout_s=1)
    with pytest.raises(FileNotFoundError):
        process.run(["true"], timeout_s=1, cwd=tmp_path / "gone")


@pytest.mark.slow
def test_a_command_past_its_limit_is_ended_with_all_that_it_started(tmp_path):
    code = "import os, time; open('child', 'w').write(str(os.fork() or os.getpid())); time.sleep(60)"
    with pytest.raises(process.CommandTimedOut):
        python(code, timeout_s=0.5, cwd=tmp_path)
    pid = (tmp_path / "child").read_text()
    ends = time.monotonic() + 5
    while (state := _state(pid)) not in ("", "Z"):
        assert time.monotonic() < ends, f"process {pid} is still there ({state})"


def _state(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""
