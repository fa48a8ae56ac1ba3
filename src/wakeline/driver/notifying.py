"""Tells receivers what is due: after a rollout, at a catch-up, or when `wakeline notify` is run by a timer.

Nothing here can change how a rollout ended or hold one up: it begins when the lease is free, has a limit, and what goes
wrong is a word to whoever looks. A message is on record as begun before it is sent (core/diary.py).
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

from wakeline.core import check_in, diary, messages
from wakeline.core.diary import Diary
from wakeline.core.messages import Message
from wakeline.core.model import Receiver
from wakeline.core.order import Outcome
from wakeline.core.records import BadLog, Draft, chain
from wakeline.core.state import State
from wakeline.core.times import seconds_of
from wakeline.driver.crowd import both, together
from wakeline.driver.looking import look
from wakeline.driver.project import Project
from wakeline.driver.writer import backoff_s, new_id, timestamp
from wakeline.edges import notify
from wakeline.errors import LedgerError, WakelineError

LIMIT_S = 15.0
_MESSAGE_S = 10.0
_TRIES = 20
_COMMITS_MAX = 999


@dataclasses.dataclass(frozen=True)
class Told:
    """What came of one message to one receiver. `problem` is empty where the service took it."""

    receiver: str
    message: Message
    problem: str = ""
    hint: str = ""


async def tell_due(project: Project, *, current: int = 0) -> list[Told]:
    """Send what is due to every receiver. `current` is the release of the rollout that has just ended.

    Raises LedgerError where nothing can be put on record: then nothing is sent either.
    """
    receivers = project.file.receivers
    if not receivers:
        return []
    ends_s = time.monotonic() + LIMIT_S
    found = await asyncio.to_thread(due, project, project.writer.state)
    chosen: dict[str, list[Message]] = {}

    def begin(known: Diary) -> list[Draft]:
        drafts = diary.first_wanted(known, receivers, found, current=current)
        history = {(each.body["receiver"], key) for each in drafts for key in each.body["keys"]}
        known = dataclasses.replace(known, told=known.told | history)
        chosen.clear()
        for receiver in receivers:
            chosen[receiver.name] = diary.open_for(known, receiver, found, now_s=time.time())
        keys = {name: [key for each in some for key in each.keys] for name, some in chosen.items() if some}
        return drafts + [Draft("telling", {"receiver": name, "keys": each}) for name, each in keys.items()]

    await _write(project, begin)
    told = await together(_tell(project, each, chosen[each.name], ends_s=ends_s) for each in receivers)
    results = [each for some in told for each in some]
    await _write(project, lambda _: [_outcome(each) for each in results])
    return results


async def waiting(project: Project) -> dict[str, list[Message]]:
    """What would be sent to each receiver now. Looks only."""
    state, log = await both(project.writer.read(), asyncio.to_thread(project.diary.read))
    known, found = diary.fold(log.records), await asyncio.to_thread(due, project, state)
    fresh = {each.name: diary.first_wanted(known, [each], found, current=0) for each in project.file.receivers}
    return {
        each.name: [] if fresh[each.name] else diary.open_for(known, each, found, now_s=time.time())
        for each in project.file.receivers
    }


def due(project: Project, state: State) -> list[Message]:
    """Everything that there is to tell, whoever has been told."""
    commits = {}
    for release in messages.recently_ended(state, time.time()):
        at = seconds_of(release.ended_at)
        if release.rollback_to or at is None or time.time() - at > messages.KEPT_S:
            continue
        earlier = messages.before(state, release.number)
        if earlier and project.code.has(earlier.commit):
            commits[release.number] = len(project.code.subjects(earlier.commit, release.commit, most=_COMMITS_MAX))
    return messages.due(state, project.file.fleet, now_s=time.time(), commits=commits)


async def hear_sleepers(project: Project) -> list[str]:
    """Put on record what machines have said of themselves since: on the ledger, or when they are asked now.

    Returns the machines that had something to say. Nothing is written while a rollout is under way: it hears by itself.
    """
    state = await project.writer.read()
    owed = messages.owed(state)
    if not owed:
        return []
    said: dict[str, dict[str, Any]] = {
        name: dict(body) for name, body in (await asyncio.to_thread(project.writer.ledger.check_ins)).items()
    }
    for name, word in (await look(project, names=owed)).items():
        if word.current and word.said.get("state") == "confirmed":
            said[name] = {"release": word.current, "outcome": Outcome.OK.value}
    heard: list[str] = []

    def decide(now: State) -> list[Draft]:
        drafts = check_in.settled(now, said.items()) if now.lease.free else []
        heard[:] = [str(each.body["machine"]) for each in drafts]
        return drafts

    await project.writer.write(decide)
    return heard


async def _tell(project: Project, receiver: Receiver, found: Sequence[Message], *, ends_s: float) -> list[Told]:
    """One receiver, message after message, until the time is up."""
    told: list[Told] = []
    for message in found:
        problem, hint = await _send(project, receiver, message, limit_s=min(_MESSAGE_S, ends_s - time.monotonic()))
        told.append(Told(receiver.name, message, problem, hint))
    return told


async def _send(project: Project, receiver: Receiver, message: Message, *, limit_s: float) -> tuple[str, str]:
    if limit_s <= 0:
        return "there was no time left for it", ""
    try:
        address = await asyncio.to_thread(project.addresses.find, receiver.to)
        await asyncio.to_thread(notify.send, address, title=message.title, text=message.text, limit_s=limit_s)
    except WakelineError as error:
        return error.message, error.hint
    return "", ""


def _outcome(told: Told) -> Draft:
    kind = "not-told" if told.problem else "told"
    return Draft(kind, {"receiver": told.receiver, "keys": list(told.message.keys)})


async def test_message(project: Project, receiver: Receiver) -> Told:
    """One message that says it is a test; nothing of it is on record."""
    fleet = project.file.fleet
    title = f"{fleet.app} {fleet.environment}: a test"
    text = f"`{receiver.name}` is told of: {', '.join(receiver.events)}."
    message = Message(("test",), 0, frozenset(receiver.events), title, text)
    return Told(receiver.name, message, *await _send(project, receiver, message, limit_s=_MESSAGE_S))


async def _write(project: Project, decide: Callable[[Diary], list[Draft]]) -> None:
    """Compare-and-append on the log of what was told."""
    for attempt in range(_TRIES):
        log = await asyncio.to_thread(project.diary.read)
        try:
            drafts = decide(diary.fold(log.records))
        except BadLog as error:
            raise LedgerError(f"what was told cannot be read: {error}") from error
        if not drafts:
            return
        ids = [new_id() for _ in drafts]
        records = chain(drafts, ids=ids, previous=log.tip, at=timestamp(), by=project.writer.by)
        if await asyncio.to_thread(project.diary.append, records):
            return
        await asyncio.sleep(backoff_s(attempt))
    raise LedgerError(f"the log of what was told moved under {_TRIES} tries in a row")
