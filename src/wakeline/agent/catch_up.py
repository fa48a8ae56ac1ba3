"""Catch-up on the machine: one read of the ledger, one comparison, and the same executor as a push.

Laws that live here:

- Law 6: what is run is what core/catch_up.py says, from approvals on the ledger; never a once-step, not on the lead.
- Law 11: no network or no ledger keeps what runs; it says so and is tried again.
- It never waits for a rollout: when the machine's lock is taken, the timer looks again.
- An approval is carried out by the agent that it names. A log that this agent cannot read leads it there as well;
  where that agent cannot be had, what can be read is carried out by the one that is here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wakeline.agent import arrival, durable, in_place, layout, lock, wire
from wakeline.agent.doing import Telling
from wakeline.agent.home import Home, boot_id, homes, machine_id
from wakeline.agent.journal import Journal
from wakeline.core import approval, carrying_out
from wakeline.core.carrying_out import CutOff
from wakeline.core.catch_up import CatchUp, Verdict, decide
from wakeline.core.fold import fold
from wakeline.core.order import STOP, BadOrder, Layout, Order, Outcome, order_from_json
from wakeline.core.records import BadLog, Record
from wakeline.core.state import State
from wakeline.core.succession import newest_approval, successor
from wakeline.edges import signing
from wakeline.edges.ledgers import Ledger, Log, memory, open_ledger, remembered
from wakeline.errors import Busy, LedgerError, RolloutFailed, WakelineError

if TYPE_CHECKING:
    from wakeline.agent.executor import Ending, Executor

GLANCE_S = 2.0
TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: the unit has Restart=on-failure


def all_of(
    root: Path,
    *,
    app: str,
    environment: str,
    boot: bool,
    confirm: bool,
    wait_s: float = GLANCE_S,
    tell: bool = False,
) -> int:
    """Catch up every app that was set up here, or the one that was asked for.

    `wait_s` is how long somebody who asked waits for the machine's lock. The units wait for no rollout, only for as
    long as another's look at the lock may take. Returns 1 for what was refused, and to somebody who asked (`tell`) also
    for a release that failed here; a unit that came to its end has not failed.
    """
    worst = 0
    for home in homes(root):
        if (app and home.app != app) or (environment and home.environment != environment):
            continue
        if not home.is_set_up:
            if (home.folder / "config.json").exists():  # else it was deployed to, and never set up
                _say(home, "keeps running what runs: what setup wrote here cannot be read; once more: wakeline setup")
                worst = worst or 1
            continue
        try:
            ending = one(home, boot=boot, confirm=confirm, wait_s=wait_s)
            worst = worst or int(tell and ending is Outcome.FAILED)
        except arrival.HandOver as other:
            _say(home, f"agent {other.digest[:12]} carries on")
            arrival.hand_over(root, other.digest)
        except Busy as error:
            _say(home, f"{error.message}; it looks again later")
        except memory.NotTheLog as error:
            _say(home, f"refused: {error.message} ({error.hint})")
            worst = worst or 1
        except (LedgerError, OSError) as error:
            _say(home, f"keeps running what runs: {getattr(error, 'message', error)}")
            worst = TRY_AGAIN
        except WakelineError as error:
            _say(home, f"refused: {error.message}")
            worst = worst or 1
    return worst


def one(home: Home, *, boot: bool, confirm: bool, wait_s: float) -> Outcome | None:
    """One app, and how the release that it took up ended; None where it took up none.

    Raises LedgerError when there is no news to be had, Busy when somebody else is at work here.
    """
    if home.is_clone:
        text = f"this machine was copied from one that was set up as {home.config.get('machine')}"
        raise RolloutFailed(text, hint="a name of its own in wakeline.toml, then: wakeline setup NAME")
    home.make()
    with lock.hold(home.folder / "lock", wait_s=wait_s):
        journal = Journal(home.folder / "journal.jsonl", boot_id=boot_id())
        if confirm:
            _confirm_switch(home, journal)
            return None
        return _catch_up(home, journal, boot=boot)


def _catch_up(home: Home, journal: Journal, *, boot: bool) -> Outcome | None:
    config = home.config
    ledger = open_ledger(
        str(config["ledger"]), app=home.app, environment=home.environment, workdir=home.folder / "ledger"
    )
    reverse_interrupted(home)
    runs = in_place.runs_now(home, Path(str(config["path"]))) or 0
    left = _cut_off(home, runs, journal)
    seen = {"stamp": ledger.stamp(), "runs": runs, "confirmed": left is None}
    if durable.read_json(home.looked) == seen:
        _say(home, f"runs release {runs}, and nothing new was decided")
        _hand_in(home, ledger)
        return None
    log = _believed(home, ledger)
    state = _understood(home, ledger, log)
    if remembered.is_due(log):
        remembered.keep(log, state, place=home.seen)
    attempts, machine = carrying_out.attempts(journal.entries), str(config["machine"])
    decision = decide(state, machine=machine, runs=runs, cut_off=left.how if left else None, attempts=attempts)
    _say(home, decision.why)
    if decision.verdict is Verdict.NOTHING:
        durable.write_json(home.looked, seen)
    if decision.verdict is Verdict.RETIRED and not boot:
        _retire(home, state.orders.get((decision.release, decision.stage)), log, ledger=ledger, journal=journal)
    if decision.verdict is Verdict.FINISH and left is not None:
        left = _raise_barrier(home, left, state.barrier)
    if decision.verdict is Verdict.FINISH and left is not None and (left.how.back or not boot):
        order = left.order  # at boot the services start from it, and the unit behind them confirms it
    elif decision.verdict is Verdict.RUN:
        left = None
        approved = state.approval(state.releases[decision.release], decision.name)
        _check_signature(home, approved, log, ledger=ledger)
        if approved is not None:
            _hand_over_to_the_one_it_names(home, ledger, approved)
        order = _order(state, decision, approved, home=home)
        home.take_name(order.machine)
    else:
        _hand_in(home, ledger)
        return None
    run = _executor(order, home=home, channel=_channel(home), journal=journal)
    if left is not None and left.how.back:
        ending = run.go_back(problem=left.how.cause, start_services=not boot)
    else:
        journal.write("attempt", release=order.release, retries=decision.retries)
        ending = run.carry_out(may_run_once=False, start_services=not boot)
    _say(home, f"release {order.release}: {ending.outcome.value} {ending.cause}".rstrip())
    if not boot or ending.outcome is not Outcome.OK:
        _check_in(home, order, ending, ledger=ledger)
    run.clear_away()
    run.sweep()
    return ending.outcome


@dataclasses.dataclass(frozen=True)
class _Left:
    """What a run that was cut off after its switch has left: how it stands, and the order that it carried out."""

    how: CutOff
    order: Order


def _cut_off(home: Home, runs: int, journal: Journal) -> _Left | None:
    """The run that was cut off, if this machine has its order: services may run another release than `current`."""
    how = carrying_out.cut_off(runs, entries=journal.entries)
    order = _order_of(home, how.release) if how else None
    if how is None or order is None:
        return None
    place = in_place.Checkout if order.layout is Layout.IN_PLACE else layout.Releases
    confirmed = not how.back and place(order, home=home).info(runs).get("state") == layout.CONFIRMED
    return None if confirmed else _Left(how, order)


def _raise_barrier(home: Home, left: _Left, barrier: int) -> _Left:
    """Law 5: the way back is judged by what the ledger says now, also in a unit that does not read it."""
    if barrier <= left.order.barrier:
        return left
    order = left.order._replace(barrier=barrier)
    durable.write_json(home.order_of(order.release), order.to_json())
    return dataclasses.replace(left, order=order)


def _order_of(home: Home, release: int | None) -> Order | None:
    """The order that a release came with, if this machine still has it."""
    for place in (home.order_of(release or 0), home.saved_order):
        with contextlib.suppress(BadOrder):
            order = order_from_json(durable.read_json(place))
            if order.release == release:
                return order
    return None


def reverse_interrupted(home: Home) -> None:
    """A checkout in place that was interrupted goes back to what runs, before services start from it."""
    try:
        order = order_from_json(durable.read_json(home.saved_order))
    except BadOrder:
        return
    if order.layout is Layout.IN_PLACE and in_place.Checkout(order, home=home).reverse():
        _say(home, f"the checkout of release {order.release} was interrupted: taken back")


def _channel(home: Home) -> wire.Channel:
    """Tells the story to the journal of systemd. Asked to stop, it ends a step in good order, as on a push."""
    channel = Telling(lambda text: _say(home, text))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: channel.stop(signal.Signals(received).name))
    return channel


def _executor(order: Order, *, home: Home, channel: wire.Channel, journal: Journal) -> Executor:
    """Imported when there is something to run: most looks find no news, and cost tens of milliseconds."""
    from wakeline.agent.executor import Executor  # noqa: PLC0415 - see above

    return Executor(order, home=home, channel=channel, journal=journal, without_sudo=True)


def _confirm_switch(home: Home, journal: Journal) -> None:
    """After the services of a boot: confirm what was switched, or go back. Nothing to do is no news."""
    runs = in_place.runs_now(home, Path(str(home.config.get("path", ""))))
    left = _cut_off(home, runs or 0, journal)
    is_back = left is not None and left.how.back and left.how.release != runs
    order = left.order if left is not None and is_back else _order_of(home, runs)
    if order is None:
        return
    run = _executor(order, home=home, channel=_channel(home), journal=journal)
    if left is not None and is_back:
        ending = run.went_back(problem=left.how.cause)  # the boot has started the services from where it led
    elif run.releases.current() != order.release or run.releases.info(order.release).get("state") == layout.CONFIRMED:
        return
    else:
        ending = run.confirm()
    _say(home, f"release {order.release}: {ending.outcome.value} {ending.cause}".rstrip())
    config = home.config
    ledger = open_ledger(
        str(config["ledger"]), app=home.app, environment=home.environment, workdir=home.folder / "ledger"
    )
    _check_in(home, order, ending, ledger=ledger)
    run.clear_away()
    run.sweep()


def _believed(home: Home, ledger: Ledger) -> Log:
    """The log, if it still contains what this machine last saw. Raises NotTheLog for one that does not."""
    return memory.read(ledger, place=home.seen)


def _understood(home: Home, ledger: Ledger, log: Log) -> State:
    """What the log means. Raises HandOver where another agent may know, LedgerError where none can be had.

    The agent that handed over to this one could read the log, or it would have looked for the same as we do now.
    """
    try:
        start, records = remembered.unfolded(log, State())
        return fold(records, start=start)
    except BadLog as error:
        if log.start is not None:
            log = ledger.read()  # all of it: the newest approval for this machine may be an old one
        approved = newest_approval(log.records, machine=str(home.config["machine"]))
        if approved is not None:
            _check_signature(home, approved, log, ledger=ledger)
            _hand_over_to_the_one_it_names(home, ledger, approved)
        before = arrival.came_by()
        if before and arrival.mine(home.root) not in before:
            _become(home, before[-1])
        raise LedgerError(f"the ledger: {error}", hint="wakeline deploy brings the agent that can read it") from error


def _hand_over_to_the_one_it_names(home: Home, ledger: Ledger, approved: Record) -> None:
    """Raises HandOver when the agent that an approval names is another one and runs here. Its signature was checked."""
    digest = successor(approved, mine=arrival.mine(home.root), came_by=arrival.came_by())
    if not digest:
        return
    try:
        if not arrival.is_here(home.root, digest):
            arrival.place(ledger.agent(digest), digest=digest, root=home.root)
        arrival.prove(home.root, digest)
        _become(home, digest)
    except (WakelineError, OSError) as error:
        _say(home, f"the agent of its approval cannot be had, this one carries on: {getattr(error, 'message', error)}")


def _become(home: Home, digest: str) -> None:
    arrival.become(home.root, digest)
    raise arrival.HandOver(digest)


def _order(state: State, decision: CatchUp, record: Record | None, *, home: Home) -> Order:
    """The order that the approval carries for this machine. Raises RolloutFailed for one that is not meant for it.

    The order says itself which machine it is for, by the name that this one has or had, or has from now on: what the
    ledger says of names is not signed.
    """
    orders: Mapping[str, Any] = record.body.get("orders", {}) if record else {}
    try:
        order = order_from_json(orders.get(decision.name) or {})
    except BadOrder as error:
        raise RolloutFailed(
            f"release {decision.release} has no order for {decision.name} that can be read: {error}"
        ) from error
    config = home.config
    mine = (config.get("machine"), config.get("renamed_from") or None)
    meant = order.machine in mine or (order.renamed_from and order.renamed_from == config.get("machine"))
    if not meant or (order.release, order.stage) != (decision.release, decision.stage):
        raise RolloutFailed(f"the order of release {decision.release} is meant for {order.machine}, not for {mine[0]}")
    return order._replace(barrier=max(order.barrier, state.barrier))


def _retire(home: Home, record: Record | None, log: Log, *, ledger: Ledger, journal: Journal) -> None:
    """Stop what ran here where the fleet file said `on_retire = "stop"`; its word counts only when it is signed."""
    orders: Mapping[str, Any] = record.body.get("orders", {}) if record else {}
    if record is None or all(order.get("on_retire") != STOP for order in orders.values()):
        return
    _check_signature(home, record, log, ledger=ledger)
    try:
        order = order_from_json(durable.read_json(home.saved_order))
    except BadOrder:
        return
    stopped = _executor(order, home=home, channel=wire.Channel(None, None), journal=journal).retire()
    if stopped:
        _say(home, f"stopped, as `on_retire` says: {', '.join(stopped)}")


def _check_signature(home: Home, approved: Record | None, log: Log, *, ledger: Ledger) -> None:
    """Whether this machine may act on an approval. Raises WakelineError with the reason why not."""
    config = home.config
    if approved is None or config.get("unsigned") is True:
        return
    what = f"the approval of release {approved.body.get('release')}"
    signers = config.get("signers")
    if not isinstance(signers, str) or not signers:
        raise RolloutFailed(f"{what}: this machine knows nobody who may sign", hint="wakeline setup")
    words = approval.payload(approved.body, app=home.app, environment=home.environment)
    try:
        signature = str(approved.body.get("signature") or "")
        signing.check(words, signature, signers=signers, namespace=approval.NAMESPACE)
    except signing.SignatureRefused as error:
        raise RolloutFailed(f"{what}: {error.message}") from error
    known = remembered.before(approved, log)
    if log.start is not None and approved.body.get("after") not in known:
        known = remembered.before(approved, ledger.read())  # signed before the record that this look goes on from
    problem = approval.problem(approved.body, now_s=time.time(), known=known)
    if problem:
        raise RolloutFailed(f"{what}: {problem}")


def _check_in(home: Home, order: Order, ending: Ending, *, ledger: Ledger) -> None:
    """Leave the machine's word on the ledger; where it may not write, the word waits here for the next contact."""
    body = {
        "machine": order.machine,
        "machine_id": machine_id(),
        "boot_id": boot_id(),
        "release": order.release,
        "commit": order.commit,
        "outcome": ending.outcome.value,
        "cause": ending.cause[:2000],
        "was": ending.was,
    }
    durable.write_json(home.reports / "catch-up.json", body)
    _hand_in(home, ledger)


def _hand_in(home: Home, ledger: Ledger) -> None:
    """Hand in what waits. No right to write is no error: the next contact collects it."""
    waiting = home.reports / "catch-up.json"
    body = durable.read_json(waiting)
    if not body:
        return
    try:
        ledger.check_in(str(body["machine"]), body)
    except LedgerError as error:
        _say(home, f"its check-in waits here: {error.message}")
    else:
        waiting.unlink(missing_ok=True)


def _say(home: Home, text: str) -> None:
    """For the journal of systemd."""
    sys.stderr.write(f"{home.app}/{home.environment}: {text}\n")
