"""A machine finds the ledger moved since its order was sent: it asks the runner, and reads for itself where need be."""

from __future__ import annotations

import json

import pytest
from one_machine import healthy, service

from wakeline.core.records import GENESIS, Draft, chain
from wakeline.edges.ledgers.git import GitLedger

pytestmark = pytest.mark.slow

TAKEN = Draft("lease-taken", {"fence": 1, "holder": "ann", "length_s": 180})
HELD = Draft("held", {"machine": "web", "why": "somebody works on it"})


@pytest.fixture
def ledger(box, tmp_path):
    """A function that puts records on the ledger that the machine was set up with, and says where it stands then."""
    home = box.home / "shop" / "uat"
    home.mkdir(parents=True)
    (home / "config.json").write_text(json.dumps({"ledger": str(box.origin)}))
    store = GitLedger(str(box.origin), app="shop", environment="uat", workdir=tmp_path / "runner")

    def put(*drafts: Draft) -> str:
        records = chain(drafts, ids=["a", "b"][: len(drafts)], previous=GENESIS, at="t", by="ann")
        assert store.append(records)
        return store.stamp()

    return put


def ordered(box, order=None):
    """The order comes, and was sent when the ledger stood elsewhere."""
    order = order or box.order(1, box.commit())
    talk = box.open()
    talk.say(do="run", order=order.to_json(), fence=box.fence, stamp="0" * 40)
    return talk


def has_read(box) -> bool:
    """Whether the machine has fetched the log."""
    return any((box.home / "shop" / "uat" / "ledger").glob("*.git/refs/wakeline/copy"))


def test_where_the_runner_knows_it_the_machine_reads_nothing(box, ledger):
    stands_at = ledger(TAKEN)
    talk = ordered(box)
    assert talk.wait_for("ledger_at")["stamp"] == stands_at
    talk.say(do="stands", stamp=stands_at, known=True, barrier=0)
    assert talk.end()["outcome"] == "ok"
    assert not has_read(box)
    assert len(talk.of("ledger_at")) == 1


@pytest.mark.parametrize("known", [False, "yes", None, "no answer"])
def test_a_hold_that_the_runner_does_not_know_of_stops_the_order(box, ledger, known):
    """Law 8 depends on nobody's answer: who is not told that all is well looks for itself."""
    stands_at = ledger(TAKEN, HELD)
    talk = ordered(box)
    talk.wait_for("ledger_at")
    if known != "no answer":
        talk.say(do="stands", stamp=stands_at, known=known)
    last = talk.end()
    assert last["outcome"] == "withheld"
    assert "somebody works on it" in last["cause"]
    assert has_read(box)
    assert box.current() is None


def test_an_answer_about_another_place_is_none(box, ledger):
    ledger(TAKEN, HELD)
    talk = ordered(box)
    talk.wait_for("ledger_at")
    talk.say(do="stands", stamp="1" * 40, known=True)
    assert talk.end()["outcome"] == "withheld"


def test_a_runner_that_is_gone_is_not_waited_for(box, ledger):
    ledger(TAKEN, HELD)
    talk = ordered(box)
    talk.wait_for("ledger_at")
    talk.process.stdin.close()
    assert talk.end()["outcome"] == "withheld"


def test_law_5_the_barrier_that_is_told_with_the_answer_bars_the_way_back(box, ledger):
    stands_at = ledger(TAKEN)
    web = service("web", restart="true", health=healthy("! grep -q bad app.txt", within_s=0.3))
    box.run(box.order(1, box.commit(), services=(web,)))
    assert box.current() == 1
    broken = box.order(2, box.commit("bad"), services=(web,))
    talk = ordered(box, broken)
    talk.wait_for("ledger_at")
    talk.say(do="stands", stamp=stands_at, known=True, barrier=2)
    last = talk.end()
    assert last["outcome"] == "failed"
    assert "not switched back" in last["cause"]
    assert box.current() == 2
