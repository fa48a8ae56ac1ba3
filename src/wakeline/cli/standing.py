"""How one machine stands, in words, and the next command where there is one. For `status`; decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wakeline.core.behind import asleep_since
from wakeline.core.order import Outcome
from wakeline.core.state import MachineResult, State
from wakeline.core.times import when


def note(state: State, row: Mapping[str, Any], *, now_s: float) -> str:
    """The one thing about a machine that somebody in trouble wants to know first; empty where all is well."""
    name = row["machine"]
    if row["doing"]:
        now = row["doing"]
        number = f"release {now['release']}, " if now["release"] else ""
        return f"at work: {number}{now['what']} since {now['since'][:19]}"
    if row["busy"]:
        return "at work now"
    newest, result = state.last_word(name) or (None, None)
    bad = result is not None and result.outcome in (Outcome.FAILED, Outcome.UNKNOWN)
    if newest and result and bad and newest.number > row["release"]:
        return f"release {newest.number} {_ended(result)}"
    if row["presence"] == "asleep":
        return _asleep(state, row, now_s)
    if row["presence"] == "refused" or (row["cause"] and not row["release"]):
        return str(row["cause"])
    if row["held"] or "" in state.holds:
        return "on hold"
    if row["approved"] > row["release"]:
        return f"release {row['approved']} is approved for it: wakeline catch-up {name}"
    return str(row["cause"])


def next_steps(state: State, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to do about it, most pressing first, each with its command."""
    steps = [
        f"{claim.step} of release {claim.release} was started on {claim.machine} and nobody knows how it ended; "
        f"nothing else is deployed. Look at the database, then: wakeline resolve {claim.step} --done | --not-run"
        for claim in state.in_doubt
    ]
    for name, why in state.holds.items():
        command = f"wakeline unhold {name}".rstrip()
        steps.append(f"{name or 'the fleet'} is on hold: {why}; lift it with: {command}")
    newest = state.newest
    if newest and newest.ended == "failed" and not state.in_doubt:
        steps.append(f"release {newest.number} failed: fix it and deploy a newer commit, or: wakeline rollback")
    if newest and not newest.ended and state.lease.free:
        steps.append(f"release {newest.number} was not walked to its end: wakeline deploy carries it on")
    if newest and newest.ended == "interrupted" and not state.in_doubt:
        steps.append(f"release {newest.number} was interrupted: wakeline deploy carries it on")
    edited = (row["machine"] for row in rows if row["edited"])
    steps += [f"{name}: files were changed by hand; they are saved before they are replaced" for name in edited]
    return steps


def _asleep(state: State, row: Mapping[str, Any], now_s: float) -> str:
    since = asleep_since(state, row["machine"])
    text = f"since {when(since, now_s=now_s)}" if since else str(row["cause"])
    if row["held"] or "" in state.holds:
        return f"{text}; on hold: it stays where it is when it wakes"
    if row["approved"] > row["release"]:
        return f"{text}; goes to release {row['approved']} when it wakes"
    return text


def _ended(result: MachineResult) -> str:
    first = next((line for line in result.cause.splitlines() if line.strip()), "")
    return f"{result.outcome.value}: {first}" if first else result.outcome.value
