"""The fold: what the ledger's records mean, taken together.

The present state is a pure function of the log. Laws that live here:

- Law 4: a claim without an outcome is open; an open claim blocks every new release until it is receipted or settled.
- Law 6: an approval is a record, never the absence of stages. One that names a machine is for that one alone, which
  joined after the release was made.
- Law 8: one lease at a time; each taking has a higher fencing number; a record with an old number counts for nothing.
- Law 10: a failure on one machine holds the release for the whole stage, until `retry` or a newer release.

Records that are late, doubled or out of order are ignored on purpose: they stay in the log as history. Whoever has
folded a part of the log goes on from there: the state is the same, wherever the log is cut.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

from wakeline.core.archive import SHELF, Archive
from wakeline.core.model import Presence
from wakeline.core.order import Outcome
from wakeline.core.records import RECORD_VERSION, BadLog, Record
from wakeline.core.state import NO_REASON, Claim, Lease, MachineResult, Release, Request, StagePlan, State

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z", re.ASCII)
_ANY_TIME = "~"  # later than any: a time that cannot be read may be any


def fold(records: Iterable[Record], *, start: State | None = None) -> State:
    """Read records in order on top of `start`. Raises BadLog for a record that a newer wakeline wrote, or nobody."""
    begun = start or State()
    folding = {field.name: getattr(begun, field.name) for field in dataclasses.fields(State)}
    for name, value in folding.items():
        if isinstance(value, (dict, Archive)):
            folding[name] = value.copy()  # of an archive only what came since it was packed
    for record in records:
        folding["position"] += 1
        if record.version > RECORD_VERSION:
            reason = f"written by a newer wakeline (version {record.version}, this one reads {RECORD_VERSION})"
            raise BadLog(folding["position"], reason)
        reader = _READERS.get(record.kind)
        if reader is None:
            raise BadLog(
                folding["position"], f"unknown kind {record.kind!r}: a newer wakeline wrote it, or it is not ours"
            )
        try:
            if _counts(folding, record):
                reader(folding, record)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise BadLog(folding["position"], f"a {record.kind} record that cannot be read: {error!r}") from error
        folding["tip"] = record.hash
    return State(**folding)


def _counts(folding: dict[str, Any], record: Record) -> bool:
    """Law 8: what a rollout writes carries its fencing number, and only the present number counts."""
    fence = record.body.get("fence")
    if fence is None or record.kind == "lease-taken":
        return True
    lease: Lease = folding["lease"]
    if lease.free or fence != lease.number:
        return False
    folding["lease"] = dataclasses.replace(lease, renewed=lease.renewed + 1)
    return True


def _lease_taken(folding: dict[str, Any], record: Record) -> None:
    number = int(record.body["fence"])
    if number > folding["lease"].number:
        length_s = float(record.body["length_s"])
        folding["lease"] = Lease(number, str(record.body["holder"]), length_s, renewed=0, at=record.at, free=False)


def _lease_renewed(folding: dict[str, Any], record: Record) -> None:
    """Nothing more to do: `_counts` has counted it, as it does any record of the holder."""


def _lease_freed(folding: dict[str, Any], _record: Record) -> None:
    folding["lease"] = dataclasses.replace(folding["lease"], free=True)


def _requested(folding: dict[str, Any], record: Record) -> None:
    body = record.body
    request = Request(body["request"], body["what"], body["commit"], record.by, folding["position"])
    folding["requests"][request.id] = request


def _request_ended(folding: dict[str, Any], record: Record) -> None:
    folding["requests"].pop(record.body["request"], None)


def _request_superseded(folding: dict[str, Any], record: Record) -> None:
    if folding["requests"].pop(record.body["request"], None):
        folding["superseded"][record.body["request"]] = int(record.body["release"])


def _release_made(folding: dict[str, Any], record: Record) -> None:
    body = record.body
    number = int(body["release"])
    if number <= next(reversed(folding["releases"]), 0):  # numbers only grow, so the last one is the highest
        return
    stages = tuple(_stage_plan(stage) for stage in body["stages"])
    folding["releases"][number] = Release(
        number,
        body["commit"],
        stages,
        body["lead"],
        pins=dict(body.get("pins", {})),
        rollback_to=int(body.get("rollback_to", 0)),
        at=record.at,
        by=record.by,
        fleet=str(body.get("fleet", "")),
    )
    folding["requests"].pop(body.get("request", ""), None)
    if not body.get("rollback_to"):
        folding["refused_commits"].pop(body["commit"], None)
    machines = [machine for stage in body["stages"] for machine in stage["machines"]]
    for machine in machines:
        _speaks_of(folding, machine["name"], number)
        folding["renamed"].pop(machine["name"], None)  # a name that is in use again is a machine of its own
    taken = {machine["name"] for machine in machines}
    for machine in machines:
        if machine.get("renamed_from") not in taken:
            _rename(folding, str(machine.get("renamed_from", "")), machine["name"])


def _speaks_of(folding: dict[str, Any], machine: str, number: int) -> None:
    """A release has a place or a word for a machine of that name: whoever asks about it looks here too."""
    first, last = folding["spans"].get(machine, (number, number))
    folding["spans"][machine] = (min(first, number), max(last, number))


def _rename(folding: dict[str, Any], old: str, new: str) -> None:
    """What was said of a machine holds under its new name: which one it is, its hold, how its approvals are checked."""
    if old in ("", new):
        return
    folding["renamed"][old] = new
    for kept in ("machines", "holds"):
        if old in folding[kept]:
            value = folding[kept].pop(old)
            folding[kept].setdefault(new, value)
    for names in ("unsigned", "left"):
        if old in folding[names]:
            folding[names] = (folding[names] - {old}) | {new}


def _stage_plan(data: Mapping[str, Any]) -> StagePlan:
    names = tuple(machine["name"] for machine in data["machines"])
    always = frozenset(m["name"] for m in data["machines"] if m["presence"] == Presence.ALWAYS.value)
    return StagePlan(data["name"], names, always, bool(data["gates"]), bool(data.get("goes_on", False)))


def _carried_on(folding: dict[str, Any], record: Record) -> None:
    """An unfinished release, or one stage of it, is taken up again; what was done stays done."""
    _change_release(folding, int(record.body["release"]), ended="")


def _outcome(folding: dict[str, Any], record: Record) -> None:
    body = record.body
    release = folding["releases"].get(int(body["release"]))
    if release is None:
        return
    result = MachineResult(
        Outcome(body["outcome"]),
        cause=str(body.get("cause", "")),
        at=record.at,
        was=int(body.get("was") or 0),
        seconds=float(body.get("seconds", 0.0)),
        asleep_at=_asleep_at(release.results.get(body["machine"]), record),
    )
    results = {**release.results, body["machine"]: result}
    _speaks_of(folding, body["machine"], release.number)
    held = release.held_stages
    stage = release.stage_of(body["machine"])
    if stage:
        held = (held - {stage.name}) | _holds(stage, results)
    # Only an outcome that was heard settles what was sent; a withheld or unknown one leaves it for the next contact.
    heard = result.outcome.passed or result.outcome is Outcome.FAILED
    sent = release.sent - {body["machine"]} if heard else release.sent
    _change_release(folding, release.number, results=results, held_stages=held, sent=sent)


def _asleep_at(before: MachineResult | None, record: Record) -> str:
    if before is not None and before.asleep_at:
        return before.asleep_at
    return record.at if record.body["outcome"] == Outcome.ASLEEP.value else ""


def _holds(stage: StagePlan, results: Mapping[str, MachineResult]) -> frozenset[str]:
    """Law 10: a failure holds the whole stage. `unknown` does not: the machine may yet say that it passed."""
    outcomes = [results[name].outcome for name in stage.machines if name in results]
    return frozenset({stage.name}) if Outcome.FAILED in outcomes else frozenset()


def _sent(folding: dict[str, Any], record: Record) -> None:
    release = folding["releases"].get(int(record.body["release"]))
    if release is not None:
        _change_release(folding, release.number, sent=release.sent | frozenset(record.body["machines"]))


def _approved(folding: dict[str, Any], record: Record) -> None:
    number, stage = int(record.body["release"]), record.body["stage"]
    release = folding["releases"].get(number)
    if release is None:
        return
    if "machine" in record.body:
        release = _with_one_more(release, record)
        _speaks_of(folding, str(record.body["machine"]), number)
        folding["joined"][number, record.body["machine"]] = record
    else:
        folding["orders"][number, stage] = record
    more = {"stages": release.stages, "fleet": release.fleet}
    _change_release(folding, number, approved=release.approved | {stage}, **more)


def _with_one_more(release: Release, record: Record) -> Release:
    """A release with a machine that joined after it was made, in a stage that it may not have had."""
    body = record.body
    name, stage = str(body["machine"]), body["stage"]
    always = frozenset({name}) if body["presence"] == Presence.ALWAYS.value else frozenset()
    plans = list(release.stages)
    names = [plan.name for plan in plans]
    if release.stage_of(name):
        return release
    if stage in names:
        index = names.index(stage)
        plan = plans[index]
        plans[index] = dataclasses.replace(plan, machines=(*plan.machines, name), always=plan.always | always)
    else:
        new = StagePlan(stage, (name,), always, bool(body["gates"]), bool(body.get("goes_on", False)))
        plans.insert(names.index(body["before"]) if body.get("before") in names else len(plans), new)
    return dataclasses.replace(release, stages=tuple(plans), fleet=str(body.get("fleet", release.fleet)))


def _release_ended(folding: dict[str, Any], record: Record) -> None:
    number = int(record.body["release"])
    _change_release(folding, number, ended=str(record.body["outcome"]), ended_at=record.at)
    if number in folding["releases"]:
        at = record.at if _TIME.match(record.at) else _ANY_TIME
        folding["ends"][number // SHELF] = max(folding["ends"].get(number // SHELF, ""), at)


def _claimed(folding: dict[str, Any], record: Record) -> None:
    body = record.body
    claim = Claim(
        body["claim"],
        int(body["release"]),
        body["step"],
        body["machine"],
        int(body["fence"]),
        body.get("replaces", ""),
        breaks_older=bool(body.get("breaks_older")),
    )
    folding["claims"][claim.id] = claim


def _receipt(folding: dict[str, Any], record: Record) -> None:
    body = record.body
    folding["receipts"][int(body["release"]), body["step"]] = str(body.get("how", "ran"))
    folding["claims"].pop(body.get("claim", ""), None)
    breaks = bool(body.get("breaks_older"))
    if breaks and _is_news(folding, body):
        folding["barrier"] = max(folding["barrier"], int(body["release"]))
    folding["breaking"][body["step"]] = breaks


def _is_news(folding: dict[str, Any], body: Mapping[str, Any]) -> bool:
    """Law 5: whether a receipt of a step that breaks older releases says that the schema has moved just now.

    It has when the step ran. A database that had it already has moved only if the release before said nothing of the
    kind: somebody ran it by hand. On the way back nothing moves.
    """
    if body.get("how") != "verified":
        return True
    release = folding["releases"].get(int(body["release"]))
    goes_back = release is not None and release.rollback_to
    return not goes_back and not folding["breaking"].get(body["step"], False)


def _once_failed(folding: dict[str, Any], record: Record) -> None:
    folding["claims"].pop(record.body["claim"], None)


def _resolved(folding: dict[str, Any], record: Record) -> None:
    body = record.body
    claim = folding["claims"].pop(body["claim"], None)
    if claim is not None and body["how"] == "done":
        folding["receipts"][claim.release, claim.step] = "resolved"
        folding["barrier"] = max(folding["barrier"], claim.release if claim.breaks_older else 0)


def _held(folding: dict[str, Any], record: Record) -> None:
    folding["holds"][_named(folding, record)] = str(record.body.get("why") or NO_REASON)


def _unheld(folding: dict[str, Any], record: Record) -> None:
    machine = _named(folding, record)
    folding["holds"].pop(machine, None)
    if machine == "":
        folding["refused_commits"].clear()


def _named(folding: dict[str, Any], record: Record) -> str:
    """The machine that a person speaks of, "" for the fleet. It may be the first that the log hears of its new name."""
    machine = str(record.body.get("machine", ""))
    _rename(folding, str(record.body.get("renamed_from", "")), machine)
    return machine


def _commits_refused(folding: dict[str, Any], record: Record) -> None:
    for commit in record.body["commits"]:
        folding["refused_commits"][commit] = str(record.body.get("why", ""))
        if isinstance(record.body.get("pins"), dict):
            folding["refused_pins"][commit] = dict(record.body["pins"])


def _retried(folding: dict[str, Any], record: Record) -> None:
    number, machine = int(record.body["release"]), _named(folding, record)
    release = folding["releases"].get(number)
    if release is None:
        return
    names = State(renamed=folding["renamed"]).names_of(machine)
    folding["retries"][number, machine] = folding["retries"].get((number, machine), 0) + 1
    bad = (Outcome.FAILED, Outcome.UNKNOWN)
    results = {
        name: result
        for name, result in release.results.items()
        if result.outcome not in bad or (machine and name not in names)
    }
    held = frozenset().union(*(_holds(stage, results) for stage in release.stages))
    _change_release(folding, number, results=results, held_stages=held)


def _set_up(folding: dict[str, Any], record: Record) -> None:
    name = record.body["machine"]
    folding["renamed"].pop(name, None)
    _rename(folding, str(record.body.get("renamed_from", "")), name)
    folding["machines"][name] = str(record.body["machine_id"])
    folding["unsigned"] -= {name}
    folding["left"] -= {name}
    if record.body.get("unsigned"):
        folding["unsigned"] |= {name}


def _left(folding: dict[str, Any], record: Record) -> None:
    name = record.body["machine"]
    folding["machines"].pop(name, None)
    folding["unsigned"] -= {name}
    folding["left"] |= {name}


def _change_release(folding: dict[str, Any], number: int, **changes: Any) -> None:
    release = folding["releases"].get(number)
    if release is not None:
        folding["releases"][number] = dataclasses.replace(release, **changes)


_READERS = {
    "lease-taken": _lease_taken,
    "lease-renewed": _lease_renewed,
    "lease-freed": _lease_freed,
    "requested": _requested,
    "request-ended": _request_ended,
    "request-superseded": _request_superseded,
    "release-made": _release_made,
    "carried-on": _carried_on,
    "sent": _sent,
    "outcome": _outcome,
    "approved": _approved,
    "release-ended": _release_ended,
    "claimed": _claimed,
    "receipt": _receipt,
    "once-failed": _once_failed,
    "resolved": _resolved,
    "held": _held,
    "unheld": _unheld,
    "commits-refused": _commits_refused,
    "retried": _retried,
    "set-up": _set_up,
    "left": _left,
}
KINDS = frozenset(_READERS)
