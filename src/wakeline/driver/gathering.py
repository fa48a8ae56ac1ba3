"""Gathers what there is to tell of a rollout that has ended, from the ledger and from git: a Report."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from wakeline.core import behind
from wakeline.core.model import Machine
from wakeline.core.order import Outcome
from wakeline.core.records import Record
from wakeline.core.state import MachineResult
from wakeline.driver.deploying import Result
from wakeline.driver.project import Project
from wakeline.edges import git
from wakeline.edges.ledgers import Log
from wakeline.errors import LedgerError
from wakeline.github.report import Bar, Commit, MachineRow, OnceRow, Report

_COMMITS_MAX = 30
_NOT_REACHED = MachineResult(Outcome.WITHHELD, "its stage was not reached")
_ENDED = {"receipt", "once-failed", "resolved"}


def gather(project: Project, done: Result, *, bars: tuple[Bar, ...], repository: str, hint: str) -> Report:
    """The facts. `repository` is its address on the web, for links."""
    release, state = done.release, project.writer.state
    since = behind.last_approved_before(state, release.number)
    commits = _commits(project, done)
    problems = () if done.in_doubt or done.ended == "interrupted" else done.overdue
    return Report(
        app=done.fleet.app,
        environment=done.fleet.environment,
        url=project.file.url,
        repository=repository,
        release=release.number,
        commit=release.commit,
        ended=done.ended,
        machines=tuple(_row(project, done, m) for m in done.fleet.machines if release.stage_of(m.name)),
        stages=tuple(stage.name for stage in release.stages),
        stage=done.stage,
        to_come=() if problems else done.to_come,
        rollback_to=release.rollback_to,
        since=since.number if since else 0,
        commits=commits[:_COMMITS_MAX],
        more_commits=len(commits) > _COMMITS_MAX,
        once=tuple(_once(project, release.number)),
        bars=bars,
        in_doubt=tuple(f"{claim.step} on {claim.machine}" for claim in done.in_doubt),
        problems=problems,
        hint=hint,
    )


def _row(project: Project, done: Result, machine: Machine) -> MachineRow:
    release, state = done.release, project.writer.state
    result = release.results.get(machine.name, _NOT_REACHED)
    was = result.was or behind.runs_before(state, release.number, machine.name)
    now = release.number if result.outcome.passed else was
    stage = release.stage_of(machine.name)
    promise = behind.promise(release, machine)
    if behind.is_awaited(release, machine.name):
        promise += f"; further behind than {behind.shown(machine.max_behind_s)} is an error"
    return MachineRow(
        machine.name,
        stage.name if stage else "",
        was,
        None if result.outcome is Outcome.UNKNOWN else now,
        result.outcome,
        cause=result.cause,
        seconds=result.seconds,
        promise=promise if result.outcome is Outcome.ASLEEP else "",
    )


def _commits(project: Project, done: Result) -> tuple[Commit, ...]:
    """What is new on the machines, or what a rollback takes back; nothing for a first release: that is all there is."""
    release, state = done.release, project.writer.state
    if release.rollback_to:
        left = next(state.newest_first(below=release.number), None)
        since, until = release.commit, left.commit if left else ""
    else:
        before = behind.last_approved_before(state, release.number)
        since, until = before.commit if before else "", release.commit
    if not since or not until or since == until:
        return ()
    try:
        rows = project.code.subjects(since, until, most=_COMMITS_MAX + 1)
    except git.GitFailed:
        return ()  # a branch that was rewritten: the summary does without
    return tuple(Commit(*row) for row in rows)


def _once(project: Project, number: int) -> Iterator[OnceRow]:
    """Claims and receipts of a release, in the order of the ledger; each with how it ended."""
    records = [each for each in _log(project, number) if _is_of(each, number)]
    ends = {each.body.get("claim"): each for each in records if each.kind in _ENDED and each.body.get("claim")}
    for each in records:
        if each.kind == "claimed":
            end = ends.get(each.body["claim"])
            yield OnceRow(each.body["step"], each.body["machine"], _how(end), each.body["claim"], each.at)
        elif each.kind == "receipt" and not each.body.get("claim"):
            yield OnceRow(each.body["step"], "", "the database had it", "", each.at)


def _log(project: Project, number: int) -> Sequence[Record]:
    """The log with all that it says of a release: all of it where our look began behind the making of it."""
    log = project.writer.log or Log()
    if log.start is not None and not any(each.kind == "release-made" and _is_of(each, number) for each in log.records):
        with contextlib.suppress(LedgerError):  # then the report says what we know
            log = project.writer.ledger.read()
    return log.records


def _is_of(record: Record, number: int) -> bool:
    return record.kind == "resolved" or record.body.get("release") == number


def _how(end: Record | None) -> str:
    if end is None:
        return "in doubt: started, and no outcome"
    if end.kind == "once-failed":
        return f"failed: {str(end.body.get('cause', '')).splitlines()[0][:200]}"
    return "ran, verified" if end.kind == "receipt" else f"settled: {end.body.get('how')}"
