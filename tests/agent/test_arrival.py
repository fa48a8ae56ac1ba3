"""An agent arrives whole or not at all, and one that runs is never taken away."""

import concurrent.futures
import hashlib
import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from one_machine import PROMISED, name_of, pythons, until, version_of

from wakeline.agent import arrival
from wakeline.edges.agent_file import agent_file
from wakeline.errors import RolloutFailed


def a_zip(**files: str) -> tuple[bytes, str]:
    """An archive of some modules, and its digest."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"{name}.py", text)
    return buffer.getvalue(), hashlib.sha256(buffer.getvalue()).hexdigest()


def an_agent(number: int) -> tuple[bytes, str]:
    return a_zip(__main__=f"print([])  # {number}")


def placed(root: Path, number: int) -> str:
    data, digest = an_agent(number)
    arrival.place(data, digest=digest, root=root)
    return digest


def names(root: Path) -> set[str]:
    return {each.name for each in (root / "agents").iterdir()} - {".lock"}


def test_it_is_unpacked_compiled_and_complete(tmp_path):
    digest = placed(tmp_path, 1)
    assert names(tmp_path) == {digest}
    assert list((tmp_path / "agents" / digest / "__pycache__").glob("__main__.*.pyc"))
    arrival.prove(tmp_path, digest)


def test_bytes_that_are_not_what_was_named_are_not_unpacked(tmp_path):
    data, digest = an_agent(1)
    with pytest.raises(RolloutFailed, match="not taken"):
        arrival.place(data + b"x", digest=digest, root=tmp_path)
    assert not (tmp_path / "agents").exists()


def test_what_does_not_compile_or_is_no_archive_does_not_arrive(tmp_path):
    data, digest = a_zip(__main__="def :")
    with pytest.raises(RolloutFailed, match="does not compile on Python"):
        arrival.place(data, digest=digest, root=tmp_path)
    with pytest.raises(RolloutFailed, match="no archive"):
        arrival.place(b"hello", digest=hashlib.sha256(b"hello").hexdigest(), root=tmp_path)
    assert names(tmp_path) == set()


@pytest.mark.parametrize("text", ["raise SystemExit(3)", "print('hello')", "import nothing_like_it"])
def test_what_does_not_run_here_is_taken_away_again(tmp_path, text):
    data, digest = a_zip(__main__=text)
    arrival.place(data, digest=digest, root=tmp_path)
    with pytest.raises(RolloutFailed, match="does not run here"):
        arrival.prove(tmp_path, digest)
    assert names(tmp_path) == set()


def test_a_full_disk_leaves_nothing_and_says_so(tmp_path, agent):
    """A limit on the size of a file is what a full disk is without root: a write that fails midway."""
    digest = agent_file().digest
    limited = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); "
    limited += "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    words = [str(agent), "--home", str(tmp_path), "arrive", digest]
    done = subprocess.run([sys.executable, "-c", limited, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, "File too large" in done.stderr) == (1, True), done
    assert names(tmp_path) == set()
    assert subprocess.run([sys.executable, *words], check=False).returncode == 0
    assert names(tmp_path) == {digest}


def test_what_one_that_was_cut_off_has_left_is_cleared_away(tmp_path):
    agents = tmp_path / "agents"
    (agents / ".part-1" / "wakeline").mkdir(parents=True)
    (agents / ".zip-1").write_bytes(b"half")
    os.utime(agents / ".zip-1", (1, 1))
    (agents / ".zip-2").write_bytes(b"on its way")
    digest = placed(tmp_path, 1)
    assert names(tmp_path) == {digest, ".zip-2"}


def test_many_that_place_the_same_agent_at_once_do_not_meet(tmp_path, agent):
    words = [sys.executable, str(agent), "--home", str(tmp_path), "arrive", agent_file().digest]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(lambda _: subprocess.run(words, check=False).returncode, range(4)))
    assert codes == [0] * 4
    assert names(tmp_path) == {agent_file().digest}


def test_the_ones_that_nobody_has_used_for_longest_make_room_and_one_that_runs_never(tmp_path):
    digests = [placed(tmp_path, number) for number in range(6)]
    for age, digest in enumerate(reversed(digests), 1):
        then = time.time() - 100 * age
        os.utime(tmp_path / "agents" / digest, (then, then))
    data, running = a_zip(
        __main__="import fcntl, os, sys, time; fd = os.open(sys.argv[0], os.O_RDONLY); fcntl.flock(fd, fcntl.LOCK_SH);"
        " print('up', flush=True); time.sleep(600)"
    )
    arrival.place(data, digest=running, root=tmp_path)
    os.utime(tmp_path / "agents" / running, (1, 1))
    folder = str(tmp_path / "agents" / running)
    with subprocess.Popen([sys.executable, folder], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "up\n"
            arrival.become(tmp_path, digests[0])
            assert names(tmp_path) == {digests[0], digests[4], digests[5], running}
        finally:
            process.kill()
    arrival.become(tmp_path, digests[5])
    assert names(tmp_path) == {digests[5], digests[4], digests[0]}
    assert (tmp_path / "agent.pyz").readlink() == Path("agents", digests[5])


def test_an_agent_that_runs_holds_its_own_folder(tmp_path, agent):
    digest = agent_file().digest
    arrival.place(agent.read_bytes(), digest=digest, root=tmp_path)
    words = [sys.executable, str(tmp_path / "agents" / digest), "--home", str(tmp_path), "run"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        mine = f"{(tmp_path / 'agents' / digest).stat().st_ino}"
        until(lambda: f":{mine} " in Path("/proc/locks").read_text(), "its lock")
        process.send_signal(signal.SIGTERM)
        process.stdin.close()
        process.wait(timeout=30)
        process.stdout.close()


@pytest.mark.parametrize("python", pythons(), ids=name_of)
def test_it_arrives_and_runs_on_every_python(tmp_path, agent, python):
    digest = agent_file().digest
    subprocess.run([python, str(agent), "--home", str(tmp_path), "arrive", digest], check=True)
    done = subprocess.run(
        [python, str(tmp_path / "agents" / digest), "--home", str(tmp_path), "status"], check=True, capture_output=True
    )
    assert done.stdout == b"[]\n"


@pytest.mark.parametrize("promised", PROMISED, ids=lambda version: ".".join(map(str, version)))
def test_the_pythons_that_are_promised_are_among_them(promised):
    if promised not in {version_of(each)[1] for each in pythons()}:
        pytest.skip(
            f"no Python {'.'.join(map(str, promised))} here: `python -m host` in tests/ installs pypy3, which is 3.9"
        )
