"""`wakeline status`: two separate words a machine: which release, and presence. Looks only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wakeline.cli.result import Result
from wakeline.core.behind import overdue
from wakeline.core.model import Machine
from wakeline.core.state import State
from wakeline.driver.looking import Seen, look
from wakeline.driver.project import Project, open_project


def run(folder: Path) -> Result:
    """Ask the ledger and every machine at once."""
    project = open_project(folder)
    state, seen = asyncio.run(_look(project))
    check_ins = project.writer.ledger.check_ins()
    rows = [_row(state, machine, seen[machine.name], check_ins) for machine in project.file.fleet.machines]
    newest = state.newest
    head = f"{project.file.fleet.app} {project.file.fleet.environment}: "
    head += (
        f"release {newest.number} ({newest.commit[:10]}) {newest.ended or 'unfinished'}" if newest else "no release yet"
    )
    lines = [head, *(_line(row) for row in rows)]
    lines += [f"lease: {state.lease.holder} since {state.lease.at}"] if not state.lease.free else []
    warnings = [
        f"once-step {c.step} of release {c.release} is in doubt: wakeline resolve {c.step}" for c in state.in_doubt
    ]
    warnings += [f"{name or 'the fleet'} is on hold: {why}" for name, why in state.holds.items()]
    warnings += [
        f"{row['machine']}: files were changed by hand; they are saved before they are replaced"
        for row in rows
        if row["edited"]
    ]
    machines = project.file.fleet.machines
    warnings += [late for each in machines if (late := overdue(state, each, now_s=time.time()))]
    data = {"release": newest.number if newest else 0, "machines": rows, "holds": dict(state.holds)}
    return Result("status", data, lines=lines, warnings=warnings)


async def _look(project: Project) -> tuple[State, dict[str, Seen]]:
    return await asyncio.gather(project.writer.read(), look(project))


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
        "held": state.holds.get(machine.name, ""),
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
    return max((r.number for r in state.approved if any(state.approval(r, name) for name in names)), default=0)


def _line(row: Mapping[str, Any]) -> str:
    behind = f", approved: {row['approved']}" if row["approved"] > row["release"] else ""
    what = f"release {row['release']} ({row['commit'][:10]}{behind})" if row["release"] else f"no release{behind}"
    more = f"  {row['cause']}" if row["cause"] else ""
    if row["doing"]:
        now = row["doing"]
        number = f"release {now['release']}, " if now["release"] else ""
        more += f"  at work: {number}{now['what']} since {now['since'][:19]}"
    return f"  {row['machine']:<16} {what:<42} {row['presence']}{more}"
