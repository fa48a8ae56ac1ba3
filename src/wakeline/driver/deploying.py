"""One deploy or rollback: admission, lease, release, walk, and what is said at the end."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from wakeline.core import admission, check_in, rollout
from wakeline.core.behind import overdue
from wakeline.core.lease import is_anothers
from wakeline.core.model import Fleet, Machine, Presence
from wakeline.core.order import Order, Outcome
from wakeline.core.records import Draft
from wakeline.core.state import Claim, Lease, Release, State
from wakeline.driver import approving, standing
from wakeline.driver.admitting import Wish, admit, check_fleet_file, check_names, check_walkable, refusal, still_there
from wakeline.driver.approving import Approver
from wakeline.driver.handing import Packs
from wakeline.driver.leasing import Holder, fence_off, until_takeable
from wakeline.driver.progress import Notice, Tell
from wakeline.driver.project import Project
from wakeline.driver.settling import settle
from wakeline.driver.stopping import Stop, stopped_by_signals, unless_stopped
from wakeline.driver.walking import Early, Party, Walk, knock_early
from wakeline.edges.agent_file import agent_file
from wakeline.edges.clock import boottime_s
from wakeline.errors import Busy, Interrupted, Usage
from wakeline.fleet.file import FleetFile

_TURN_S = 10.0
_LOOK_S = 1.0


@dataclasses.dataclass(frozen=True)
class Result:
    """How it ended: the release as the ledger has it now, and what is open. `stage` is the one that was asked for."""

    release: Release
    fleet: Fleet
    ended: str
    in_doubt: tuple[Claim, ...]
    warnings: tuple[str, ...] = ()
    overdue: tuple[str, ...] = ()
    receipts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    stage: str = ""
    held: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def walked(self) -> tuple[Machine, ...]:
        """The machines of the stages that were asked for."""
        return tuple(m for stage in self.fleet.stages if self.stage in ("", stage.name) for m in stage.machines)

    @property
    def to_come(self) -> tuple[str, ...]:
        """The stages that wait for a step of their own, when one stage alone was asked for and it has passed."""
        names = [stage.name for stage in self.fleet.stages]
        return tuple(names[names.index(self.stage) + 1 :]) if self.stage and self.ended == "passed" else ()


async def deploy(project: Project, wish: Wish, *, tell: Tell) -> Result:
    """Deploy a commit, or go back to one. Raises Busy, InDoubt and Usage before anything was started."""
    if wish.stage and all(stage.name != wish.stage for stage in project.file.fleet.stages):
        names = ", ".join(stage.name for stage in project.file.fleet.stages)
        raise Usage(f"there is no stage {wish.stage!r}", hint=f"stages: {names}")
    commit = "" if wish.what == "rollback" else project.code.resolve(wish.commit, checkout=project.checkout)
    pins = project.pins(commit) if commit else {}
    stop = Stop()
    desk = _Desk(project, wish, commit, pins, stop)
    with stopped_by_signals(stop):
        try:
            found = await unless_stopped(desk.look(tell), stop)
            if found is not None:
                return found
            holder, admitted = await unless_stopped(desk.begin(tell), stop)
            return await desk.walk(holder, admitted, tell=tell)
        except Interrupted:
            await desk.withdraw()
            raise
        finally:
            await desk.let_go()


@dataclasses.dataclass
class _Admitted:
    """What the lease was taken for."""

    number: int
    file: FleetFile
    new: admission.NewRelease | None = None


class _Desk:
    """Holds what one deploy knows, from the request to the last word."""

    def __init__(self, project: Project, wish: Wish, commit: str, pins: Mapping[str, str], stop: Stop) -> None:
        self._project = project
        self._writer = project.writer
        self._wish = wish
        self._commit = commit
        self._pins = pins
        self._stop = stop
        self._request = secrets.token_hex(8)
        self._asked = False
        self._key: Path | None = None
        self._early: Early = {}
        self._lease_s = project.file.deploy.lease_s
        self._said: Mapping[str, Mapping[str, object]] = {}
        self._fresh: State | None = None

    async def look(self, tell: Tell) -> Result | None:
        """What there is to say when there is nothing to do. None where there is something, or may be."""
        self._said = await asyncio.to_thread(self._check_ins)
        self._fresh = state = await self._writer.read()
        if self._wish.what != "deploy" or self._wish.stage:
            return None
        approving.key_for(self._project, state)  # whoever may not approve hears it whether or not there is work
        release = standing.candidate(self._project, state, commit=self._commit, pins=self._pins, said=self._said)
        if release is None:
            return None
        seen = await standing.ask(self._project, state, release)
        if seen is None:
            self._fresh = None  # that took a while
            return None
        self._tell_release(release, tell)
        return self._result(standing.tell_of(release, seen, tell=tell), ended=release.ended, held={})

    async def begin(self, tell: Tell) -> tuple[Holder, _Admitted]:
        """Take the lease and make the release in one push, as soon as both may be."""
        project, said = self._project, self._said
        while True:
            self._stop.check()
            fresh, self._fresh = self._fresh, None
            state = fresh or await self._writer.read()
            self._not_superseded(state)
            self._key = approving.key_for(project, state)
            watched = state.lease
            if not watched.free:
                await self._ask()
                state = await until_takeable(self._writer, tell=tell, wait=self._wish.wait)
                self._not_superseded(state)
                watched = state.lease
                state = await self._after_those_ahead(state)
                if is_anothers(state.lease, watched):
                    continue  # the one ahead has it now
            state = await settle(project, state, tell=tell)
            if is_anothers(state.lease, watched):
                continue  # machines were asked meanwhile: whoever took it or renewed it is watched anew
            state = await fence_off(self._writer, state)
            began_s = boottime_s()
            made: list[_Admitted] = []
            self._knock_early(state)
            take = functools.partial(self._take, believed=watched, said=said, made=made)
            with self._stop.put_off():  # a lease that is taken is also freed again
                state = await self._writer.write(take)
            if made and not state.lease.free and state.lease.holder == self._writer.by:
                holder = Holder(self._writer, state.lease.number, self._lease_s, began_s)
                self._tell_release(state.releases[made[0].number], tell)
                return holder, made[0]
            await self.let_go()

    def _tell_release(self, release: Release, tell: Tell) -> None:
        fleet = self._project.file.fleet
        tell(Notice("release", text=f"{fleet.app} {fleet.environment}", data=_shown(release)))

    def _knock_early(self, state: State) -> None:
        """Connect and start agents beside the first push. No machine is told of a release before the lease is ours."""
        reached = _reached_before(state, self._project.file.fleet)
        for stage in self._project.file.fleet.stages:
            for number, machine in enumerate(stage.machines):
                known = machine.name in reached and not state.why_on_hold(machine.name)
                way = self._project.transport_of(machine)
                starts = known and number < stage.at_once
                self._early[machine.name] = knock_early(machine, way, starts_agent=starts)

    async def let_go(self) -> None:
        """Close what was knocked at and not walked to."""
        tasks = [each.task for each in self._early.values()]
        agents = [each.agent for each in self._early.values() if each.agent is not None]
        for each in self._early.values():
            each.cancel()
        await asyncio.gather(*agents, return_exceptions=True)
        for done in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(done, BaseException):
                await done.close()
        self._early.clear()

    def _take(
        self, now: State, *, believed: Lease, said: Mapping[str, Mapping[str, object]], made: list[_Admitted]
    ) -> Sequence[Draft]:
        """Nothing when somebody renewed or took the lease meanwhile: then it is watched anew."""
        made.clear()
        if is_anothers(now.lease, believed):
            return ()
        made.append(self._admit(now))
        return self._opening(now, made[0], said)

    async def walk(self, holder: Holder, admitted: _Admitted, *, tell: Tell) -> Result:
        """Walk the stages, whatever interrupts it, and say how it ended."""
        state = self._writer.state
        orders = self._orders(admitted, state.releases[admitted.number], state)
        machines = {machine.name: machine for machine in self._project.file.fleet.machines}
        packs = Packs(self._project.code, commit=next(iter(orders.values())).commit, bases=_bases(state, orders))
        party = Party(machines, orders, self._project.transport_of, agent_file(), self._early, packs)
        fleet = self._project.file.fleet
        approve = Approver(fleet.app, fleet.environment, orders, party.agent.digest, self._key)

        def at_once(now: State) -> list[Draft]:
            release = now.releases[admitted.number]
            stages = sorted(admission.approved_at_once(now, release) - release.approved) if admitted.new else []
            return [approve(now, Draft("approved", {"release": release.number, "stage": each})) for each in stages]

        state = await holder.write(at_once, agents={party.agent.digest: party.agent.data})
        begun = self._rollout(state, state.releases[admitted.number], orders)
        walk = Walk(begun, party=party, holder=holder, approve=approve, tell=tell)
        self._stop.hand_over(walk.stop)
        try:
            done = await walk.run()
        finally:
            packs.let_go()
        return self._result(self._writer.state.releases[admitted.number], ended=done.ended, held=done.held)

    def _result(self, release: Release, *, ended: str, held: Mapping[str, str]) -> Result:
        state = self._writer.state
        warnings = tuple(getattr(self._writer.ledger, "warnings", ()))
        fleet = self._project.file.fleet
        walked = [each for each in fleet.stages if self._wish.stage in ("", each.name)]
        machines = [machine for stage in walked for machine in stage.machines]
        late = tuple(why for machine in machines if (why := overdue(state, machine, now_s=time.time())))
        receipts = state.receipts_of(release.number)
        stage = self._wish.stage
        return Result(release, fleet, ended, state.in_doubt, warnings, late, receipts, stage, held)

    def _check_ins(self) -> Mapping[str, Mapping[str, object]]:
        return self._writer.ledger.check_ins()

    async def _ask(self) -> None:
        """Put the request on record, so that of those waiting the last one goes."""
        if self._asked or not self._wish.wait:
            return
        body = {"request": self._request, "what": self._wish.what, "commit": self._commit}
        with self._stop.put_off():
            await self._writer.write(lambda _: [Draft("requested", body)])
        self._asked = True
        self._stop.check()

    async def withdraw(self) -> None:
        """Take the request off the list of those waiting: nobody is there any more who would go."""
        ended = Draft("request-ended", {"request": self._request})
        if self._asked:
            await self._writer.write(lambda now: [ended] if self._request in now.requests else [])

    async def _after_those_ahead(self, state: State) -> State:
        """Law 8: let the first in line take the lease. One that died in the queue costs a few seconds, and no more."""
        ends = boottime_s() + _TURN_S
        while self._asked and state.lease.free and boottime_s() < ends:
            first = admission.first_in_line(state.requests)
            if first is None or first.id == self._request:
                break
            await asyncio.sleep(_LOOK_S)
            state = await self._writer.read()
            self._not_superseded(state)
        return state

    def _not_superseded(self, state: State) -> None:
        if self._asked and self._request not in state.requests:
            release = state.superseded.get(self._request, 0)
            raise Busy(f"superseded: release {release} took over", hint="wakeline status")

    def _admit(self, state: State) -> _Admitted:
        """Ask the core which release this becomes. Raises what stands in the way."""
        check_names(state, self._project.file.fleet)
        answer = admit(self._project, state, self._wish, self._commit, self._pins)
        if isinstance(answer, admission.Refused):
            raise refusal(answer)
        if isinstance(answer, admission.CarryOn):
            release = state.releases[answer.release]
            check_fleet_file(self._project, release)
            check_walkable(state, release, self._project.file.fleet, stage=self._wish.stage)
            return _Admitted(release.number, self._project.file_at(release.commit))
        return _Admitted(answer.number, self._project.file_at(answer.commit), answer)

    def _opening(self, state: State, admitted: _Admitted, said: Mapping[str, Mapping[str, object]]) -> list[Draft]:
        """Lease, release and what machines have said since, in one push: nothing between them needs a fence."""
        fence = state.lease.number + 1
        drafts = [Draft("lease-taken", {"fence": fence, "holder": self._writer.by, "length_s": self._lease_s})]
        if admitted.new is None:
            drafts.append(Draft("carried-on", {"fence": fence, "release": admitted.number}))
        else:
            drafts += self._made(state, admitted.new, fence)
        others = [each for each in state.requests if each != self._request]
        drafts += [
            Draft("request-superseded", {"fence": fence, "request": each, "release": admitted.number})
            for each in others
        ]
        if self._asked:
            drafts.append(Draft("request-ended", {"fence": fence, "request": self._request}))
        heard = check_in.settled(state, said.items())
        return drafts + [Draft(each.kind, {**each.body, "fence": fence}) for each in heard]

    def _made(self, state: State, new: admission.NewRelease, fence: int) -> list[Draft]:
        fleet = self._project.file.fleet
        body = {"fence": fence, "release": new.number, "commit": new.commit, "pins": dict(new.pins), "lead": fleet.lead}
        body["fleet"] = self._project.tip
        drafts = [Draft("release-made", {**body, "rollback_to": new.rollback_to, "stages": _stages(fleet)})]
        if new.rollback_to and state.newest:
            pins = dict(state.newest.pins)
            refused = {"commits": [state.newest.commit], "pins": pins, "why": f"rolled back by release {new.number}"}
            drafts.append(Draft("commits-refused", {"fence": fence, **refused}))
        return drafts

    def _orders(self, admitted: _Admitted, release: Release, state: State) -> dict[str, Order]:
        return admitted.file.orders(
            fleet=self._project.file.fleet,
            release=release.number,
            commit=release.commit,
            pins=release.pins,
            rollback=bool(release.rollback_to),
            barrier=state.barrier,
        )

    def _rollout(self, state: State, release: Release, orders: Mapping[str, Order]) -> rollout.Rollout:
        earlier = {
            name: result.outcome
            for name, result in release.results.items()
            if self._wish.stage and (stage := release.stage_of(name)) and stage.name != self._wish.stage
        }
        receipts = frozenset(state.receipts_of(release.number))
        return rollout.Rollout(
            release.number,
            still_there(release, self._project.file.fleet),
            release.lead,
            {stage.name: stage.at_once for stage in self._project.file.fleet.stages},
            _reached_before(state, self._project.file.fleet),
            approved=release.approved,
            rollback=bool(release.rollback_to),
            only_stage=self._wish.stage,
            sent_before=release.sent,
            failed_before=frozenset(name for name, each in release.results.items() if each.outcome is Outcome.FAILED),
            once=frozenset(step.name for order in orders.values() for step in order.steps if step.once),
            held=state.on_hold(name for stage in release.stages for name in stage.machines),
            receipted=receipts,
            preparable=_preparable(orders),
            results=earlier,
        )


def _reached_before(state: State, fleet: Fleet) -> frozenset[str]:
    """Machines that setup has reached, or that have ever had an outcome of their own, without those that were left."""

    def has(name: str) -> bool:
        passed = (each.passed_on(name) for each in state.releases_of([name]))
        return name not in state.left and (name in state.machines or any(passed))

    return frozenset(m.name for m in fleet.machines if has(m.name) or has(m.renamed_from))


def _preparable(orders: Mapping[str, Order]) -> frozenset[str]:
    return frozenset(name for name, order in orders.items() if order.may_be_prepared)


def _bases(state: State, orders: Mapping[str, Order]) -> dict[str, str]:
    """Which commit each machine that may be asked to prepare runs, as far as the ledger knows."""
    runs = {name: state.releases.get(state.runs(name)) for name in sorted(_preparable(orders))}
    return {name: release.commit for name, release in runs.items() if release is not None}


def _stages(fleet: Fleet) -> list[dict[str, object]]:
    return [
        {
            "name": stage.name,
            "gates": stage.gates,
            "goes_on": stage.goes_on,
            "machines": [_machine(machine) for machine in stage.machines],
        }
        for stage in fleet.stages
    ]


def _machine(machine: Machine) -> dict[str, str]:
    was = {"renamed_from": machine.renamed_from} if machine.renamed_from else {}
    return {"name": machine.name, "presence": Presence(machine.presence).value, **was}


def _shown(release: Release) -> dict[str, object]:
    stages = [{"name": stage.name, "machines": list(stage.machines)} for stage in release.stages]
    return {"number": release.number, "commit": release.commit, "rollback_to": release.rollback_to, "stages": stages}
