"""A writer whom others are always faster than: its record is on the ledger in the end, once, and theirs are too."""

from __future__ import annotations

import asyncio
import subprocess

import pytest

from wakeline.core.records import Draft, chain
from wakeline.driver import writer
from wakeline.driver.writer import Writer
from wakeline.edges.ledgers import open_ledger
from wakeline.errors import LedgerError

pytestmark = pytest.mark.slow


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    """Opens one ledger in a real git remote, each time as another runner would."""
    monkeypatch.setattr(writer, "BACKOFF_S_MAX", 0.0)
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", str(remote)], check=True)
    return lambda name: open_ledger(str(remote), app="shop", environment="uat", workdir=tmp_path / name)


def always_second(ledger, monkeypatch, *, losses: int):
    """A writer before each of whose pushes another one's arrives, so many times."""
    mine, rival = ledger("mine"), ledger("rival")
    push, lost = mine._push, []

    def late(commit, **more):
        if len(lost) < losses:
            number = f"rival {len(lost)}"
            record = chain([Draft("held", {"machine": number})], ids=[number], previous=rival.read().tip, at="", by="r")
            assert rival.append(record)
            lost.append(number)
        return push(commit, **more)

    monkeypatch.setattr(mine, "_push", late)
    return Writer(mine, by="ann")


def test_a_writer_that_loses_a_hundred_times_loses_no_record_and_doubles_none(ledger, monkeypatch):
    loser = always_second(ledger, monkeypatch, losses=100)
    asked = []
    asyncio.run(loser.write(lambda state: (asked.append(state.tip), [Draft("held", {"machine": "mine"})])[1]))
    found = [record.body["machine"] for record in ledger("reader").read().records]
    assert found == [*(f"rival {number}" for number in range(100)), "mine"]
    assert len(set(asked)) == 101, "it decides anew on what it lost to"


def test_a_writer_that_never_wins_says_so_and_has_written_nothing(ledger, monkeypatch):
    monkeypatch.setattr(writer, "TRIES_MAX", 5)
    loser = always_second(ledger, monkeypatch, losses=1000)
    with pytest.raises(LedgerError, match="moved under 5 tries in a row"):
        asyncio.run(loser.write(lambda _: [Draft("held", {"machine": "mine"})]))
    found = [record.body["machine"] for record in ledger("reader").read().records]
    assert found == [f"rival {number}" for number in range(5)]
