"""What happens to a fleet: workloads and faults drawn from one seed, then calm, and what must be true after it."""

from __future__ import annotations

import signal
from collections.abc import Callable

from sim import forgery
from sim.laws import Violation
from sim.loop import Process
from sim.machine import CONFIRMED, Box
from sim.world import World, inside
from wakeline.cli import settle
from wakeline.core.carrying_out import attempts
from wakeline.core.catch_up import ATTEMPTS, Verdict, decide
from wakeline.core.model import Machine
from wakeline.core.order import Outcome
from wakeline.core.records import Draft
from wakeline.core.state import State
from wakeline.driver.admitting import Wish
from wakeline.errors import Usage

RUNNERS_MAX = 3
CALM_S = 4000.0
ROUNDS = ATTEMPTS + 2


def run(seed: int, *, story: list[str] | None = None) -> World:
    """One fleet, one seed. Raises Violation with the law that was broken. `story` gets a line for everything."""
    world = World(seed)
    world.story = story
    with inside(world):
        chaos = Chaos(world)
        try:
            chaos.storm()
            chaos.calm_down()
            chaos.all_is_well()
            forgery.nobody_is_taken_in(world, chaos.let_everybody_catch_up)
        finally:
            world.loop.bury(world.started)
    return world


class Chaos:
    """Draws what happens next, and lets it happen."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random = world.random
        self.runners: list[Process] = []
        self._person: Process | None = None
        self._acts = self._draw_acts()

    def _draw_acts(self) -> list[tuple[float, Callable[[], None]]]:
        """Each seed has its own mixture: one is all about lids that close, another about links."""
        acts: list[tuple[float, Callable[[], None]]] = [
            (8, self._begin_rollout),
            (4, self._wake_or_sleep),
            (3, self._timer),
            (1, self._kill_runner),
            (0.7, self._interrupt_runner),
            (1, self._close_lid),
            (1, self._kill_agents),
            (1, self._pull_the_plug),
            (1.5, self._cut_a_link),
            (2, self._restore_a_link),
            (1.5, self._resolve),
            (0.3, self._hold),
            (1, self._unhold),
            (0.5, self._retry_machine),
            (0.3, self._old_word),
            (0.3, self._restart_database),
            (0.5, self._join),
            (0.5, self._rename),
            (0.5, self._set_up),
            (0.4, self._take_out),
            (0.5, self._push_further),
        ]
        return [(weight * self.random.choice((0, 0.3, 1, 1, 2)), act) for weight, act in acts] + acts[:1]

    def storm(self) -> None:
        """Some time in which everything may go wrong, and people go on working."""
        world = self.world
        world.commit()
        self._begin_rollout()
        weights = [weight for weight, _ in self._acts]
        for _ in range(self.random.choice((6, 12, 25))):
            self._pass(self.random.choice((0.3, 2.0, 10.0, 40.0, 200.0)))
            (_, act) = self.random.choices(self._acts, weights)[0]
            world.tell(act.__name__)
            act()
            self._check_for_bugs()

    def calm_down(self) -> None:
        """Faults stop: links are back in some order, lids are open, every machine is on, people settle what is open."""
        world = self.world
        for link in self.random.sample(sorted(world.cuts), k=len(world.cuts)):
            del world.cuts[link]
        for process in self.runners:
            self._open_lid(process)
        world.is_calm = True
        world.tell("calm")
        for box in world.boxes.values():
            if not box.on:
                box.power_on()
        ends = world.loop.now + CALM_S
        while [each for each in self.runners if not each.dead] or world.database.sessions:
            if world.loop.now > ends:
                left = [each.name for each in self.runners if not each.dead]
                raise Violation(f"convergence: after {CALM_S:g} s of calm {left} had not ended")
            self._pass(30.0)
            self._resolve()
        for machine in world.fleet.machines:
            if not world.state.machines.get(machine.name):
                self._set_up_one(machine)  # what failed, or was put off, is done now
        self._pass(700.0)  # agents that were cut off from their runners carry their orders to the end
        for _ in range(3):
            self._resolve()
            self._pass(300.0)
        for machine in sorted(world.state.holds):
            world.write("ann", lambda _, name=machine: [Draft("unheld", {"machine": name})])
        self._check_for_bugs()

    def all_is_well(self) -> None:
        """Every machine runs the newest release approved for it, or says why not; a good commit reaches everybody."""
        self.let_everybody_catch_up()
        for box in self.world.boxes.values():
            self._runs_what_it_should(box)
        self._good_commit_passes()

    # --- convergence ---

    def let_everybody_catch_up(self, rounds: int = ROUNDS) -> None:
        """Every machine looks at the ledger, some times one after the other."""
        for _ in range(rounds):
            for box in self.world.boxes.values():
                box.start_catch_up()
            self._pass(300.0)
            self._check_for_bugs()

    def _runs_what_it_should(self, box: Box) -> None:
        tried = attempts(box.journal)
        decision = decide(self.world.state, machine=box.called, runs=box.current or 0, attempts=tried)
        wants = decision.verdict is Verdict.RUN
        if wants and decision.name not in (box.called, box.was_called):
            return  # renamed twice since then: it refuses an order by a name that it never knew, and takes the next one
        if box.is_set_up and wants:
            raise Violation(f"convergence: {box.name} runs {box.current}, and still wants release {decision.release}")
        behind = self.world.observer.is_left_behind(box)
        if box.is_set_up and behind:
            raise Violation(f"convergence: {box.name} runs {box.current}, and release {behind} is approved for it")
        if box.serves != box.current and not (box.serves is None and self._failed_at(box)):
            raise Violation(f"convergence: {box.name} serves release {box.serves}, and `current` is {box.current}")
        if box.current and box.info(box.current).get("state") != CONFIRMED and not self._failed_at(box):
            raise Violation(f"convergence: {box.name} runs release {box.current}, which nobody has confirmed")

    def _failed_at(self, box: Box) -> bool:
        """Whether its last word on the release that `current` points to is that it failed."""
        words = [each for each in box.journal if each["what"] == "ended" and each["release"] == box.current]
        return bool(words) and words[-1]["outcome"] == Outcome.FAILED.value

    def _good_commit_passes(self) -> None:
        world = self.world
        commit = world.commit(good=True)
        process = world.deploy(Wish(commit=f"c{commit}"))
        ends = world.loop.now + CALM_S
        while not process.dead and world.loop.now < ends:
            self._pass(20.0)
        self._check_for_bugs()
        ending = dict(world.endings).get(process.name, "it did not end")
        newest = world.state.newest
        if ending != "passed" or newest is None:
            said = {name: (each.outcome.value, each.cause) for name, each in newest.results.items()} if newest else {}
            raise Violation(f"convergence: a good commit, all machines awake, and its deploy ended: {ending}; {said}")
        for box in self._in_the_fleet():
            if (box.current, box.serves) != (newest.number, newest.number):
                where = f"{box.current}, serves {box.serves}"
                raise Violation(f"convergence: {box.name} runs {where}, and not release {newest.number}")
        if not world.state.lease.free or world.state.open_claims:
            raise Violation(f"convergence: left behind: {world.state.lease} {world.state.open_claims}")

    # --- acts ---

    def _pass(self, seconds: float) -> None:
        self.world.loop.run_until(self.world.loop.now + seconds * (0.5 + self.random.random()))

    def _check_for_bugs(self) -> None:
        if self.world.loop.bugs:
            bug = self.world.loop.bugs[0]
            raise bug if isinstance(bug, Violation) else Violation(f"a bug of ours: {bug!r}") from (
                bug if isinstance(bug, BaseException) else None
            )

    def _begin_rollout(self) -> None:
        world = self.world
        if sum(not each.dead for each in self.runners) >= RUNNERS_MAX:
            return
        if self.random.random() < 0.5:
            world.commit()
        what = self.random.choice(("deploy", "deploy", "deploy", "deploy", "rollback", "retry"))
        commit = world.newest if self.random.random() < 0.85 else self.random.randint(1, world.newest)
        stage = self.random.choice(world.fleet.stages).name if self.random.random() < 0.07 else ""
        wish = Wish(what, "" if what == "rollback" else f"c{commit}", 0, stage, wait=self.random.random() < 0.4)
        process = world.deploy(wish)
        self.runners.append(process)
        if self.random.random() < 0.15:  # two in the same second
            self.runners.append(world.deploy(wish))

    def _a_runner(self) -> Process | None:
        alive = [each for each in self.runners if not each.dead]
        return self.random.choice(alive) if alive else None

    def _kill_runner(self) -> None:
        process = self._a_runner()
        if process:
            process.end()

    def _interrupt_runner(self) -> None:
        """SIGINT: where no handler is set yet, Python ends."""
        process = self._a_runner()
        if process is None or process.paused:
            return
        handler = process.signals.get(signal.SIGINT)
        if handler is None:
            process.end()
        else:
            call, arguments = handler
            self.world.loop.signal(process, call, *arguments)

    def _close_lid(self) -> None:
        """SIGSTOP for a while, shorter or longer than a lease."""
        process = self._a_runner()
        if process and not process.paused:
            process.paused = True
            self.world.loop.by_itself(self.random.choice((5.0, 100.0, 170.0, 260.0)), self._open_lid, process)

    def _open_lid(self, process: Process) -> None:
        if process.paused and not process.dead:
            self.world.loop.go_on(process)

    def _a_box(self) -> Box:
        return self.random.choice(list(self.world.boxes.values()))

    def _in_the_fleet(self) -> list[Box]:
        return [box for name, box in self.world.boxes.items() if name not in self.world.out]

    def _wake_or_sleep(self) -> None:
        """The switch of an on-demand machine; now and then the power of any."""
        box = self._a_box()
        if not box.on:
            box.power_on()
        elif not box.always or self.random.random() < 0.3:
            box.power_off()

    def _pull_the_plug(self) -> None:
        """A machine goes off in the middle of an order, and somebody deploys the same commit again."""
        busy = [box for box in self.world.boxes.values() if box.on and box.lock is not None]
        if busy:
            self.random.choice(busy).power_off()
            delay_s = self.random.choice((30.0, 60.0, 200.0))
            self.world.loop.by_itself(delay_s, self._same_again)

    def _same_again(self) -> None:
        if not self.world.is_calm and sum(not each.dead for each in self.runners) < RUNNERS_MAX:
            self.runners.append(self.world.deploy(Wish(commit=f"c{self.world.newest}", wait=True)))

    def _timer(self) -> None:
        box = self._a_box()
        if box.on:
            box.start_catch_up()

    def _kill_agents(self) -> None:
        busy = [box for box in self.world.boxes.values() if box.lock is not None]
        box = self.random.choice(busy) if busy and self.random.random() < 0.7 else self._a_box()
        box.kill_agents()

    def _cut_a_link(self) -> None:
        name = self._a_box().name
        runner = self._a_runner()
        links = [f"runners to {name}", f"{name} to ledger", f"{name} to database"]
        links += [f"{runner.name} to ledger"] if runner else []
        link = self.random.choice(links)
        self.world.cuts[link] = self.world.loop.now
        if link == f"runners to {name}":
            for wire in self.world.wires:
                if wire.machine == name:
                    wire.cut()

    def _restore_a_link(self) -> None:
        if self.world.cuts:
            del self.world.cuts[self.random.choice(sorted(self.world.cuts))]

    def _resolve(self) -> None:
        """A person waits until nothing of the command is at work, looks at the database, and says what is true."""
        if self.world.state.open_claims and (self._person is None or self._person.dead):
            self._person = Process(self.world.fresh_id("ann"))
            work = settle.write(self.world.project(self._person.name), self._settled, watches=True, tell=lambda _: None)
            self.world.run(self._person, work)

    def _settled(self, state: State) -> list[Draft]:
        for claim in state.open_claims:
            if claim.id in self.world.database.sessions or self.world.box(claim.machine).lock is not None:
                raise Usage("it is still at work, as `status` says")
            done = self.world.database.has(int(state.releases[claim.release].commit[1:]))
            return [settle._resolved(state, step="migrate", how="done" if done else "not-run", said=[])]
        return []

    def _hold(self) -> None:
        """Of any machine, of the fleet, or of one that is at work, in a moment of that."""
        busy = [box for box in self._in_the_fleet() if box.lock is not None]
        machine = self.random.choice(["", *sorted(each.name for each in self.world.fleet.machines)])
        if busy and self.random.random() < 0.7:
            machine = self.world.machine_of(self.random.choice(busy)).name
        self.world.loop.by_itself(self.random.choice((0.0, 0.1, 0.5, 2.0)), self._hold_one, machine)

    def _hold_one(self, machine: str) -> None:
        if self.world.is_calm or (machine and all(each.name != machine for each in self.world.fleet.machines)):
            return  # it was renamed or taken out in the meantime
        meant = settle._meant(self.world.fleet, machine)
        self.world.write("ann", lambda _: [Draft("held", {**meant, "why": "a fair"})])

    def _unhold(self) -> None:
        for machine in sorted(self.world.state.holds):
            self.world.write("ann", lambda _, name=machine: [Draft("unheld", {"machine": name})])

    def _retry_machine(self) -> None:
        boxes = self._in_the_fleet()
        off = [box for box in boxes if not box.on]  # it has failed where it was not reached, and not tried yet
        box = self.random.choice(off) if off and self.random.random() < 0.5 else self.random.choice(boxes)
        meant = settle._meant(self.world.fleet, self.world.machine_of(box).name)
        said: list[str] = []
        self.world.write("ann", lambda state: [settle._retried(state, meant=meant, said=said)])

    def _old_word(self) -> None:
        """A check-in that was under way for long arrives now, over a newer one."""
        words = self.world.store.old_words
        if words:
            machine, body = self.random.choice(words)
            self.world.store.words[machine] = body

    def _join(self) -> None:
        """A machine comes into the fleet; whoever wrote it there sets it up now, or somebody does later."""
        machine = self.world.join()
        if self.random.random() < 0.6:
            self._set_up_one(machine)

    def _rename(self) -> None:
        """A machine is called otherwise. Of one that has not heard of its last name yet, people know better."""
        held = sorted(name for name in self.world.state.holds if name)
        again = [each.name for each in self.world.fleet.machines if each.renamed_from]
        names = again if self.random.random() < 0.4 else held if self.random.random() < 0.5 else []
        box = self.world.box(self.random.choice(names)) if names else self._a_box()
        if box.is_set_up and box.name not in self.world.out and box.called == self.world.machine_of(box).name:
            if self.random.random() < 0.2:
                self._hold_one(box.called)
            self.world.rename(box)
            if self.random.random() < 0.3:
                self._rename_at_once(box)
            if self.random.random() < 0.3:
                self._same_again()

    def _rename_at_once(self, box: Box) -> None:
        """Set up by its new name, and called otherwise once more: what is under way knows it by neither of the two."""
        self._set_up_one(self.world.machine_of(box))
        self._pass(10.0)
        if box.name not in self.world.out and box.called == self.world.machine_of(box).name:
            self.world.rename(box)

    def _push_further(self) -> None:
        """Somebody pushes to the second repository, which may be all that the next deploy is about."""
        self.world.further += 1

    def _take_out(self) -> None:
        """It keeps what it runs, and nobody waits for it any more."""
        boxes = self._in_the_fleet()
        if len(boxes) > 1:
            self.world.take_out(self.random.choice(boxes))

    def _set_up(self) -> None:
        self._set_up_one(self.random.choice(self.world.fleet.machines))

    def _set_up_one(self, machine: Machine) -> None:
        process = Process(self.world.fresh_id("ann"))
        self.world.tell(f"{process.name} sets up {machine.name} {machine.renamed_from}")
        self.world.run(process, self.world.set_up(process, machine))

    def _restart_database(self) -> None:
        self.world.database.restart()
