"""What was told to whom: a log of its own beside the ledger's, with records of the same make.

It decides nothing about machines, so no machine reads it, and an agent of any age is left alone by it. Laws:

- A message is told once to a receiver: the start is on record before it is sent, by compare-and-append, so that of two
  contacts at once one sends it.
- A message whose service did not take it is told by the next contact. One that was started and of which nobody said
  how it ended is told again after a while: a runner that died may have sent it, and twice is better than never.
- What was there before a receiver wanted such news is history to it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from wakeline.core.messages import Message, together
from wakeline.core.model import Receiver
from wakeline.core.records import GENESIS, BadLog, Draft, Record
from wakeline.core.times import seconds_of

AGAIN_S = 300.0


@dataclasses.dataclass(frozen=True)
class Diary:
    """The fold over that log. `wanted` has the events that a receiver was known to want."""

    position: int = 0
    tip: str = GENESIS
    wanted: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    told: frozenset[tuple[str, str]] = frozenset()
    started: Mapping[tuple[str, str], str] = dataclasses.field(default_factory=dict)


def fold(records: Iterable[Record]) -> Diary:
    """Read the log from its beginning. Raises BadLog for a record that cannot be read; passes over unknown kinds."""
    position, tip = 0, GENESIS
    wanted: dict[str, frozenset[str]] = {}
    told: set[tuple[str, str]] = set()
    started: dict[tuple[str, str], str] = {}
    for record in records:
        position, tip = position + 1, record.hash
        try:
            receiver = str(record.body["receiver"])
            pairs = [(receiver, str(key)) for key in record.body["keys"]]
        except (KeyError, TypeError) as error:
            raise BadLog(position, f"a {record.kind} record that cannot be read: {error!r}") from error
        if record.kind == "wanted":
            events = frozenset(str(event) for event in record.body.get("events", ()))
            wanted[receiver] = wanted.get(receiver, frozenset()) | events
        if record.kind in ("wanted", "told"):
            told.update(pairs)
        if record.kind == "telling":
            started.update(dict.fromkeys(pairs, record.at))
        if record.kind == "not-told":
            for pair in pairs:
                started.pop(pair, None)
    return Diary(position, tip, wanted, frozenset(told), started)


def first_wanted(
    diary: Diary, receivers: Iterable[Receiver], messages: Iterable[Message], *, current: int
) -> list[Draft]:
    """For receivers, and events of theirs, that are new: what is due already is history. `current` is this rollout."""
    drafts = []
    for receiver in receivers:
        new = frozenset(receiver.events) - diary.wanted.get(receiver.name, frozenset())
        if new:
            old = [each for each in messages if each.events & new and (not current or each.release != current)]
            keys = sorted({key for each in old for key in each.keys})
            drafts.append(Draft("wanted", {"receiver": receiver.name, "events": sorted(new), "keys": keys}))
    return drafts


def open_for(diary: Diary, receiver: Receiver, messages: Iterable[Message], *, now_s: float) -> list[Message]:
    """What this receiver is to be told now."""
    found = []
    for message in messages:
        keys = tuple(key for key in message.keys if not _is_told(diary, (receiver.name, key), now_s))
        if keys and keys[0] == message.keys[0] and message.events & frozenset(receiver.events):
            found.append(dataclasses.replace(message, keys=keys))
    return together(found)


def _is_told(diary: Diary, pair: tuple[str, str], now_s: float) -> bool:
    if pair in diary.told:
        return True
    began_s = seconds_of(diary.started.get(pair, ""))
    return began_s is not None and 0 <= now_s - began_s < AGAIN_S
