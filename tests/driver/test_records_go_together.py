"""Machines of one stage that answer within a moment of each other get their orders with one push."""

from __future__ import annotations

import asyncio
import time

from core.fleets import awake, failed, ok, stage
from wakeline.core import batching, rollout
from wakeline.core.commands import Send, Write
from wakeline.core.events import Event
from wakeline.driver.walking import Party, Walk
from wakeline.edges.agent_file import AgentFile

TWO = (stage("first", "a", "b", always=("a", "b")),)
LONG_S = 30.0


def heard(*events: Event, later: tuple[Event, ...] = (), running: tuple[str, ...] = ()) -> tuple[list[str], float]:
    """What is wanted done in one go, of events that are there and of some that come a little later; and in how long."""

    async def hear() -> tuple[list[str], float]:
        begun = rollout.Rollout(1, TWO, "a", {}, frozenset({"a", "b"}), running=frozenset(running))
        party = Party({}, {}, lambda _: None, AgentFile(b"", "none"))
        walk = Walk(begun, party=party, holder=None, approve=lambda _, draft: draft, tell=lambda _: None)
        for event in events:
            walk._events.put_nowait(event)
        for event in later:
            asyncio.get_running_loop().call_later(0.01, walk._events.put_nowait, event)
        began = time.monotonic()
        commands = await walk._heard()
        words = [
            each.draft.kind if isinstance(each, Write) else f"to {each.machine}"
            for each in commands
            if isinstance(each, (Write, Send))
        ]
        return words, time.monotonic() - began

    return asyncio.run(hear())


def test_who_answers_a_moment_later_is_in_the_same_push(monkeypatch):
    monkeypatch.setattr(batching, "MOMENT_S", LONG_S)
    words, seconds = heard(awake("a"), later=(awake("b"),))
    assert words == ["sent", "to a", "sent", "to b"]
    assert seconds < LONG_S / 2, "and nobody waits when all are there"


def test_who_ends_a_moment_later_is_in_the_same_push(monkeypatch):
    monkeypatch.setattr(batching, "MOMENT_S", LONG_S)
    monkeypatch.setattr(batching, "LONGEST_S", LONG_S)
    words, seconds = heard(ok("a"), later=(ok("b"),), running=("a", "b"))
    assert words[:2] == ["outcome", "outcome"]
    assert words[-1] == "release-ended"
    assert seconds < LONG_S / 2


def test_nobody_else_is_waited_for_longer_than_a_moment(monkeypatch):
    monkeypatch.setattr(batching, "MOMENT_S", 0.02)
    words, seconds = heard(awake("a"))
    assert words == ["sent", "to a"]
    assert seconds < LONG_S / 2


def test_a_failure_is_put_on_record_at_once(monkeypatch):
    monkeypatch.setattr(batching, "MOMENT_S", LONG_S)
    words, seconds = heard(failed("a"), running=("a", "b"))
    assert words == ["outcome"]
    assert seconds < LONG_S / 2
