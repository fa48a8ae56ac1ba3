"""Holding the lease: what renews it, and what happens to the lease of a holder that has died."""

import asyncio
from types import SimpleNamespace

import pytest

from wakeline.core.records import Draft
from wakeline.driver import deploying, settling
from wakeline.driver.leasing import Holder, fence_off
from wakeline.driver.stopping import Stop
from wakeline.driver.writer import Writer
from wakeline.edges.ledgers.sqlite import SqliteLedger
from wakeline.errors import Busy


def writer(tmp_path, by: str = "ann") -> Writer:
    return Writer(SqliteLedger(tmp_path / "ledger.sqlite", app="shop", environment="uat"), by=by)


def taken(by: str) -> list[Draft]:
    return [Draft("lease-taken", {"fence": 1, "holder": by, "length_s": 180.0})]


def test_what_was_not_written_renews_nothing(tmp_path):
    """Seen in reading: an empty write moved the holder's own clock, and nobody else could see a renewal."""
    mine = writer(tmp_path)
    asyncio.run(mine.write(lambda _: taken("ann")))
    holder = Holder(mine, 1, 180.0, renewed_s=5.0)
    asyncio.run(holder.write(lambda _: []))
    assert holder.renewed_s == 5.0
    asyncio.run(holder.write(lambda _: [Draft("lease-renewed", {})]))
    assert holder.renewed_s > 5.0


def claimed(mine: Writer) -> None:
    body = {"fence": 1, "claim": "k1", "release": 1, "step": "migrate", "machine": "uat"}
    asyncio.run(mine.write(lambda _: [*taken("bob"), Draft("claimed", body)]))


def test_law_4_the_claim_of_a_holder_that_died_is_in_doubt_once_it_is_fenced_off(tmp_path):
    mine = writer(tmp_path)
    claimed(mine)
    before = asyncio.run(mine.read())
    assert (len(before.open_claims), before.in_doubt) == (1, ())
    after = asyncio.run(fence_off(mine, before))
    assert (after.lease.number, after.lease.free, len(after.in_doubt)) == (2, True, 1)


def test_law_8_a_holder_that_has_renewed_meanwhile_is_not_fenced_off(tmp_path):
    mine = writer(tmp_path)
    claimed(mine)
    before = asyncio.run(mine.read())
    asyncio.run(Holder(writer(tmp_path, "bob"), 1, 180.0, 0.0).write(lambda _: [Draft("lease-renewed", {})]))
    after = asyncio.run(fence_off(mine, before))
    assert (after.lease.number, after.lease.free) == (1, False)


def test_law_4_a_claim_is_left_alone_whose_holder_turns_out_to_live(tmp_path, monkeypatch):
    """The last read before a lease counts as dead may have been under way for as long as the lease lasts."""
    mine = writer(tmp_path)
    claimed(mine)
    before = asyncio.run(mine.read())
    asyncio.run(Holder(writer(tmp_path, "bob"), 1, 180.0, 0.0).write(lambda _: [Draft("lease-renewed", {})]))

    async def seen(_project):
        return {"uat": SimpleNamespace(said={})}

    async def word(*_args, **_more):
        return "not-run"

    monkeypatch.setattr(settling, "look", seen)
    monkeypatch.setattr(settling, "_word", word)
    after = asyncio.run(settling.settle(SimpleNamespace(writer=mine), before, tell=print))
    assert [claim.id for claim in after.open_claims] == ["k1"]


def test_law_8_a_lease_that_was_taken_while_machines_were_asked_is_watched_anew(tmp_path, monkeypatch):
    """Seeds 208 and 380: who had it by then lost it to us within the same second."""
    mine, rival = writer(tmp_path), writer(tmp_path, "bob")
    file = SimpleNamespace(deploy=SimpleNamespace(lease_s=180.0), fleet=SimpleNamespace(machines=()))
    project = SimpleNamespace(writer=mine, file=file)

    async def settle(_project, _state, *, tell):
        tell("machines are asked, and somebody is faster")
        await rival.write(lambda _: taken("bob"))
        return await mine.read()

    async def watched(*_args, **_more):
        raise Busy("bob has the lease")

    monkeypatch.setattr(deploying, "settle", settle)
    monkeypatch.setattr(deploying, "until_takeable", watched)
    monkeypatch.setattr(deploying.approving, "key_for", lambda *_: None)

    async def begin():
        desk = deploying._Desk(project, deploying.Wish("deploy", commit="c1"), "c1", {}, Stop())
        await desk.begin(print)

    with pytest.raises(Busy):
        asyncio.run(begin())
    lease = asyncio.run(mine.read()).lease
    assert (lease.number, lease.holder, lease.free) == (1, "bob", False)
