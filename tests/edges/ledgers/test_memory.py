"""What was last seen of a ledger, where two runners of one user share the memory of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from wakeline.core.records import Draft, chain
from wakeline.edges.ledgers import Log, memory
from wakeline.edges.ledgers.sqlite import SqliteLedger

GENESIS = "0" * 64


def appended(ledger: SqliteLedger, number: int) -> Log:
    records = chain(
        [Draft("held", {"machine": "", "why": ""})],
        ids=[f"{number:016x}"],
        previous=ledger.read().tip,
        at="x",
        by="ann",
    )
    assert ledger.append(records)
    return ledger.read()


class MovesMeanwhile:
    """A ledger to which another runner appends, and remembers it, while this one reads."""

    def __init__(self, ledger: SqliteLedger, place: Path) -> None:
        self._ledger, self._place = ledger, place

    def read(self, **_held) -> Log:
        log = self._ledger.read()
        memory.remember(appended(self._ledger, 2).tip, place=self._place)
        return log


def test_another_runner_that_appends_and_remembers_while_this_one_reads_is_no_cut_log(tmp_path):
    ledger, place = SqliteLedger(tmp_path / "ledger", app="shop", environment="uat"), tmp_path / "seen.json"
    first = appended(ledger, 1)
    assert memory.read(MovesMeanwhile(ledger, place), place=place).tip == first.tip
    assert memory.last_seen(place) == ledger.read().tip, "what the other has seen is not forgotten"


class WentByAnEarlierLook:
    """A ledger whose first answer is of a look that was taken before another runner appended, and remembered it."""

    def __init__(self, ledger: SqliteLedger) -> None:
        self._ledger, self._looked = ledger, [ledger.read()]

    def read(self, **_held) -> Log:
        return self._looked.pop() if self._looked else self._ledger.read()


def test_a_look_that_is_older_than_the_memory_is_looked_again_before_it_is_called_a_cut_log(tmp_path):
    ledger, place = SqliteLedger(tmp_path / "ledger", app="shop", environment="uat"), tmp_path / "seen.json"
    appended(ledger, 1)
    early = WentByAnEarlierLook(ledger)
    newest = appended(ledger, 2)
    memory.remember(newest.tip, place=place)
    assert memory.read(early, place=place).tip == newest.tip


def test_a_log_that_lacks_what_was_seen_is_refused(tmp_path):
    place = tmp_path / "seen.json"
    memory.remember("f" * 64, place=place)
    with pytest.raises(memory.NotTheLog, match="no longer contains record ffffffffffff"):
        memory.read(SqliteLedger(tmp_path / "ledger", app="shop", environment="uat"), place=place)
