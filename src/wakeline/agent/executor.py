"""The story of one order on one machine, told the same way when it is pushed and when it is caught up with.

Laws that live here:

- Law 6: never below what this machine runs.
- Law 7: `current` is the old release or the new one. Everything is ready before the switch; what is not healthy after
  it is switched back. A release that nobody confirmed is confirmed or gone back from at the next chance.
- Law 5: no switch-back goes below the barrier: then the machine is failed, and says why.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from wakeline.agent import (
    durable,
    environment,
    health,
    holding_off,
    locking,
    once,
    privileges,
    removing,
    repository,
    services,
    steps,
    wire,
)
from wakeline.agent.cache import Cache
from wakeline.agent.home import Home
from wakeline.agent.in_place import Checkout
from wakeline.agent.journal import Journal
from wakeline.agent.layout import CONFIRMED, Releases
from wakeline.agent.overtaken import EarlyLook, Watch
from wakeline.core import carrying_out
from wakeline.core.carrying_out import Begin
from wakeline.core.once import GONE
from wakeline.core.order import SCRIPT, Layout, Order, Outcome
from wakeline.errors import Interrupted, RolloutFailed, WakelineError


class Ending(NamedTuple):
    """How an order ended here. `was` is the release that ran before, 0 for none."""

    outcome: Outcome
    cause: str = ""
    was: int = 0
    seconds: float = 0.0


class Executor:
    """Carries one order out. The caller holds the machine's lock."""

    def __init__(
        self,
        order: Order,
        *,
        home: Home,
        channel: wire.Channel,
        journal: Journal,
        without_sudo: bool,
        fence: int = 0,
        stamp: str = "",
        early: EarlyLook | None = None,
    ) -> None:
        self.order = order
        self._home = home
        self._channel = channel
        self._journal = journal
        self._watch = Watch(home, order.machine, fence=fence, stamp=stamp, early=early, runner=channel)
        self._way = privileges.present_way(without_sudo=without_sudo, app=order.app, environment=order.environment)
        self._has_pruned = False
        self._seen = services.Seen()
        self.releases = Checkout(order, home=home) if order.layout is Layout.IN_PLACE else Releases(order, home=home)

    def carry_out(self, *, may_run_once: bool, start_services: bool = True) -> Ending:
        """Fetch, lay out, steps, once-steps, switch, restart, health, confirm or switch back.

        With `start_services` false it stops after the switch: at boot, systemd starts the services then, and `confirm`
        says how it went. Never raises for what happens on this machine: the ending says it.
        """
        return self._to_its_end(lambda: self._carry_out(may_run_once=may_run_once, start_services=start_services))

    def clear_away(self) -> None:
        """What costs time and nobody waits for, when the last word was said. The caller still holds the lock."""
        if not self._has_pruned or isinstance(self.releases, Checkout):
            return
        try:
            Cache(self.releases.path).prune(in_use=self.releases.links_in_use())
            self.releases.forget()
        except (WakelineError, OSError) as error:  # it is done after the next release
            self._journal.note("not-cleared", release=self.order.release, cause=_words(error))

    def sweep(self) -> None:
        """Remove what was set aside. Needs no lock."""
        if self._has_pruned:
            for name in ("releases", "cache"):
                removing.sweep(self.releases.path / name)

    def go_back(self, *, problem: str, start_services: bool = True) -> Ending:
        """A run was cut off on its way back from this release: go it to the end.

        With `start_services` false only `current` is moved: at boot, systemd starts the services then.
        """

        def back() -> Ending:
            with holding_off.shutdown(app=self.order.app, environment=self.order.environment):
                was = self._switched_from()
                return self._go_back(self._bench(), was=was, problem=problem, start_services=start_services)

        return self._to_its_end(back)

    def went_back(self, *, problem: str) -> Ending:
        """A run was cut off on its way back, and the services have been started since from what `current` is."""
        now = self._was()
        self._journal.note(carrying_out.WENT_BACK, release=now, was=self.order.release)
        return self._to_its_end(lambda: Ending(Outcome.FAILED, f"{problem}\nback on release {now}", now))

    def confirm(self) -> Ending:
        """After a boot that switched, or a run that was cut off after its switch: healthy, or back."""
        return self._to_its_end(self._healthy_or_back)

    def retire(self) -> list[str]:
        """Stop the units that still run here: the machine was taken out of its fleet. Returns their names."""
        running = [
            each
            for each in services.mine(self.order)
            if not each.unit or services.show(each.unit).get("ActiveState") in ("active", "activating", "reloading")
        ]
        bench = self._bench()
        for service in running:
            services.stop(bench, service, way=self._way)
        return [service.name for service in running if service.unit or service.stop]

    def sessions(self, claims: Sequence[str]) -> dict[str, str]:
        """What the database says of the sessions of some claims: gone, or words. Only where a step has a `lock`."""
        steps_of = {str(e.get("claim")): e.get("step") for e in self._journal.newest_first("once-started")}
        with_lock = {step.name: step for step in self.order.steps if step.lock}
        bench = self._bench()
        asked = {claim: with_lock.get(str(steps_of.get(claim))) for claim in claims}
        return {claim: locking.look_for(bench, step, [claim]) or GONE for claim, step in asked.items() if step}

    def _to_its_end(self, work: Callable[[], Ending]) -> Ending:
        """What happens on this machine is an ending, and the journal has it."""
        began = time.monotonic()
        try:
            ending = work()
        except Interrupted as error:
            ending = Ending(Outcome.WITHHELD, self._abandoned(error.message), self._was())
        except (WakelineError, OSError, ValueError) as error:
            ending = Ending(Outcome.FAILED, self._abandoned(_words(error)), self._was())
        self._journal.note("ended", release=self.order.release, outcome=ending.outcome.value, cause=ending.cause)
        return ending._replace(seconds=time.monotonic() - began)

    def _carry_out(self, *, may_run_once: bool, start_services: bool) -> Ending:
        order, was = self.order, self.releases.current()
        confirmed = was is not None and self.releases.info(was).get("state") == CONFIRMED
        left = carrying_out.cut_off(was or 0, entries=self._journal.entries)
        confirmed = confirmed and not (left and left.back)  # services may run what was switched back from
        how = carrying_out.begin(order.release, runs=was, confirmed=confirmed)
        if how is Begin.TOO_OLD:
            raise RolloutFailed(f"this machine runs release {was} already, which is newer than {order.release}")
        if how is Begin.UNCHANGED:
            return Ending(Outcome.UNCHANGED, was=order.release)
        if how is Begin.MAKE_READY:
            self._make_ready(may_run_once=may_run_once)
            if self._channel.stopping:
                raise Interrupted(f"stopped before the switch: {self._channel.stopping}")
            self._watch.check()
        with holding_off.shutdown(app=order.app, environment=order.environment):
            if how is Begin.MAKE_READY:
                durable.write_json(self._home.order_of(order.release), order.to_json())
                self._journal.write("switch", release=order.release, was=was or 0)
                self.releases.switch(order.release)
                self._channel.send("switched", was=was or 0, now=order.release)
            if not start_services:
                return Ending(Outcome.OK, was=was or 0)
            return self._start_and_confirm(was=self._switched_from())

    def _abandoned(self, problem: str) -> str:
        """Leave what runs as it was. Returns the problem, with what went wrong on top of it."""
        try:
            if self.releases.current() != self.order.release:
                self.releases.abandon()
        except (WakelineError, OSError) as error:
            return f"{problem}\nand what was begun could not be taken back: {_words(error)}"
        return problem

    def _make_ready(self, *, may_run_once: bool) -> None:
        """Everything that can be done while the old release still runs."""
        self._watch.begin()
        self.releases.prepare()
        if not self.releases.is_prepared:  # else its files are here, and there was room for them
            self.releases.fetch()
            self.releases.check_space()
        self._channel.send("fetched", commit=self.order.commit)
        self._seen = services.check(services.mine(self.order))
        durable.write_json(self._home.saved_order, self.order.to_json())
        if self.releases.is_ready():
            return
        self.releases.lay_out()
        self._channel.send("laid_out", release=self.order.release)
        bench = self._bench()
        self._watch.check()
        links = steps.run_all(bench)
        self._watch.begin()  # beside the check of the database
        once.settle_all(bench, may_run=may_run_once and self.order.lead, check=self._watch.check)
        self._check_that_no_script_moved_it()
        self.releases.mark_ready(links=links)

    def _check_that_no_script_moved_it(self) -> None:
        if all(step.name != SCRIPT for step in self.order.steps):
            return
        now = repository.head(self.releases.folder)
        if now != self.order.commit:
            raise RolloutFailed(
                f"the script moved the checkout from {self.order.commit[:10]} to {now[:10] or 'nothing'}",
                hint="the commit is checked out before the script runs: take `git pull` out of it",
            )

    def _start_and_confirm(self, *, was: int) -> Ending:
        bench = self._bench()
        looking = None
        try:
            self._restart(bench)
            looking = self._look_over()
            self._wait_until_healthy(bench)
        except (RolloutFailed, OSError) as error:
            return self._go_back(bench, was=was, problem=_words(error))
        self._confirm(looking)
        return Ending(Outcome.OK, was=was)

    def _look_over(self) -> threading.Thread | None:
        """Look at what will be pruned, while the services start. Their restart itself need not share a processor."""
        if isinstance(self.releases, Checkout):
            return None
        looking = threading.Thread(target=self.releases.look_over, daemon=True)
        looking.start()
        return looking

    def _healthy_or_back(self) -> Ending:
        bench, was = self._bench(), self._switched_from()
        with holding_off.shutdown(app=self.order.app, environment=self.order.environment):
            try:
                self._wait_until_healthy(bench)
            except (RolloutFailed, OSError) as error:
                return self._go_back(bench, was=was, problem=_words(error))
            self._confirm()
        return Ending(Outcome.OK, was=was)

    def _restart(self, bench: steps.Bench) -> None:
        for service in services.mine(self.order):
            services.restart(bench, service, way=self._way, folder=bench.folder, seen=self._seen)

    def _wait_until_healthy(self, bench: steps.Bench) -> None:
        for service in services.mine(self.order):
            health.wait(bench, service)
            self._channel.send("healthy", service=service.name)

    def _confirm(self, looking: threading.Thread | None = None) -> None:
        self.releases.confirm()
        self._journal.note("confirmed", release=self.order.release)
        self._channel.send("confirmed", release=self.order.release)
        if looking is not None:
            looking.join()
        for place in self.releases.prune():
            self._channel.send("output", step="prune", text=f"changes made by hand were saved in {place}")
        for stuck in removing.stuck(self.releases.path / "releases"):
            self._channel.send("output", step="prune", text=f"{stuck} cannot be removed: whose files are in it?")
        self._home.forget_orders(but=self.releases.is_complete)
        self._has_pruned = True

    def _go_back(self, bench: steps.Bench, *, was: int, problem: str, start_services: bool = True) -> Ending:
        """Back to what ran, or to the last release that was good here; never below the barrier."""
        order = self.order._replace(barrier=max(self.order.barrier, self._watch.barrier()))
        way = carrying_out.way_back(
            self.order.release,
            was=was,
            was_complete=self.releases.is_complete(was),
            last_good=self.releases.last_good(),
            barrier=carrying_out.barrier(order, started=self._journal.newest_first("once-started")),
        )
        target = way.to
        if way.barred:
            cause = f"not switched back: the schema has moved since release {target}\n{problem}"
            self._channel.send("switched_back", to=None, cause=cause)
            return Ending(Outcome.FAILED, self._stay(bench, cause, start_services=start_services), was)
        if target is None:
            return self._stop_everything(bench, problem)
        self._home.forget_look()  # what it found may be `target`, and all well
        ends = carrying_out.WENT_BACK
        self._journal.write("switch-back", release=target, was=self.order.release, cause=problem[:2000], ends=ends)
        self.releases.go_back(target)
        self._channel.send("switched_back", to=target, cause=problem)
        if not start_services:
            return Ending(Outcome.FAILED, f"{problem}\nback on release {target}", was)
        folder = self.releases.folder_of(target)
        back = bench._replace(folder=folder, environment=self._environment_of(target, folder))
        again = []
        for service in services.mine(self.order):
            try:
                services.restart(back, service, way=self._way, folder=folder)
            except (RolloutFailed, OSError) as error:
                again.append(_words(error))
        self._journal.note(carrying_out.WENT_BACK, release=target, was=self.order.release)
        after = f"\nback on release {target}, but: {'; '.join(again)}" if again else f"\nback on release {target}"
        return Ending(Outcome.FAILED, problem + after, was)

    def _stay(self, bench: steps.Bench, problem: str, *, start_services: bool) -> str:
        """The way back is closed. It was open when an earlier run began it: then this release is returned to."""
        if self.releases.current() == self.order.release:
            return problem
        self._journal.write("switch", release=self.order.release, was=self._switched_from())
        self.releases.go_back(self.order.release)
        try:
            if start_services:
                self._restart(bench)
        except (RolloutFailed, OSError) as error:
            return f"{problem}\n{_words(error)}"
        return problem

    def _stop_everything(self, bench: steps.Bench, problem: str) -> Ending:
        """Law 7: the first release that fails, with nothing to go back to, leaves its services stopped."""
        problems = []
        for service in services.mine(self.order):
            try:
                services.stop(bench, service, way=self._way)
            except (RolloutFailed, OSError) as error:
                problems.append(_words(error))
        self._channel.send("switched_back", to=None, cause=problem)
        after = f"\n{'; '.join(problems)}" if problems else ""
        return Ending(Outcome.FAILED, f"{problem}\nthere is no earlier release: its services were stopped{after}")

    def _bench(self) -> steps.Bench:
        folder = self.releases.folder
        values = environment.build(self.order, folder=folder)
        values = values._replace(values=values.plus(**self._home.tools()))
        return steps.Bench(self.order, self._home, self._channel, self._journal, values, folder)

    def _environment_of(self, release: int, folder: Path) -> environment.Environment:
        """What commands see when they run in an older release: its own folder, number and commit."""
        commit = str(self.releases.info(release).get("commit", ""))
        return environment.build(self.order._replace(release=release, commit=commit), folder=folder)

    def _was(self) -> int:
        try:
            return self.releases.current() or 0
        except (RolloutFailed, OSError):
            return 0

    def _switched_from(self) -> int:
        """What ran before this release was switched to, from the journal: it outlives a crash."""
        return carrying_out.switched_from(self.order.release, newest_first=self._journal.newest_first("switch"))


def _words(error: BaseException) -> str:
    if isinstance(error, WakelineError):
        return f"{error.message} ({error.hint})" if error.hint else error.message
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror or error}{where}"
    return str(error)
