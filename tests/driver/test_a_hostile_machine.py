"""A machine that was taken over speaks to the real driver: it can end badly by itself, and harm nobody else.

The fleet is two folders and a ledger in a file. What runs on them is not our agent but a script that says what it
likes; the runner's own code is all real.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from pathlib import Path

import pytest

import peak
from wakeline.agent import wire
from wakeline.core import rollout
from wakeline.core.model import Machine, Presence
from wakeline.core.order import Order, Outcome, Step
from wakeline.core.records import Draft
from wakeline.core.state import StagePlan
from wakeline.driver import walking
from wakeline.driver.leasing import Holder
from wakeline.driver.progress import Notice
from wakeline.driver.walking import Party, Walk
from wakeline.driver.writer import Writer
from wakeline.edges import transports
from wakeline.edges.agent_file import AgentFile
from wakeline.edges.clock import boottime_s
from wakeline.edges.ledgers.sqlite import SqliteLedger
from wakeline.edges.transports import Conversation, Lost
from wakeline.edges.transports.local import LocalTransport

pytestmark = pytest.mark.slow

STAGES = (
    StagePlan("first", ("scheduler",), frozenset({"scheduler"}), True),
    StagePlan("second", ("uat",), frozenset(), False),
)
PRELUDE = """\
import json, sys, time
word = json.loads(sys.stdin.readline())
def say(event, **fields):
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\\n")
    sys.stdout.flush()
if word["order"]["machine"] != "uat":
    say("finished", outcome="ok", was=0)
    sys.exit()
"""


def _forget(_notice: Notice) -> None:
    """A renderer that keeps nothing: what is measured is what the driver keeps."""


class Run:
    """One walk with a hostile `uat`, and what came of it."""

    def __init__(self, folder: Path, script: str, *, keeps: bool = True) -> None:
        self.told: list[Notice] = []
        self._tell = self.told.append if keeps else _forget
        self.writer = Writer(SqliteLedger(folder / "ledger.sqlite", app="shop", environment="uat"), by="ann")
        steps = (Step("migrate", "x", once=True, verify="y", timeout_s=0.1),)
        self.machines = {}
        for name in ("scheduler", "uat"):
            agent = folder / name / "home/agents/hostile"
            agent.mkdir(parents=True)
            (agent / "__main__.py").write_text(PRELUDE + script)
            presence = Presence.ALWAYS if name == "scheduler" else Presence.ON_DEMAND
            self.machines[name] = Machine(name, f"local:{folder / name}", presence)
        self.orders = {
            name: Order("shop", "uat", name, "first", 1, "c" * 40, "x", "main", "/srv", steps=steps)
            for name in self.machines
        }
        self.agent = AgentFile(b"it lies there already", "hostile")
        self.walk = asyncio.run(self._run())

    async def _run(self) -> rollout.Rollout:
        stages = [
            {"name": s.name, "gates": s.gates, "machines": [self._known(name) for name in s.machines]} for s in STAGES
        ]
        made = Draft("release-made", {"fence": 1, "release": 1, "commit": "c", "lead": "scheduler", "stages": stages})
        taken = Draft("lease-taken", {"fence": 1, "holder": "ann", "length_s": 180.0})
        await self.writer.write(lambda _: [taken, made])
        begun = rollout.Rollout(1, STAGES, "scheduler", {}, frozenset(self.machines))
        holder = Holder(self.writer, 1, 180.0, boottime_s())
        party = Party(self.machines, self.orders, lambda _: LocalTransport(), self.agent)
        walk = Walk(begun, party=party, holder=holder, approve=lambda _, draft: draft, tell=self._tell)
        return await asyncio.wait_for(walk.run(), 120)

    def _known(self, name: str) -> dict[str, str]:
        return {"name": name, "presence": self.machines[name].presence.value}

    def outcomes(self) -> dict[str, Outcome]:
        return dict(self.walk.results)

    def cause(self, name: str) -> str:
        return self.writer.state.releases[1].results[name].cause


@pytest.fixture
def hostile(tmp_path):
    """A run, after which nobody speaks on: what runs on a machine has nobody left to speak to."""
    yield lambda script, **more: Run(tmp_path, script, **more)
    ends = time.monotonic() + 60
    while left := _running(str(tmp_path)):
        assert time.monotonic() < ends, f"still running: {left}"
        time.sleep(0.05)


def _running(folder: str) -> list[str]:
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            words = place.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            found += [f"{place.parent.name} {words}"] if folder in words else []
    return found


FINE = {"scheduler": Outcome.OK}


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("sys.stdout.write('x' * 50_000_000)", "bytes, which no agent writes"),
        ("sys.stdout.write('no JSON at all\\n')", "not the agent's language"),
        ("sys.stdout.write('[' * 100_000 + '\\n')", "not the agent's language"),
        ("sys.stdout.write('[1, 2]\\n')", "not an event"),
        ("sys.stdout.buffer.write(bytes(range(256)) * 100 + b'\\n')", "not the agent's language"),
        ("sys.exit(0)", "ended before the agent's last word"),
    ],
)
def test_what_is_not_the_agents_language_ends_the_contact_and_is_unknown(hostile, script, why):
    run = hostile(script)
    assert run.outcomes() == {**FINE, "uat": Outcome.UNKNOWN}
    assert why in run.cause("uat")
    assert len(run.cause("uat")) < 500


# Said over and over until it is a gigabyte or a million events. No limit is lowered for it: these are a user's own.
_FLOOD = """
import os
blob = {word} * max(1, 65536 // {length})
left = {size}
try:
    while left > 0:
        left -= os.write(1, blob)
except BrokenPipeError:
    sys.exit()
say("finished", outcome="ok")
"""
GIGABYTE = 1 << 30
MILLION = 1_000_000
TOO_LONG, TOO_OFTEN = "bytes, which no agent writes", "events, which no agent has to say"
FLOODS = {
    "lines": ({"event": "output", "step": "x", "text": "y" * 4000}, TOO_LONG),
    "long-lines": ({"event": "output", "step": "x", "text": "y" * MILLION}, TOO_LONG),
    "claims": ({"event": "claim_wanted", "step": "migrate"}, TOO_OFTEN),
    "greetings": ({"event": "hello", "reports": [{"release": 1, "outcome": "ok"}] * 10}, TOO_OFTEN),
    "ends": ({"event": "once_finished", "step": "migrate", "claim": "c", "cause": "z" * 900_000}, TOO_LONG),
}


def flood(word: bytes, *, size: int) -> str:
    return _FLOOD.format(word=word, length=len(word), size=size)


@pytest.mark.parametrize("what", [*FLOODS, "one-line-without-an-end"])
def test_a_gigabyte_and_a_million_events_are_cut_off_in_bounded_memory(hostile, what):
    event, why = FLOODS.get(what, ({}, TOO_LONG))
    word = json.dumps(event).encode() + b"\n" if event else b"x"
    script = flood(word, size=max(GIGABYTE, MILLION * len(word)) if why == TOO_OFTEN else GIGABYTE)
    with peak.measured() as memory:
        run = hostile(script, keeps=False)
    assert run.outcomes() == {**FINE, "uat": Outcome.UNKNOWN}
    assert why in run.cause("uat")
    assert len(run.cause("uat")) < 500
    assert not run.writer.state.claims
    assert memory.mib < 64, f"the runner took {memory.mib:.0f} MiB for it"


def test_what_an_agent_hands_on_of_output_is_half_of_what_is_heard():
    """No honest machine is ever cut off for what its steps print: agent/wire.py stops before."""
    assert 2 * wire.OUTPUT_BYTES <= transports.SAID_BYTES_MAX


def test_a_machine_that_never_finishes_is_given_up(hostile, monkeypatch):
    monkeypatch.setattr(walking, "_ORDER_MARGIN_S", 1.0)
    run = hostile("while True:\n    say('output', step='x', text='still here')\n    time.sleep(0.05)")
    assert run.outcomes() == {**FINE, "uat": Outcome.UNKNOWN}
    assert "no last word within" in run.cause("uat")


def test_an_event_in_another_machines_name_is_its_own(hostile):
    run = hostile("say('finished', machine='scheduler', outcome='failed', cause='not me')")
    assert run.outcomes() == {**FINE, "uat": Outcome.FAILED}
    assert run.writer.state.releases[1].results["scheduler"].outcome is Outcome.OK


def test_reports_count_for_the_machine_that_they_come_from(hostile):
    run = hostile(
        "say('hello', reports=[{'machine': 'scheduler', 'release': 1, 'outcome': 'failed'}, 5, None])\n"
        "say('finished', outcome='withheld', cause='x')"
    )
    assert run.writer.state.releases[1].results["scheduler"].outcome is Outcome.OK


def test_a_claim_that_it_was_not_given_settles_nothing(hostile):
    run = hostile(
        "say('once_finished', step='migrate', claim='abc', ok=True, exit=0, answer='has')\n"
        "say('verified', step='migrate', answer='has')\n"
        "say('finished', outcome='ok')"
    )
    assert not run.writer.state.receipts
    assert not run.writer.state.claims


@pytest.mark.parametrize("kind", ["release", "outcome", "approved", "knocked", "receipt", "claimed", "caught_up", "x"])
def test_it_cannot_pass_its_words_for_the_runners_own(hostile, kind):
    """Seen: an event named `release` ended the whole rollout as a bug of ours."""
    run = hostile(f"say({kind!r}, text='lies', outcome='ok')\nsay('finished', outcome='ok')")
    assert run.outcomes() == {**FINE, "uat": Outcome.OK}
    assert [notice for notice in run.told if notice.kind == kind and notice.data.get("text") == "lies"] == []


def test_an_order_whose_sending_ended_in_an_error_may_have_arrived(hostile, monkeypatch):
    async def breaks(_conversation, _message):
        raise Lost("the contact was lost")

    monkeypatch.setattr(Conversation, "send", breaks)
    assert hostile("").outcomes() == {"scheduler": Outcome.UNKNOWN, "uat": Outcome.WITHHELD}
