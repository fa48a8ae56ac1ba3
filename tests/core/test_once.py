"""Once-steps, decided: law 4 as tables."""

import pytest

from wakeline.core import once


@pytest.mark.parametrize(
    ("exit_code", "timed_out", "said"),
    [
        (0, False, "has"),
        (10, False, "lacks"),
        (1, False, "cannot-tell"),
        (-9, False, "cannot-tell"),
        (0, True, "cannot-tell"),
    ],
)
def test_only_0_and_10_are_answers(exit_code, timed_out, said):
    assert once.answer(exit_code, timed_out=timed_out) == said


def test_nothing_is_asked_for_where_a_command_still_runs_or_verify_cannot_tell():
    assert "k1" in once.why_not_asked_for(running="k1", said="")
    assert "nothing was started" in once.why_not_asked_for(running="", said=once.CANNOT_TELL)
    assert once.why_not_asked_for(running="", said=once.LACKS) == ""


def test_a_claim_starts_one_command():
    assert "not started again" in once.why_not_started("k1", started={"k1"})
    assert once.why_not_started("k2", started={"k1"}) == ""


def test_a_command_that_ended_well_counts_only_when_the_database_has_it():
    assert once.cause_of_end("migrate", cause="", said=once.HAS) == ""
    assert "still lacks it" in once.cause_of_end("migrate", cause="", said=once.LACKS)
    assert "cannot be asked" in once.cause_of_end("migrate", cause="", said=once.CANNOT_TELL)
    assert once.cause_of_end("migrate", cause="exit 1", said=once.HAS) == "exit 1"


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ({"claim": "k", "state": "not-started"}, "not-run"),
        ({"claim": "k", "state": "ended", "exit": 0}, "ended"),
        ({"claim": "k", "state": "ended", "exit": 1}, "ended"),
        ({"claim": "k", "state": "ended", "exit": -9}, ""),
        ({"claim": "k", "state": "ended", "exit": None}, ""),
        ({"claim": "k", "state": "running"}, ""),
        ({"claim": "k", "state": "nobody-knows"}, ""),
        ({"claim": "another", "state": "not-started"}, ""),
        ("not a row", ""),
    ],
)
def test_a_claim_is_closed_by_its_machine_only_when_it_knows(row, word):
    assert once.word_on("k", rows=[row], busy=False) == word
    assert once.word_on("k", rows=row, busy=False) == ""


def test_law_4_a_claim_that_has_not_started_may_yet_start_while_a_run_is_at_work_there():
    """Found by the simulation (seed 345739): it was settled as not run, and started a moment later."""
    rows = [{"claim": "k", "state": "not-started"}]
    assert once.word_on("k", rows=rows, busy=True) == ""
    assert once.word_on("k", rows=rows, busy=False) == "not-run"


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ({"state": "ended", "exit": 1}, "ended"),
        ({"state": "ended", "exit": 137}, ""),  # a shell whose command was killed: its statement may live on
        ({"state": "ended", "exit": 124}, ""),  # timeout(1) has killed it
        ({"state": "ended", "exit": 1, "session": "wakeline:c (process 7)"}, ""),
        ({"state": "ended", "exit": 137, "session": "gone"}, "ended"),
        ({"state": "ended", "exit": -9, "session": "gone"}, "ended"),
        ({"state": "nobody-knows", "session": "gone"}, "ended"),
        ({"state": "nobody-knows", "session": "cannot tell: the database is down"}, ""),
        ({"state": "running", "session": "gone"}, ""),
    ],
)
def test_a_command_that_was_killed_is_accounted_for_only_when_its_session_is_gone(row, word):
    assert once.word_on("c", rows=[{"claim": "c", **row}], busy=False) == word
