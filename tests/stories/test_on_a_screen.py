"""What a rollout looks like where somebody watches it, and where nobody does."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

MOVES = re.compile(rb"\x1b\[\d*[A-HJKf]")
COLOUR = re.compile(rb"\x1b\[[\d;]*3\d[\d;]*m")


def on_a_terminal(fleet, *arguments: str, **environment: str) -> tuple[int, bytes]:
    """The command on a terminal of 80 columns and 24 lines: its exit code, and every byte that it wrote there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    values = {key: value for key, value in fleet.environment.items() if key not in ("NO_COLOR", "COLUMNS", "LINES")}
    command = [sys.executable, "-m", "wakeline", *arguments]
    child = subprocess.Popen(
        command, cwd=fleet.app, env={**values, "TERM": "xterm-256color", **environment}, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # EIO: the other side is gone
        while chunk := os.read(ours, 65536):
            seen += chunk
    os.close(ours)
    return child.wait(timeout=60), seen


def test_a_terminal_shows_rows_and_keeps_a_record(fleet):
    fleet.commit("one")
    fleet.power("uat", on=False)
    code, seen = on_a_terminal(fleet, "deploy")
    assert code == 0, seen
    assert MOVES.search(seen)
    record = seen[seen.rindex(b"\x1b[J") :].decode()
    assert "release 1" in record
    assert re.search(r"frontend +uat +\x1b\[33masleep", record)
    assert "when it wakes, it brings itself to release 1" in record


def test_no_color_is_heard(fleet):
    fleet.commit("one")
    code, seen = on_a_terminal(fleet, "deploy", NO_COLOR="1")
    assert (code, COLOUR.search(seen)) == (0, None)
    assert MOVES.search(seen)


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"TERM": ""}])
def test_a_dumb_terminal_gets_plain_lines(fleet, environment):
    fleet.commit("one")
    code, seen = on_a_terminal(fleet, "deploy", **environment)
    assert code == 0
    assert b"\x1b" not in seen
    assert b"switched from release none to 1" in seen


def test_a_pipe_gets_plain_lines(fleet):
    fleet.commit("one")
    said = fleet.wakeline("deploy")
    assert "\x1b" not in said.out + said.err
    assert "switched from release none to 1" in said.err


def test_what_a_step_prints_moves_no_cursor_on_the_screen(fleet):
    fleet.commit("one", pages_sh="printf '\\033[2J\\033[9;9Hgotcha\\007\\n'; exit 1")
    code, seen = on_a_terminal(fleet, "deploy")
    assert code == 1
    assert b"gotcha" in seen
    assert not re.search(rb"\x1b\[2J|\x1b\[9;9H|\x07", seen)
