"""Restarts, reloads and stops the services of an order: systemd units, or commands of the user's.

A unit is looked at before it is touched: one that is not there or is masked has a plain message. A deploy, a rollback
and a retry in a row meet StartLimitBurst for real: systemd says so in a property, and then `reset-failed` goes first.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from wakeline.agent import privileges, steps
from wakeline.core.order import Order, Service
from wakeline.edges import process
from wakeline.errors import RolloutFailed

_LIMIT_S = 120.0
_LOOK_S = 0.25
_JUST_NOW_S = 0.25
_TOO_OFTEN = "start-limit-hit"


def mine(order: Order) -> list[Service]:
    """The services of this machine's roles."""
    roles = set(order.roles)
    return [each for each in order.services if not each.roles or roles & set(each.roles)]


class Seen(NamedTuple):
    """What systemd said of an order's units, and when, in seconds of the monotonic clock."""

    units: Mapping[str, Mapping[str, str]] = MappingProxyType({})
    at_s: float = 0.0

    def of(self, unit: str) -> Mapping[str, str] | None:
        """What is known of a unit, if it was seen just now: nothing else has been done since."""
        return self.units.get(unit) if time.monotonic() - self.at_s < _JUST_NOW_S else None


def check(services: list[Service]) -> Seen:
    """Before anything is switched: every unit is there. Raises RolloutFailed with all that are not."""
    began_s = time.monotonic()
    units = {service.unit: show(service.unit) for service in services if service.unit}
    problems = [
        f"{unit} is {state or 'unknown to systemd'}"
        for unit, facts in units.items()
        if (state := facts.get("LoadState", "")) != "loaded"
    ]
    if problems:
        raise RolloutFailed(f"service units: {'; '.join(problems)}", hint="systemctl cat UNIT; systemctl unmask UNIT")
    return Seen(units, began_s)


def restart(bench: steps.Bench, service: Service, *, way: str, folder: Path, seen: Seen | None = None) -> None:
    """Let a service run what `folder` has. It is looked at before, where that was not `seen` just now.

    Raises RolloutFailed.
    """
    if not service.unit:
        _command(bench, service, "restart", service.restart)
        return
    before = (seen.of(service.unit) if seen else None) or show(service.unit)
    if service.reload and before.get("ActiveState") == "active":
        _systemctl("reload", service.unit, way=way)
        if runs_from(service.unit, folder):
            return
    # A unit that failed keeps its old Result when a start is refused, so its failure is forgotten first.
    if before.get("Result") != "success":
        _systemctl("reset-failed", service.unit, way=way, may_fail=True)
    try:
        _systemctl("restart", service.unit, way=way)
    except RolloutFailed:
        if show(service.unit).get("Result") != _TOO_OFTEN:
            raise
        _systemctl("reset-failed", service.unit, way=way, may_fail=True)
        _systemctl("restart", service.unit, way=way)


def stop(bench: steps.Bench, service: Service, *, way: str) -> None:
    """Stop a service: nothing good is left to run."""
    if service.unit:
        _systemctl("stop", service.unit, way=way)
    elif service.stop:
        _command(bench, service, "stop", service.stop)


def stays_up(unit: str, *, within_s: float, sleep: Callable[[float], None] = time.sleep) -> str:
    """Empty when a unit is active and stays the same process for two looks; else what it was last seen as."""
    ends = time.monotonic() + within_s
    before: tuple[str, ...] = ()
    seen = ""
    while time.monotonic() < ends:
        facts = show(unit)
        state = facts.get("ActiveState", "")
        now = (state, facts.get("MainPID", ""), facts.get("NRestarts", ""))
        ended_well = facts.get("Type") == "oneshot" and state == "inactive" and facts.get("Result") == "success"
        if now == before and (state == "active" or ended_well):
            return ""
        seen = f"{unit} is {state} ({facts.get('SubState', '')}, {facts.get('Result', '')}), restarted {now[2]} times"
        if state == "failed":
            return seen
        before = now
        sleep(_LOOK_S)
    return seen or f"{unit} was not looked at"


def runs_from(unit: str, folder: Path) -> bool:
    """True when the unit's main process works in the release's folder; a HUP keeps the old one."""
    pid = show(unit).get("MainPID", "0")
    try:
        here = Path(os.readlink(f"/proc/{int(pid)}/cwd"))  # noqa: PTH115 - a link of /proc, not a path of ours
    except (OSError, ValueError):
        return False
    real = folder.resolve()
    return here == real or real in here.parents


def show(unit: str) -> dict[str, str]:
    """What systemd knows of a unit, without rights of any kind."""
    names = "LoadState,ActiveState,SubState,Result,MainPID,NRestarts,Type"
    argv = [privileges.SYSTEMCTL, "--no-pager", "show", f"--property={names}", "--", unit]
    try:
        finished = process.run(argv, timeout_s=_LIMIT_S)
    except (process.CommandMissing, process.CommandTimedOut) as error:
        raise RolloutFailed(f"systemd cannot be asked about {unit}: {error}") from error
    lines = finished.out.decode("utf-8", "replace").splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def _systemctl(verb: str, unit: str, *, way: str, may_fail: bool = False) -> None:
    code, words, argv = 1, "", ["helper", verb, unit]
    try:
        if way.startswith(privileges.HELPER_WAY):
            code, words = privileges.ask_helper(verb, unit, way=way, timeout_s=_LIMIT_S)
        else:
            argv = privileges.argv(verb, unit, way=way)
            finished = process.run(argv, timeout_s=_LIMIT_S)
            code, words = finished.code, finished.err.decode("utf-8", "replace").strip()[-800:]
    except ValueError as error:
        raise RolloutFailed(f"{unit!r} is not the name of a unit") from error
    except OSError as error:
        raise RolloutFailed(f"{verb} {unit}: {error}", hint="wakeline setup") from error
    if code != 0 and not may_fail:
        raise RolloutFailed(f"{verb} {unit} failed: {words or f'exit {code}'}", hint=_hint(words, argv))


def _hint(words: str, argv: list[str]) -> str:
    if "password is required" in words or "not allowed" in words:
        return f"the sudoers line for `{' '.join(argv[2:])}` is missing: wakeline setup"
    return f"journalctl --no-pager -u {argv[-1]}"


def _command(bench: steps.Bench, service: Service, verb: str, command: str) -> None:
    if not command:
        return
    name = f"{verb} {service.name}"  # what it starts in the background is the service, and goes on
    ended = steps.run_command(bench, name, command, timeout_s=_LIMIT_S, may_stop=False, leaves_behind=True)
    if ended.cause:
        raise RolloutFailed(ended.cause)
