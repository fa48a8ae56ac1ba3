"""The agent's command line: `run` carries out the order on stdin, `catch-up` the one on the ledger, `status` looks.

The runner starts `run` over SSH; systemd starts `catch-up` at boot, on resume and on a timer (see `wakeline setup`).
Exit codes: 0 the story was told to its end (its outcome is in the last event), 2 not an order, 75 try again later.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wakeline.agent import arrival, durable, in_place, keeper, lock, wire, words
from wakeline.agent.doing import doing
from wakeline.agent.home import DEFAULT_HOME, Home, boot_id, home_of, homes, machine_id
from wakeline.agent.journal import Journal, read
from wakeline.core.carrying_out import stale
from wakeline.core.order import BadOrder, Order, order_from_json
from wakeline.errors import Busy, WakelineError

if TYPE_CHECKING:
    from wakeline.agent.executor import Executor
    from wakeline.agent.overtaken import EarlyLook

_FIRST_WORD_S = 60.0
_LOCK_S = 150.0
_HAND_OVER_S = 5.0
_REPORTS_KEPT = 50
_TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h


class _Asked:
    """The command line, with what holds for each word that is not there."""

    home: Path = DEFAULT_HOME
    verb: str = ""
    app: str = ""
    environment: str = ""
    digest: str = ""
    claims: Sequence[str] = ()
    brief: bool = False
    words: bool = False
    boot: bool = False
    tell: bool = False
    confirm: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse and do."""
    asked = _parsed(sys.argv[1:] if arguments is None else arguments)
    os.umask(0o022)
    try:
        if asked.verb == "arrive":
            return _arrive(asked.home, asked.digest)
        with arrival.in_use(asked.home):
            return _do(asked)
    except OSError as error:  # a full or failing disk: told in words, and tried again
        problem = f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
        sys.stdout.write(json.dumps({"problem": problem}) + "\n")
        sys.stderr.write(f"{problem}\n")
        return _TRY_AGAIN


def _parsed(words: Sequence[str]) -> _Asked:
    """What is asked for. The word of every rollout, `--home H run`, does without argparse and its 7 ms."""
    if len(words) == 3 and (words[0], words[2]) == ("--home", "run"):
        asked = _Asked()
        asked.home, asked.verb = Path(words[1]), "run"
        return asked
    import argparse  # noqa: PLC0415 - see above

    parser = argparse.ArgumentParser(prog="wakeline-agent")
    parser.add_argument("--home", type=Path, default=DEFAULT_HOME)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("run")
    looks = verbs.add_parser("status")
    looks.add_argument("--brief", action="store_true", help="without a look at every file, and with what waits here")
    looks.add_argument("--words", action="store_true", help="for a person on this machine")
    verbs.add_parser("configure")
    arrives = verbs.add_parser("arrive", help="the zip that runs puts itself in its place")
    arrives.add_argument("digest")
    sessions = verbs.add_parser("sessions", help="which of these claims still have a session in the database")
    sessions.add_argument("--app", required=True)
    sessions.add_argument("--environment", required=True)
    sessions.add_argument("claims", nargs="+")
    adopted = verbs.add_parser("adopt", help="forget the ledger's end that was last seen here")
    adopted.add_argument("--app", required=True)
    adopted.add_argument("--environment", required=True)
    caught = verbs.add_parser("catch-up")
    caught.add_argument("--app", default="")
    caught.add_argument("--environment", default="")
    caught.add_argument("--boot", action="store_true", help="lay out and switch; systemd starts the services")
    caught.add_argument("--tell", action="store_true", help="say it on stdout, for whoever asked")
    caught.add_argument("--confirm", action="store_true", help="after the services: healthy, or back")
    return parser.parse_args(words, _Asked())


def _do(asked: _Asked) -> int:
    if asked.verb == "run":
        return _run(asked.home)
    if asked.verb == "sessions":
        return _sessions(home_of(asked.home, asked.app, asked.environment), asked.claims)
    if asked.verb == "configure":
        return _configure(asked.home)
    if asked.verb == "adopt":
        from wakeline.edges.ledgers import memory  # noqa: PLC0415 - a person asks for this, and seldom

        memory.forget(home_of(asked.home, asked.app, asked.environment).seen)
        sys.stdout.write(json.dumps({"event": "ended", "exit": 0}) + "\n")
        return 0
    if asked.verb == "status" and asked.words:
        lines = [line for home in homes(asked.home) for line in words.in_words(_status(home, brief=False))]
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        return 0
    if asked.verb == "status":
        sys.stdout.write(json.dumps([_status(home, brief=asked.brief) for home in homes(asked.home)]) + "\n")
        return 0
    if asked.tell:
        os.dup2(sys.stdout.fileno(), sys.stderr.fileno())
    from wakeline.agent import catch_up  # noqa: PLC0415 - `run` need not pay for the ledger's import

    code = catch_up.all_of(
        asked.home,
        app=asked.app,
        environment=asked.environment,
        boot=asked.boot,
        confirm=asked.confirm,
        wait_s=_LOCK_S if asked.tell else catch_up.GLANCE_S,
        tell=asked.tell,
    )
    if asked.tell:
        sys.stderr.write(json.dumps({"event": "ended", "exit": code}) + "\n")
    return code


def _arrive(root: Path, digest: str) -> int:
    """An agent that was sent and starts for the first time: it goes to its place, for all later starts."""
    try:
        arrival.place(Path(sys.argv[0]).read_bytes(), digest=digest, root=root)
    except (WakelineError, OSError) as error:
        sys.stderr.write(f"{getattr(error, 'message', '') or error}\n")
        return 1
    return 0


def _sessions(home: Home, claims: Sequence[str]) -> int:
    """What the database says of the sessions of some claims, through the last order's own command for that."""
    from wakeline.agent import executor  # noqa: PLC0415 - a look need not pay for it

    try:
        order = order_from_json(durable.read_json(home.saved_order))
        with lock.hold(home.folder / "lock", wait_s=_HAND_OVER_S):
            journal = Journal(home.folder / "journal.jsonl", boot_id=boot_id())
            channel = wire.Channel(None, None)
            run = executor.Executor(order, home=home, channel=channel, journal=journal, without_sudo=True)
            found = run.sessions(claims)
    except (BadOrder, WakelineError) as error:
        found = dict.fromkeys(claims, f"cannot tell: {error}")
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def _configure(root: Path) -> int:
    """What `wakeline setup` says of this machine, from stdin; answers with its ids. Safe twice."""
    config = json.loads(sys.stdin.read())
    home = home_of(root, config["app"], config["environment"])
    home.make()
    known = home.config.get("machine_id")
    before = known if isinstance(known, str) else ""  # what is damaged is written anew
    mine = str(config.get("machine_id") or machine_id())
    if before and before != mine and not config.get("replace"):
        sys.stdout.write(
            json.dumps({"problem": f"it was set up as {before[:12]}, and is {mine[:12]}: a clone? (setup --replace)"})
            + "\n"
        )
        return 2
    durable.write_json(home.folder / "config.json", {**config, "machine_id": mine})
    arrival.become(root, arrival.mine(root))
    sys.stdout.write(json.dumps({"machine_id": mine, "boot_id": boot_id()}) + "\n")
    return 0


def _run(root: Path) -> int:
    """One pushed order. What is said after the contact was lost waits here as a report."""
    channel = wire.Channel(sys.stdin.buffer, sys.stdout.buffer)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: channel.stop(signal.Signals(received).name))
    from wakeline.agent import executor  # noqa: F401, PLC0415 - imported while the order is on its way

    word, early = channel.next_word(timeout_s=_FIRST_WORD_S) or {}, None
    while word.get("do") == "prepare":
        from wakeline.agent import ahead  # noqa: PLC0415 - not where the fetch would touch what runs

        early = ahead.prepare(word, root=root, channel=channel)
        word = channel.next_word(timeout_s=_FIRST_WORD_S) or {}
    try:
        order = order_from_json(word.get("order") or {}) if word.get("do") == "run" else None
        home = home_of(root, order.app, order.environment) if order else None
    except (BadOrder, WakelineError) as error:
        return _refuse(channel, str(error))
    if order is None or home is None:
        return _refuse(channel, "no order came")
    try:
        home.make()
        arrival.become(root, arrival.mine(root))
        on_wait = functools.partial(_say_waiting, channel)
        with lock.hold(home.folder / "lock", wait_s=_LOCK_S, release=order.release, on_wait=on_wait):
            order = _with_barrier(order, word.get("barrier"))
            facts = {"fence": word.get("fence"), "expected": word.get("machine_id"), "early": early}
            run = _carry_out(order, home=home, channel=channel, stamp=str(word.get("stamp") or ""), **facts)
    except (Busy, OSError) as error:
        return _refuse(channel, f"{getattr(error, 'message', '') or error}", release=order.release)
    if run is not None:
        run.sweep()
    return 0 if run is not None else 2


def _carry_out(
    order: Order,
    *,
    home: Home,
    channel: wire.Channel,
    stamp: str,
    fence: Any,
    expected: Any,
    early: EarlyLook | None,
) -> Executor | None:
    """Say hello, do it, say how it ended. None for an order that was not begun, which is said as well."""
    from wakeline.agent import executor  # noqa: PLC0415 - a look and a catch-up with no news need not pay for it

    journal = Journal(home.folder / "journal.jsonl", boot_id=boot_id())
    reports = home.waiting_reports()
    known = {
        "current": _current(home, order.path),
        "claims": keeper.claims(home.folder, journal.entries),
    }
    channel.send("hello", **_facts(home), **known, reports=[body for _, body in reports])
    stale = home.is_another(expected) or _stale(home, fence)
    if stale:
        _refuse(channel, stale, release=order.release)
        return None
    home.take_name(order.machine)
    given: dict[str, Any] = {"fence": int(fence), "stamp": stamp, "early": early}
    run = executor.Executor(order, home=home, channel=channel, journal=journal, without_sudo=False, **given)
    ending = run.carry_out(may_run_once=True)
    facts = {"outcome": ending.outcome.value, "release": order.release, "commit": order.commit, "cause": ending.cause}
    report(home, order, facts)
    for path, _ in reports[:-1] if len(reports) > _REPORTS_KEPT else reports:
        path.unlink(missing_ok=True)
    channel.send("finished", **facts, was=ending.was, seconds=round(ending.seconds, 3))
    channel.drain(timeout_s=_HAND_OVER_S)
    run.clear_away()
    return run


def _say_waiting(channel: wire.Channel, text: str) -> None:
    channel.send("waiting", text=text)


def report(home: Home, order: Order, facts: Mapping[str, Any]) -> None:
    """Leave this machine's word where the next contact finds it."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    body = {"machine": order.machine, "at": at, **_facts(home), **facts}
    durable.write_json(home.reports / f"{time.time_ns():020d}.json", body)


def _with_barrier(order: Order, barrier: Any) -> Order:
    """The order with the barrier as it stands now: an earlier machine of this rollout may have raised it."""
    return order._replace(barrier=max(order.barrier, barrier)) if isinstance(barrier, int) else order


def _stale(home: Home, fence: Any) -> str:
    """Law 8: a rollout that has been overtaken may not start anything here. Returns why, or nothing."""
    path = home.folder / "fence.json"
    seen = durable.read_json(path).get("fence", 0)
    problem = stale(fence, seen=seen)
    if not problem and fence != seen:
        durable.write_json(path, {"fence": fence})
    return problem


def _refuse(channel: wire.Channel, cause: str, *, release: int = 0) -> int:
    channel.send("finished", outcome="failed", release=release, commit="", cause=cause, seconds=0.0)
    channel.drain(timeout_s=_HAND_OVER_S)
    return 2


def _facts(home: Home) -> dict[str, Any]:
    return {"machine_id": home.identity, "boot_id": boot_id(), "app": home.app, "environment": home.environment}


def _current(home: Home, path: str) -> int | None:
    try:
        return in_place.runs_now(home, Path(path))
    except (WakelineError, OSError):
        return None  # what is wrong is said by the run itself


def _what_runs(home: Home, path: str, *, closely: bool = True) -> dict[str, Any]:
    try:
        return in_place.what_runs(home, Path(path), closely=closely) if path else {}
    except (WakelineError, OSError) as error:
        return {"problem": getattr(error, "message", "") or str(error)}


def _status(home: Home, *, brief: bool) -> dict[str, Any]:
    """What one app on this machine says of itself. Looks only."""
    order = durable.read_json(home.saved_order)
    path = str(home.config.get("path") or order.get("path") or "")
    runs = _what_runs(home, path, closely=not brief)
    entries = read(home.folder / "journal.jsonl")
    last = entries[-1] if entries else {}
    facts = {
        "machine": home.config.get("machine") or order.get("machine", ""),
        "path": path,
        "current": runs.get("current"),
    }
    now = doing(home, entries)
    waiting = {"reports": [body for _, body in home.waiting_reports()]} if brief else {}
    return {
        **_facts(home),
        **facts,
        **waiting,
        "commit": runs.get("commit", ""),
        "state": runs.get("state", ""),
        "edited": runs.get("edited", False),
        "problem": runs.get("problem", ""),
        "busy": bool(now),
        "doing": now,
        "claims": keeper.claims(home.folder, entries),
        "last": last,
    }


if __name__ == "__main__":
    sys.exit(main())
