"""Which messages are due, and what they say. The folded state goes in, with the clock; messages come out.

Laws that live here:

- One message for one rollout, when every machine of it is accounted for. A second one only when a sleeper has arrived,
  or is further behind than it may be.
- What is due is a function of the state alone, so a message that no service took is due again at the next contact.
- Text of machines and people is cleaned: in a chat it can call nobody, and looks like nothing but text.

What was told to whom is in core/diary.py.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Iterator, Mapping

from wakeline.core.behind import asleep_since, behind_since, is_awaited, overdue
from wakeline.core.model import Fleet, Machine, Presence
from wakeline.core.order import Outcome
from wakeline.core.state import Claim, MachineResult, Release, State
from wakeline.core.times import seconds_of, when

EVENTS = ("failed", "asleep", "caught-up", "approved", "in-doubt", "behind")
KEPT_S = 3 * 86400.0  # news of a rollout that nobody could be told for so long is history
_SHOWN_MAX = 3
_TEXT_MAX = 200
_HARMLESS = str.maketrans({"<": "(", ">": ")", "[": "(", "]": ")", "`": "'", "*": "+", "@": "@\u200b"})
_BAD = (Outcome.FAILED, Outcome.UNKNOWN)


@dataclasses.dataclass(frozen=True)
class Message:
    """One piece of news. `keys` say what it tells, so that it is told once; a receiver wants it for one of `events`.

    `arrived` are the sleepers that it is about.
    """

    keys: tuple[str, ...]
    release: int
    events: frozenset[str]
    title: str
    text: str
    arrived: tuple[str, ...] = ()


def due(state: State, fleet: Fleet, *, now_s: float, commits: Mapping[int, int] | None = None) -> list[Message]:
    """Everything that there is to tell, oldest first; the caller leaves out what was told.

    `commits` counts, by release, the commits since the release that was approved before it.
    """
    found = [_rollout(state, fleet, release, now_s, commits or {}) for release in _ended(state, now_s)]
    found += [_arrived(fleet, each) for each in _arrivals(state, now_s)]
    spoken_of = {claim.release for claim in state.in_doubt} & {message.release for message in found}
    found += [_doubt(fleet, claim) for claim in state.in_doubt if claim.release not in spoken_of]
    found += _behind(state, fleet, now_s)
    return sorted(found, key=lambda message: message.release or state.highest + 1)


def together(messages: Iterable[Message]) -> list[Message]:
    """What is due to one receiver: what a rollout's own message says already is not said again beside it."""
    kept: dict[tuple[int, bool], Message] = {}
    for message in messages:
        first = kept.get((message.release, False)) or kept.get((message.release, bool(message.arrived)))
        if not message.release or first is None:
            kept[message.release or -len(kept) - 1, bool(message.arrived)] = message
        else:
            kept[first.release, bool(first.arrived)] = _with(first, message)
    return list(kept.values())


def _with(first: Message, other: Message) -> Message:
    whole = dataclasses.replace(first, keys=first.keys + other.keys, events=first.events | other.events)
    if not first.arrived:
        return whole
    names = [*first.arrived, *other.arrived]
    title = first.title.partition(": ")[0] + f": {_some(names)} have caught up: release {first.release}"
    return dataclasses.replace(whole, title=title, text=other.text, arrived=tuple(names))


def before(state: State, number: int) -> Release | None:
    """The release that was approved everywhere before this one: what its commits are counted from."""
    earlier = state.newest_first(below=number)
    return next((r for r in earlier if r.approved >= {stage.name for stage in r.stages}), None)


def recently_ended(state: State, now_s: float) -> Iterator[Release]:
    """Releases that ended so lately that they may be news; also those whose time cannot be read."""
    since = datetime.datetime.fromtimestamp(max(now_s - KEPT_S, 0.0), tz=datetime.timezone.utc)
    return state.ended_since(since.strftime("%Y-%m-%dT%H:%M:%SZ"))


def _ended(state: State, now_s: float) -> Iterator[Release]:
    """Releases whose rollout has ended, and is news. One that walked a single stage waits for the others."""
    for release in recently_ended(state, now_s):
        known = all(name in release.results for stage in release.stages for name in stage.machines)
        told = release.ended == "failed" or (release.ended == "passed" and known)
        if (told or _doubts(state, release)) and release.ended and _is_news(release.ended_at, now_s):
            yield release


def _rollout(state: State, fleet: Fleet, release: Release, now_s: float, commits: Mapping[int, int]) -> Message:
    doubts = _doubts(state, release)
    bad = [name for name, result in release.results.items() if result.outcome in _BAD]
    asleep = _named(release, Outcome.ASLEEP)
    passed = release.ended == "passed"
    events = {"approved"} if passed else {"in-doubt"} if release.ended == "interrupted" else {"failed"}
    events |= {"asleep"} if asleep else set()
    events |= {"in-doubt"} if doubts else set()
    key = f"release {release.number} {release.ended if passed else release.ended_at}"
    title = f"{fleet.app} {fleet.environment}: release {release.number} {_how(release, bad, asleep)}"
    lines = [_count(state, release, commits.get(release.number, 0))]
    lines += [f"{name}: {_cause(release.results[name])}" for name in bad[:_SHOWN_MAX]]
    lines += [f"{len(bad) - _SHOWN_MAX} more failed."] if len(bad) > _SHOWN_MAX else []
    lines += [_sleepers(state, release, asleep, now_s)] if asleep else []
    withheld = _named(release, Outcome.WITHHELD)
    lines += [f"Withheld: {_some(withheld)}."] if withheld else []
    lines += [_in_doubt(claim) for claim in doubts]
    lines.append(_way_on(release, doubts))
    keys = (key, *(_doubt_key(claim) for claim in doubts))
    return Message(keys, release.number, frozenset(events), title, "\n".join(lines))


def _how(release: Release, bad: list[str], asleep: list[str]) -> str:
    if release.ended == "passed":
        return f"passed, {_some(asleep)} asleep" if asleep else "passed"
    return f"failed on {_some(bad)}" if bad else release.ended


def _count(state: State, release: Release, commits: int) -> str:
    names = [name for stage in release.stages for name in stage.machines]
    there = sum(name in release.results and release.results[name].outcome.passed for name in names)
    more = [f"{commits} commit{'s' if commits != 1 else ''}"] if commits else []
    more += [f"back to release {release.rollback_to}"] if release.rollback_to else []
    ran = [step for step, how in state.receipts_of(release.number).items() if how == "ran"]
    facts = ", ".join([*more, *(f"{step} ran" for step in ran)])
    return f"{there} of {len(names)} on {release.commit[:10]}" + (f" ({facts})." if facts else ".")


def _sleepers(state: State, release: Release, names: list[str], now_s: float) -> str:
    since: dict[str, list[str]] = {}
    for name in names:
        since.setdefault(when(asleep_since(state, name), now_s=now_s), []).append(name)
    told = [f"Asleep since {at}: {_some(each)}." for at, each in since.items()]
    coming = [name for name in names if is_awaited(release, name)]
    if len(coming) == len(names):
        told.append("It catches up when it wakes." if len(names) == 1 else "They catch up when they wake.")
    elif not coming:  # law 10: a failure in their stage, or before it, keeps them on what last passed
        told.append("It stays on what it runs." if len(names) == 1 else "They stay on what they run.")
    else:
        told.append(f"When they wake, {_some(coming)} will catch up; the others stay on what they run.")
    return " ".join(told)


def _way_on(release: Release, doubts: list[Claim]) -> str:
    if doubts:
        return f"Look at the database, then: wakeline resolve {doubts[0].step} --done | --not-run"
    if release.ended == "passed":
        return "Roll back: wakeline rollback"
    return "Look: wakeline status. Then deploy a fix, or roll back: wakeline rollback"


def _arrivals(state: State, now_s: float) -> Iterator[tuple[Release, str]]:
    """Sleepers that have spoken since, on the newest release that has a word on them."""
    found = [(*word, name) for name in state.spans if (word := state.last_word(name))]
    for release, result, name in sorted(found, key=lambda each: each[0].number, reverse=True):
        spoke = result.outcome.passed or result.outcome is Outcome.FAILED
        if result.asleep_at and spoke and _is_news(result.at, now_s):
            yield release, name


def _arrived(fleet: Fleet, arrival: tuple[Release, str]) -> Message:
    release, name = arrival
    result = release.results[name]
    head, key = f"{fleet.app} {fleet.environment}: {name}", f"release {release.number} {name}"
    if result.outcome is Outcome.FAILED:
        text = f"{_cause(result)}\nLook: wakeline explain {name}. Then deploy a fix, or: wakeline retry {name}"
        title = f"{head} woke, and release {release.number} failed on it"
        return Message((f"{key} woke-failed",), release.number, frozenset({"failed"}), title, text)
    waiting = _named(release, Outcome.ASLEEP)
    rest = f"Still asleep: {_some(waiting)}." if waiting else f"All machines of release {release.number} are there."
    title = f"{head} has caught up: release {release.number}"
    text = f"On {release.commit[:10]}. {rest}"
    return Message((f"{key} caught-up",), release.number, frozenset({"caught-up"}), title, text, (name,))


def _doubt(fleet: Fleet, claim: Claim) -> Message:
    title = f"{fleet.app} {fleet.environment}: {claim.step} of release {claim.release} is in doubt"
    text = f"{_in_doubt(claim)}\nLook at the database, then: wakeline resolve {claim.step} --done | --not-run"
    return Message((_doubt_key(claim),), claim.release, frozenset({"in-doubt"}), title, text)


def _in_doubt(claim: Claim) -> str:
    return f"{claim.step} was started on {claim.machine}, and nobody knows how it ended. Nothing else is deployed."


def _doubt_key(claim: Claim) -> str:
    return f"claim {claim.id}"


def _behind(state: State, fleet: Fleet, now_s: float) -> Iterator[Message]:
    for machine in fleet.machines:
        if machine.presence is Presence.ON_DEMAND and overdue(state, machine, now_s=now_s):
            yield _overdue(state, fleet, machine, now_s)


def _overdue(state: State, fleet: Fleet, machine: Machine, now_s: float) -> Message:
    since = behind_since(state, machine.name)
    title = f"{fleet.app} {fleet.environment}: {machine.name} is behind since {when(since, now_s=now_s)}"
    text = f"That is longer than its max_behind of {machine.max_behind_s / 86400:g} days."
    text += f"\nSwitch it on: it catches up by itself. Why it is behind: wakeline explain {machine.name}"
    return Message((f"behind {machine.name} {since}",), 0, frozenset({"behind"}), title, text)


def owed(state: State) -> frozenset[str]:
    """Machines that owe a word: the newest release that asked for them found them asleep, or heard no ending."""
    newest = {name: word[1].outcome for name in state.spans if (word := state.last_word(name))}
    return frozenset(name for name, outcome in newest.items() if outcome in (Outcome.ASLEEP, Outcome.UNKNOWN))


def harmless(text: str) -> str:
    """One line of somebody else's that a chat shows as it is: no mention, no link, no mark-up, no control character."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    shown = "".join(each if each.isprintable() else " " for each in first)
    shown = shown.translate(_HARMLESS)
    return shown if len(shown) <= _TEXT_MAX else f"{shown[: _TEXT_MAX - 1]}…"


def _cause(result: MachineResult) -> str:
    return harmless(result.cause) or result.outcome.value


def _doubts(state: State, release: Release) -> list[Claim]:
    return [claim for claim in state.in_doubt if claim.release == release.number]


def _named(release: Release, outcome: Outcome) -> list[str]:
    return [name for name, result in release.results.items() if result.outcome is outcome]


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_SHOWN_MAX])
    return f"{shown} and {len(names) - _SHOWN_MAX} more" if len(names) > _SHOWN_MAX else shown


def _is_news(at: str, now_s: float) -> bool:
    seconds = seconds_of(at)
    return seconds is None or now_s - seconds <= KEPT_S
