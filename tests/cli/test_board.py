"""A rollout on a screen: notices in, rows and lines out, without a terminal."""

from __future__ import annotations

import random

import pytest

from wakeline.cli.board import Board, hear, how_it_stops
from wakeline.cli.view import clock, view
from wakeline.driver.progress import Notice


def begun(*stages: tuple[str, list[str]]) -> Board:
    shown = [{"name": name, "machines": machines} for name, machines in stages]
    data = {"number": 12, "commit": "a1b2c3d4e5f6", "rollback_to": 0, "stages": shown}
    return hear(Board(), Notice("release", text="shop uat", data=data), now_s=0.0)


TWO = (("scheduler", ["scheduler"]), ("frontend", ["uat"]))


def after(*notices: Notice, stages=TWO) -> Board:
    board = begun(*stages)
    for second, notice in enumerate(notices, 1):
        board = hear(board, notice, now_s=float(second))
    return board


def said(kind: str, machine: str = "scheduler", text: str = "", **data) -> Notice:
    return Notice(kind, machine, text, data)


def outcome(machine: str, word: str, cause: str = "", **data) -> Notice:
    return said("outcome", machine, outcome=word, cause=cause, **data)


def lines(board: Board, *, width: int = 80, height: int = 24, now_s: float = 30.0) -> list[str]:
    return ["".join(span.text for span in line) for line in view(board, now_s=now_s, width=width, height=height)]


SENT = Notice("sent", data={"machines": ["scheduler"]})
OUTPUT = Notice("output", "scheduler", data={"text": "chunk 3"})
AWAKE = said("knocked", "uat", answer="awake")


@pytest.mark.parametrize(
    ("notices", "shown"),
    [
        ([], "waiting"),
        ([said("knocked", answer="awake")], "awake"),
        ([SENT], "working 29 s the order is sent"),
        ([SENT, said("step_started", step="pages")], "working 28 s pages"),
        ([SENT, said("step_started", step="pages"), OUTPUT], "pages chunk 3"),
        ([SENT, said("step_finished", step="pages", ok=True, ran=False)], "pages: unchanged, not run"),
        ([SENT, said("verified", step="migrate", answer="has")], "migrate: the database has it"),
        ([SENT, said("verified", step="migrate", answer="cannot-tell")], "migrate: verify cannot-tell"),
        ([SENT, said("once_started", step="migrate")], "migrate, once"),
        ([SENT, said("switched", was=11, now=12)], "switched 11 → 12; waits until it is well"),
        ([SENT, said("switched_back", to=11, cause="web: no answer")], "switched back to 11: web: no answer"),
        ([SENT, outcome("scheduler", "ok", was=11, seconds=8.25)], "ok 8 s 11 → 12"),
        ([outcome("scheduler", "asleep", "tcp: no route")], "asleep tcp: no route"),
        ([outcome("scheduler", "failed", "pages: exit 3\nnpm ERR! x")], "failed pages: exit 3"),
    ],
)
def test_a_row_says_what_its_machine_is_and_does(notices, shown):
    assert shown in " ".join(lines(after(*notices))[1].split())


def test_a_machine_that_is_awake_says_which_stage_it_waits_for():
    board = after(AWAKE)
    assert "waits for scheduler" in lines(board)[2]
    board = hear(board, outcome("scheduler", "ok"), now_s=5.0)
    assert "waits its turn" in lines(board)[2]


def test_the_last_lines_of_a_failing_step_stand_below_its_row():
    board = after(SENT, outcome("scheduler", "failed", "pages: exit 3\none\ntwo"))
    assert [line.strip() for line in lines(board)[2:4]] == ["│ one", "│ two"]


def test_a_late_word_does_not_reopen_a_row():
    board = after(SENT, outcome("scheduler", "failed", "gone"), said("output", text="late"), said("healthy"))
    assert (board.rows["scheduler"].word, board.rows["scheduler"].doing) == ("failed", "gone")


def test_what_nobody_knows_changes_nothing():
    board = after(SENT)
    assert hear(board, said("a_kind_of_tomorrow"), now_s=9.0) == board
    assert hear(board, said("output", "nobody", text="x"), now_s=9.0) == board


HOSTILE = "\x1b[2J\x1b]0;title\x07over\rit\n::error::\u202e"


@pytest.mark.parametrize(
    "kind", ["output", "knocked", "waiting", "step_started", "outcome", "switched_back", "stopping"]
)
def test_hostile_text_moves_no_cursor(kind):
    data = {"text": HOSTILE, "step": HOSTILE, "cause": HOSTILE, "outcome": "failed", "answer": "refused", "to": 1}
    board = after(SENT, Notice(kind, "scheduler", HOSTILE, data))
    text = "".join(lines(board))
    assert all(character.isprintable() for character in text), ascii(text)


@pytest.mark.parametrize(
    ("notice", "words"),
    [
        (said("step_started", step="pages"), "scheduler stops before its switch, and keeps what it runs"),
        (said("switched", was=11, now=12), "scheduler carries its switch to the end"),
        (said("once_started", step="migrate"), "scheduler: migrate runs on to its end: it is never cut short"),
    ],
)
def test_ctrl_c_says_what_each_machine_does_about_it(notice, words):
    board = after(SENT, AWAKE, notice, Notice("stopping", text="Ctrl-C"))
    assert how_it_stops(board) == ["stopping (Ctrl-C): nothing new is started", words]
    assert " ".join(line.strip() for line in lines(board, width=40)[-4:]).endswith(words)


FIFTY = [f"web{number:02}" for number in range(50)]


def many(**words: str) -> Board:
    notices = [outcome(name, words.get(name, "ok"), "it broke") for name in FIFTY]
    return after(*notices, stages=(("scheduler", ["scheduler"]), ("frontend", FIFTY)))


@pytest.mark.parametrize("height", [1, 2, 3, 5, 10, 23, 80])
def test_fifty_machines_fit_any_screen(height):
    assert len(lines(many(web07="asleep", web31="failed"), height=height)) <= height


@pytest.mark.parametrize("height", [5, 10, 23])
def test_a_failed_machine_is_never_left_out_for_one_that_is_well(height):
    shown = lines(many(web31="failed"), height=height)
    assert any("web31" in line and "failed" in line for line in shown)
    assert any("49 machines" in line and "ok" in line for line in shown)


def test_what_cannot_be_shown_is_counted():
    shown = lines(many(**dict.fromkeys(FIFTY, "failed")), height=10)
    assert shown[-1] == "… and 43 more machines"


def test_forty_columns_show_machine_word_time_and_the_beginning_of_what_it_does():
    board = after(SENT, said("step_started", step="packages"))
    assert lines(board, width=40)[1].startswith("scheduler  working      28 s  packages")


def test_any_order_of_notices_is_shown_on_any_screen():
    kinds = ["knock", "knocked", "hello", "fetched", "laid_out", "step_started", "step_finished", "output", "verified"]
    kinds += ["claimed", "once_started", "once_finished", "switched", "healthy", "switched_back", "outcome", "woken"]
    chance = random.Random(7)
    for _ in range(200):
        board = begun(*TWO)
        for second in range(20):
            data = {"ok": chance.random() < 0.5, "outcome": chance.choice(["ok", "failed", "asleep"])}
            notice = Notice(chance.choice(kinds), chance.choice(["scheduler", "uat", ""]), "text", data)
            board = hear(board, notice, now_s=float(second))
            height = chance.randint(1, 30)
            assert len(lines(board, width=chance.randint(10, 200), height=height)) <= height


@pytest.mark.parametrize(("seconds", "shown"), [(-1, "0 s"), (59.9, "59 s"), (65, "1:05"), (7389, "2:03:09")])
def test_a_length_of_time_is_short(seconds, shown):
    assert clock(seconds) == shown
