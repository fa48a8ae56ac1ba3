"""Holding the lease: what renews it, and what happens to the lease of a holder that has died."""

import asyncio

from wakeline.core.records import Draft
from wakeline.driver.leasing import Holder, fence_off
from wakeline.driver.writer import Writer
from wakeline.edges.ledgers.sqlite import SqliteLedger


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
