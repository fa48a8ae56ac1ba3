"""Small fleets for the core's tests: a scheduler that is always on, and on-demand machines behind it."""

from wakeline.core.commands import Send, Write
from wakeline.core.events import Finished, Knocked
from wakeline.core.order import Outcome
from wakeline.core.presence import Answer
from wakeline.core.rollout import Rollout, advance, begin
from wakeline.core.state import StagePlan


def stage(name: str, *machines: str, always: tuple[str, ...] = (), gates: bool | None = None, goes_on: bool = False):
    return StagePlan(name, machines, frozenset(always), bool(always) if gates is None else gates, goes_on)


SCHEDULER = stage("scheduler", "scheduler", always=("scheduler",))
FRONTEND = stage("frontend", "uat")


def rollout(*stages: StagePlan, **changes) -> Rollout:
    stages = stages or (SCHEDULER, FRONTEND)
    names = frozenset(name for each in stages for name in each.machines)
    fields = {"release": 7, "stages": stages, "lead": stages[0].machines[0], "at_once": {}, "reached_before": names}
    return begin(Rollout(**{**fields, **changes}))[0]


def take(walk: Rollout, *events):
    """Feed events one by one; the rollout after the last, and every command that came out."""
    commands = []
    for event in events:
        walk, more = advance(walk, event)
        commands += more
    return walk, commands


def awake(name: str) -> Knocked:
    return Knocked(name, Answer.AWAKE)


def asleep(name: str) -> Knocked:
    return Knocked(name, Answer.ASLEEP, "timed out after 3 s")


def refused(name: str) -> Knocked:
    return Knocked(name, Answer.REFUSED, "host key: changed")


def ok(name: str) -> Finished:
    return Finished(name, Outcome.OK)


def failed(name: str) -> Finished:
    return Finished(name, Outcome.FAILED, "step migrate: exit 1")


def sent(commands) -> list[str]:
    return [command.machine for command in commands if isinstance(command, Send)]


def written(commands, kind: str) -> list[dict]:
    return [dict(c.draft.body) for c in commands if isinstance(c, Write) and c.draft.kind == kind]
