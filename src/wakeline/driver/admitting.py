"""Which release a wish becomes, and what stands in its way: the core is asked, with what git and the fleet file say."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from wakeline.core import admission
from wakeline.core.model import Fleet, Machine
from wakeline.core.state import Release, StagePlan, State
from wakeline.driver.project import Project
from wakeline.errors import Busy, InDoubt, Usage, WakelineError


@dataclasses.dataclass(frozen=True)
class Wish:
    """What was asked for. `what` is deploy, rollback or retry; `to` is a release, 0 for the last good one."""

    what: str = "deploy"
    commit: str = ""
    to: int = 0
    stage: str = ""
    wait: bool = False


def admit(project: Project, state: State, wish: Wish, commit: str, pins: Mapping[str, str]) -> admission.Admission:
    """Gather what git knows of a wish's commit, and ask the core which release it becomes. Writes nothing."""
    first = project.file.fleet.stages[0].name
    after = wish.stage if wish.stage != first else ""
    if wish.what == "rollback":
        return admission.rollback(state, to=wish.to, after=after)
    code, newest = project.code, state.newest
    left = [each for each in state.refused_commits if commit != each or state.refuses(commit, pins)]
    refused = (each for each in left if commit == each or code.is_older(commit, each))
    facts = admission.Ancestry(
        older_than_newest=bool(newest and code.is_older(commit, newest.commit)), refused_by=next(refused, "")
    )
    return admission.deploy(state, commit=commit, pins=pins, ancestry=facts, again=wish.what == "retry", after=after)


def refusal(answer: admission.Refused) -> WakelineError:
    """The core's reason as an error with its exit code."""
    kinds: dict[admission.Blocked, type[WakelineError]] = {
        admission.Blocked.IN_DOUBT: InDoubt,
        admission.Blocked.NOTHING_GOOD: Usage,
        admission.Blocked.NOT_BEGUN: Usage,
    }
    return kinds.get(answer.blocked, Busy)(answer.why, hint=answer.hint)


def check_names(state: State, fleet: Fleet) -> None:
    """Raises Usage where the fleet file is older than the ledger: a machine would be walked to by a name of before.

    A run may have waited for its turn since it read the file; what is said of the new name would not count for it.
    """
    names = {machine.name for machine in fleet.machines}
    for old, new in state.renamed.items():
        if old in names and new not in names:
            raise Usage(
                f"{old} has been renamed to {new} since: this run has the fleet file of before",
                hint=f"run it again; if {old} is a machine of its own: wakeline setup {old}",
            )
    for machine in fleet.machines:
        if gone := _may_have_been(state, fleet, machine):
            raise Usage(
                f"{machine.name} was called {machine.renamed_from}, and the ledger has never heard of either; "
                f"it knows {', '.join(gone)}, which the fleet file does not: is it one of them?",
                hint=f"wakeline setup {machine.name}, which tells by its machine-id; or correct its renamed_from",
            )


def _may_have_been(state: State, fleet: Fleet, machine: Machine) -> list[str]:
    """The names on the ledger that a machine may have had before the one that the fleet file says and nobody knows.

    It was renamed again before its last name got on record. Taken for a new one it would be left out of its stage, and
    a hold on it would be on nobody.
    """
    if not machine.renamed_from or state.has_heard_of(machine.name, machine.renamed_from):
        return []
    today = {name for each in fleet.machines for name in (each.name, each.renamed_from)}
    newest = {name for stage in state.newest.stages for name in stage.machines} if state.newest else set()
    return sorted(({*state.machines} | newest) - today - state.left - {*state.renamed})


def check_fleet_file(project: Project, release: Release) -> None:
    """Law 1: a release is carried on with the fleet file that it was made with, or a newer one.

    Raises Usage for a run that has waited with an older one: it would leave out of their stages the machines that it
    does not know.
    """
    if release.fleet in ("", project.tip) or project.code.is_older(release.fleet, project.tip):
        return
    if project.is_outdated():
        text = f"release {release.number} was made with a newer fleet file than the one that this run has read"
        raise Usage(text, hint="run it again")


def check_walkable(state: State, release: Release, fleet: Fleet, *, stage: str) -> None:
    """Raises Usage for a release that has nothing of what is asked for: it was made for another fleet.

    Law 1: a machine that is only called otherwise now was not taken out, and is not left out of its stage either.
    """
    for machine in fleet.machines:
        if was := _name_of_before(state, release, fleet, machine):
            raise Usage(
                f"release {release.number} of this commit was made before {was} was renamed to {machine.name}",
                hint="deploy a newer commit",
            )
    names = [each.name for each in still_there(release, fleet)]
    if not names or (stage and stage not in names):
        what = f"no stage {stage}" if stage else "no machine of today's fleet"
        raise Usage(
            f"release {release.number} of this commit was made before the fleet changed, and has {what}",
            hint="deploy a newer commit, or: wakeline retry",
        )


def still_there(release: Release, fleet: Fleet) -> tuple[StagePlan, ...]:
    """The stages of a release as today's fleet has their machines."""
    names = {machine.name for machine in fleet.machines}
    return tuple(left for stage in release.stages if (left := stage.among(names)).machines)


def _name_of_before(state: State, release: Release, fleet: Fleet, machine: Machine) -> str:
    """The name that a machine has in a release, where that is an older one: it may have been renamed more than once."""
    if machine.renamed_from and release.stage_of(machine.renamed_from):
        return machine.renamed_from
    if release.stage_of(machine.name):
        return ""
    others = {each.name for each in fleet.machines}
    names = [*state.names_of(machine.name), *state.names_of(machine.renamed_from)]
    return next((name for name in names if name and name not in others and release.stage_of(name)), "")
