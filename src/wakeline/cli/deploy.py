"""`wakeline deploy`, `rollback` and `retry`: one rollout, told while it runs, and what came of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wakeline.cli import notify
from wakeline.cli.render import hide, plain
from wakeline.cli.result import Result
from wakeline.cli.teller import telling
from wakeline.core.behind import promise
from wakeline.core.order import Outcome
from wakeline.core.state import MachineResult, Release
from wakeline.driver import deploying
from wakeline.driver.admitting import Wish
from wakeline.driver.progress import Notice, Tell
from wakeline.driver.project import Project, open_project
from wakeline.errors import ExitCode, InDoubt, WakelineError
from wakeline.github.run import is_run

RECEIPTS = {"ran": "ran once, on record", "verified": "the database had it", "resolved": "settled by a person"}
TOGETHER = 8  # machines of one stage that passed, each still in a line of its own


def run(folder: Path, *, verbose: bool = False, what: str = "deploy", **wish: Any) -> Result:
    """Walk it and say how it ended. Exit codes as in `wakeline docs exit-codes`."""
    wish = {"what": what, **wish}
    if is_run(os.environ):
        return _reported(folder, verbose=verbose, wish=wish)
    project = open_project(folder, reaches=True, hide=hide)
    with telling(verbose=verbose) as tell:
        done = _walked(project, Wish(**wish), tell)
        return _result(done, verb=what, more=_told(project, done, tell))


def _reported(folder: Path, *, verbose: bool, wish: Mapping[str, Any]) -> Result:
    """The same in a run of GitHub Actions, which is told as well."""
    from wakeline.driver.reporting import refused, reporting  # noqa: PLC0415 - what it imports costs a tenth of a start

    try:
        project = open_project(folder, reaches=True, hide=hide)
    except WakelineError as error:
        refused(error, os.environ)
        raise
    stage = str(wish.get("stage", ""))
    with telling(verbose=verbose) as tell, reporting(project, os.environ, stage=stage) as reporter:
        done = _walked(project, Wish(**wish), reporter.beside(tell))
        result = _result(done, verb=str(wish["what"]))
        reporter.finish(done, hint=result.hint)
        more = _told(project, done, tell)
    lines = [*result.lines, *reporter.problems]
    return result._replace(lines=lines, warnings=[*result.warnings, *more])


def _walked(project: Project, wish: Wish, tell: Tell) -> deploying.Result:
    try:
        return asyncio.run(deploying.deploy(project, wish, tell=tell))
    except InDoubt:
        for line in notify.after(project):
            tell(Notice("waiting", text=line))
        raise


def _told(project: Project, done: deploying.Result, tell: Tell) -> list[str]:
    """Send the messages that are due. Whoever pressed Ctrl-C waits for an end: then the next contact tells."""
    if done.ended == "interrupted" or not project.file.receivers:
        return []
    tell(Notice("telling", text=", ".join(each.name for each in project.file.receivers)))
    return notify.after(project, current=done.release.number)


def _result(done: deploying.Result, *, verb: str, more: Sequence[str] = ()) -> Result:
    release = done.release
    names = [machine.name for machine in done.fleet.machines if machine.name in release.results]
    rows = [*_rows(release, names), *(f"  {step}: {RECEIPTS.get(how, how)}" for step, how in done.receipts.items())]
    asleep = [machine for machine in done.walked if _outcome(release, machine.name) is Outcome.ASLEEP]
    code, error, hint = _judged(done)
    head = f"release {release.number} ({release.commit[:10]}): "
    head += f"stage {done.stage} {done.ended}" if done.stage else done.ended
    head += f"; {done.to_come[0]} comes next" if done.to_come else ""
    held = [name for name in names if name in done.held and release.results[name].outcome is Outcome.WITHHELD]
    warnings = [f"{machine.name} is asleep: {promise(release, machine)}" for machine in asleep]
    warnings += [f"{name} is {_on_hold(release, name)}" for name in held] + [*done.warnings, *more]
    errors = [(f"{name} {result.outcome.value}", result.cause) for name, result in _bad(done)]
    data = {
        "release": release.number,
        "commit": release.commit,
        "outcome": done.ended,
        "machines": {
            name: {"outcome": release.results[name].outcome.value, "cause": release.results[name].cause}
            for name in names
        },
        "asleep": [machine.name for machine in asleep],
        "held": held,
        "approved": sorted(release.approved),
        "receipts": dict(done.receipts),
    }
    lines = [head, *rows]
    return Result(verb, data, lines, warnings, exit_code=code, error=error, hint=hint, errors=errors)


def _outcome(release: Release, name: str) -> Outcome | None:
    result = release.results.get(name)
    return result.outcome if result else None


def _bad(done: deploying.Result) -> list[tuple[str, MachineResult]]:
    """The machines of the stages that were walked that failed, or of which nobody knows."""
    bad = (Outcome.FAILED, Outcome.UNKNOWN)
    names = (machine.name for machine in done.walked if _outcome(done.release, machine.name) in bad)
    return [(name, done.release.results[name]) for name in names]


def _on_hold(release: Release, name: str) -> str:
    """What a hold means for this release, and how it is lifted."""
    stage = release.stage_of(name)
    approved = bool(stage) and stage.name in release.approved if stage else False
    comes = f"it comes to release {release.number}" if approved else "`wakeline deploy` takes it along"
    cause = release.results[name].cause
    words = cause if cause.startswith("on hold") else f"on hold ({cause})"
    return f"{words}; after `wakeline unhold {name}` {comes}"


def _judged(done: deploying.Result) -> tuple[ExitCode, str, str]:
    """Exit code, and the first cause on top."""
    if done.in_doubt:
        claim = done.in_doubt[0]
        error = f"{claim.step} was started on {claim.machine} and nobody knows how it ended; nothing else is deployed"
        hint = f"look at the database, then: wakeline resolve {claim.step} --done | --not-run"
        code = ExitCode.INTERRUPTED if done.ended == "interrupted" else ExitCode.IN_DOUBT
        return code, error, hint
    if done.ended == "interrupted":
        how = "rollback" if done.release.rollback_to else "deploy"
        return ExitCode.INTERRUPTED, "interrupted; it is on record", f"wakeline {how} carries on"
    if done.ended == "passed" and done.overdue:
        return ExitCode.FAILED, "\n".join(done.overdue), "switch it on; it catches up by itself"
    if done.ended == "passed":
        return ExitCode.DONE, "", ""
    if done.ended == "held":
        names = [name for name, each in done.release.results.items() if name in done.held and not each.outcome.passed]
        error = f"{', '.join(names)} is on hold, and is always on: what comes behind it waits"
        return ExitCode.BUSY, error, f"wakeline unhold {names[0]}; then wakeline deploy carries on"
    bad = (Outcome.FAILED, Outcome.UNKNOWN)
    name = next((name for name, each in done.release.results.items() if each.outcome in bad), "")
    cause = done.release.results[name].cause if name else "an earlier stage did not pass"
    return (
        ExitCode.FAILED,
        f"{name}: {cause}" if name else cause,
        "wakeline status; then fix it and deploy, or: wakeline rollback",
    )


def _rows(release: Release, names: Sequence[str]) -> Iterator[str]:
    """One line a machine; many that passed in one stage share a line."""
    place = max((len(name) for name in names), default=0)
    stage_of = {name: stage.name for stage in release.stages for name in stage.machines}
    wide = max((len(stage_of.get(name, "")) for name in names), default=0)
    fine: dict[str, list[str]] = {}
    for name in names:
        if release.results[name].outcome.passed:
            fine.setdefault(stage_of.get(name, ""), []).append(name)
    for name in names:
        stage = stage_of.get(name, "")
        together = fine.get(stage, []) if release.results[name].outcome.passed else []
        together = together if len(together) > TOGETHER else []
        if name in together[1:]:
            continue
        head = f"{len(together)} machines" if together else name
        how = "  ok         " + ", ".join(together) if together else _how(release, name)
        yield f"  {stage:<{wide}}  {head:<{place}}{how}".rstrip()


def _how(release: Release, name: str) -> str:
    result = release.results[name]
    took = f"{result.seconds:.1f} s" if result.seconds else ""
    moved = f"{result.was} → {release.number}" if result.outcome is Outcome.OK and result.was else ""
    cause = plain(result.cause).splitlines()[0] if result.cause.strip() else ""
    return f"  {result.outcome.value:<10} {took:>8}  {cause or moved}"
