"""`wakeline init` at a terminal: what a word can answer is asked, and nothing is written before the last answer."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from starting.test_init import SEED, repository
from wakeline import starting
from wakeline.fleet import load
from wakeline.starting.answering import Question, answered, questions


def test_what_can_be_answered_is_asked_from_the_top_and_enter_says_what_stands_there(tmp_path):
    text = starting.write(starting.look(repository(tmp_path, SEED))).text
    found = [(each.key, each.default) for each in questions(text)]
    assert found == [("environment", "uat"), ("presence", "always"), ("presence", "on-demand"), ("health", "")]


@pytest.mark.parametrize(
    ("key", "below", "answer", "written"),
    [
        ("environment", 'environment = "production"', "uat", 'environment = "uat"'),
        ("address", 'address = "a@first.example.org"', 'b@"x', 'address = "b@\\"x"'),
        ("health", "# health = {}", "http://[::1]/", 'health = { http = "http://[::1]/", within = "30s" }'),
        ("health", "# health = {}", "./check --all", 'health = { run = "./check --all", within = "30s" }'),
    ],
)
def test_an_answer_takes_the_place_of_its_todo_line(key, below, answer, written):
    text = f"# one\n# TODO what?\n{below}\nlast = 1\n"
    (question,) = questions(text)
    assert question == Question(1, "what?", key, question.default)
    assert answered(text, question, answer) == f"# one\n{written}\nlast = 1\n"


def test_a_todo_line_with_nothing_below_that_it_is_about_is_no_question():
    assert list(questions('# TODO which?\nroles = ["a"]\n# TODO and this?\n\n# TODO last')) == []


LIMIT_S = 60
CTRL_C = b"\x03"


def at_a_terminal(place: Path, *typed: tuple[str, bytes]) -> tuple[int, str]:
    """`wakeline init` with somebody at its terminal, who types when the screen shows a question.

    Returns the exit code, and everything that the screen showed. The terminal is its own, so that Ctrl-C is a signal.
    """
    ours, theirs = pty.openpty()
    command = ["env", "--default-signal=INT"]  # whoever runs the tests in the background ignores it, and so would we
    command += ["setsid", "--ctty", "--wait", sys.executable, "-m", "wakeline", "init"]
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "xterm"}
    child = subprocess.Popen(command, cwd=place, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen, waiting, key = b"", list(typed), b""
    with contextlib.suppress(OSError):  # EIO: the other side is gone
        while chunk := _read(ours, again=key):
            seen += chunk
            if waiting and waiting[0][0].encode() in seen[seen.rfind(b"\n") :]:
                key = waiting.pop(0)[1]
                os.write(ours, key)
    os.close(ours)  # a terminal that is gone ends whoever still waits at it
    return child.wait(timeout=LIMIT_S), seen.decode()


def _read(ours: int, *, again: bytes) -> bytes:
    """What the screen shows next. A Ctrl-C in the moment before the question is read wakes nobody: pressed again."""
    ends = time.monotonic() + LIMIT_S
    while time.monotonic() < ends:
        if select.select([ours], [], [], 1.0)[0]:
            return os.read(ours, 65536)
        if again == CTRL_C:
            os.write(ours, again)
    return b""


ENVIRONMENT, ALWAYS, MAY = "which environment is this?", "is scheduler always on?", "may uat be switched off?"
HEALTH = "an address of gunicorn.service"


def test_somebody_at_a_terminal_answers_and_what_is_no_answer_is_asked_again(tmp_path):
    place = repository(tmp_path, SEED)
    code, seen = at_a_terminal(
        place,
        (ENVIRONMENT, b"Staging!\n"),
        (ENVIRONMENT, b"staging\n"),
        (ALWAYS, b"\n"),
        (MAY, b"yes\n"),
        (MAY, b"always\n"),
        (HEALTH, b"http://127.0.0.1:8123/healthz\n"),
    )
    assert code == 0, seen
    text = (place / "wakeline.toml").read_text()
    file = load(text)
    assert file.fleet.environment == "staging"
    assert [each.presence.value for each in file.fleet.machines] == ["always", "always"]
    assert 'health = { http = "http://127.0.0.1:8123/healthz", within = "30s" }' in text
    assert '"yes"' in seen, "what is wrong with an answer is said in the fleet file's own words"
    assert "TODO which environment" not in text


def test_enter_leaves_for_later_what_has_no_answer_yet(tmp_path):
    place = repository(tmp_path, SEED)
    code, seen = at_a_terminal(place, *((each, b"\n") for each in (ENVIRONMENT, ALWAYS, MAY, HEALTH)))
    assert code == 0, seen
    text = (place / "wakeline.toml").read_text()
    assert "# TODO an address of gunicorn.service" in text
    assert "could not tell: an address of gunicorn.service" in seen
    assert "# TODO is scheduler always on?" not in text


@pytest.mark.parametrize("key", [CTRL_C, b"\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_somebody_who_leaves_in_the_middle_leaves_nothing_behind(tmp_path, key):
    place = repository(tmp_path, SEED)
    code, seen = at_a_terminal(place, (ENVIRONMENT, b"uat\n"), (ALWAYS, key))
    assert (code, "Traceback" in seen, "bug" in seen) == (130, False, False), seen
    assert not (place / "wakeline.toml").exists()
