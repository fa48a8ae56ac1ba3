"""`wakeline status`: two separate words a machine: which release, and presence. Looks only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from wakeline.cli import standing
from wakeline.cli.result import Result
from wakeline.core.behind import overdue
from wakeline.core.model import Machine
from wakeline.core.state import State
from wakeline.core.times import when
from wakeline.driver.crowd import both
from wakeline.driver.looking import Seen, look
from wakeline.driver.project import Project


def run(project: Project) -> Result:
    """Ask the ledger and every machine at once."""
    state, seen = asyncio.run(_look(project))
    check_ins = project.writer.ledger.check_ins()
    rows = [_row(state, machine, seen[machine.name], check_ins) for machine in project.file.fleet.machines]
    for row in rows:
        row["note"] = standing.note(state, row, now_s=time.time())
    lines = [_head(project, state), *_table(rows)]
    if not state.lease.free:
        lines.append(f"{state.lease.holder} has the lease since {when(state.lease.at, now_s=time.time())}")
    machines = project.file.fleet.machines
    warnings = standing.next_steps(state, rows)
    warnings += [late for each in machines if (late := overdue(state, each, now_s=time.time()))]
    data = {"release": state.highest, "machines": rows, "holds": dict(state.holds)}
    return Result("status", data, lines=lines, warnings=warnings)


async def _look(project: Project) -> tuple[State, dict[str, Seen]]:
    return await both(project.writer.read(), look(project))


def _row(
    state: State,
    machine: Machine,
    seen: Seen,
    check_ins: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The machine's own word where it answers; else the last word that the ledger has."""
    known = seen.current
    if known is None:
        last = next((check_ins[name] for name in state.names_of(machine.name) if name in check_ins), {})
        said = last.get("release") if last.get("outcome") in ("ok", "unchanged") else 0
        known = max(state.runs(machine.name), said if isinstance(said, int) else 0)
    release = state.releases.get(known)
    approved = _approved(state, machine.name)
    return {
        "machine": machine.name,
        "release": known,
        "commit": release.commit if release else "",
        "approved": approved,
        "presence": seen.answer.value,
        "kind": machine.presence.value,
        "cause": seen.cause,
        "held": state.why_on_hold(machine.name),
        "busy": bool(seen.said.get("busy")),
        "doing": _doing(seen.said.get("doing")),
        "edited": bool(seen.said.get("edited")),
    }


def _doing(said: Any) -> dict[str, Any]:
    """What a machine says that it is at; empty where it is at nothing, or where its agent is too old to say."""
    if not isinstance(said, Mapping) or not said:
        return {}
    release = said.get("release")
    words = {key: str(said.get(key, ""))[:60] for key in ("what", "since")}
    return {"release": release if isinstance(release, int) else 0, **words}


def _approved(state: State, machine: str) -> int:
    names = state.names_of(machine)
    return next((r.number for r in state.approved(names) if any(state.approval(r, name) for name in names)), 0)


def _head(project: Project, state: State) -> str:
    fleet, newest = project.file.fleet, state.newest
    if newest is None:
        return f"{fleet.app} {fleet.environment}: no release yet; wakeline plan shows what deploy would do"
    ended = newest.ended or ("not walked to its end" if state.lease.free else "under way")
    at = when(newest.ended_at or newest.at, now_s=time.time())
    return f"{fleet.app} {fleet.environment}: release {newest.number} ({newest.commit[:10]}) {ended}, {at}"


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """Columns as wide as what is in them."""
    cells = [(row["machine"], _runs(row), row["presence"], row["note"]) for row in rows]
    wide = [max(len(cell[column]) for cell in cells) for column in range(3)]
    return ["  " + "  ".join([*(f"{c:<{w}}" for c, w in zip(cell, wide)), cell[3]]).rstrip() for cell in cells]


def _runs(row: Mapping[str, Any]) -> str:
    return f"release {row['release']} ({row['commit'][:10]})" if row["release"] else "no release"
