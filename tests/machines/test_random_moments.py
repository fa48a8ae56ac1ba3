"""Networks cut and restored, and runners killed, stopped and cancelled, at random moments of a rollout.

After each the next deploy carries on without a manual unlock, both machines serve it, and no once-step was started
twice. WAKELINE_MOMENTS says how often each; the seed is printed, and WAKELINE_SEED brings it back.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from machines.storm import Storm

MOMENTS = int(os.environ.get("WAKELINE_MOMENTS", "2"))
SEED = int(os.environ.get("WAKELINE_SEED", "0")) or secrets.randbelow(1 << 31)
PUSH_S, DARK_S = 4.0, 3.0
LEASE_S = 12.0


@pytest.fixture
def storm(fleet, request) -> Storm:
    print(f"WAKELINE_SEED={SEED} WAKELINE_MOMENTS={MOMENTS}")
    fleet.scheduler.run("systemctl enable postgresql")
    return Storm(fleet, seed=f"{SEED} {request.node.name}")


@contextlib.contextmanager
def cable(storm: Storm) -> Iterator[None]:
    """Both directions, on a machine's side: the cable is out."""
    machine = storm.random.choice(list(storm.fleet.machines.values()))
    machine.cut_network()
    yield
    machine.restore_network()


@contextlib.contextmanager
def nothing_arrives(storm: Storm) -> Iterator[None]:
    """One direction: what the runner says does not reach the machine."""
    machine = storm.random.choice(list(storm.fleet.machines.values()))
    subprocess.run(["ip", "route", "add", "blackhole", f"{machine.address}/32"], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "route", "del", "blackhole", f"{machine.address}/32"], check=True)


@contextlib.contextmanager
def nothing_comes_back(storm: Storm) -> Iterator[None]:
    """The other direction, and the ledger with it: what the machine says reaches neither runner nor remote."""
    machine = storm.random.choice(list(storm.fleet.machines.values()))
    host = f"{machine.address.rpartition('.')[0]}.1"
    machine.run(f"ip route add blackhole {host}/32")
    yield
    machine.run(f"ip route del blackhole {host}/32")


@contextlib.contextmanager
def ledger_is_silent(storm: Storm) -> Iterator[None]:
    """The remote takes connections and answers none, for the runner and for machines."""
    daemon = storm.fleet.git_daemon
    os.killpg(daemon, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(daemon, signal.SIGCONT)


@pytest.mark.parametrize("fault", [cable, nothing_arrives, nothing_comes_back, ledger_is_silent])
def test_a_network_that_is_cut_at_any_moment_is_survived(storm, fault):
    for _ in range(MOMENTS):
        _, new = storm.next_release()
        running = storm.fleet.begin("deploy")
        storm.moment(PUSH_S)
        with fault(storm):
            storm.moment(DARK_S)
        running.communicate(timeout=400)
        assert running.returncode in (0, 1, 4), running.returncode
        storm.deploy_all(new)
        storm.started_once()


def kill(running: subprocess.Popen[str]) -> None:
    running.kill()


def cancel(running: subprocess.Popen[str]) -> None:
    """As GitHub does it: SIGINT, 7.5 s, SIGTERM, 2.5 s, kill."""
    for number, grace_s in ((signal.SIGINT, 7.5), (signal.SIGTERM, 2.5), (signal.SIGKILL, 60.0)):
        running.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(timeout=grace_s)
            return


@pytest.mark.parametrize("fault", [kill, cancel])
def test_a_runner_that_is_ended_at_any_moment_leaves_nothing_to_unlock(storm, fault):
    for _ in range(MOMENTS):
        _, new = storm.next_release()
        running = storm.fleet.begin("deploy")
        storm.moment(PUSH_S)
        fault(running)
        running.communicate(timeout=120)
        storm.deploy_all(new)
        storm.started_once()


@contextlib.contextmanager
def elsewhere(storm: Storm) -> Iterator[None]:
    """The next runner is on another machine: it does not share the copy of the remote, which a stopped one may hold."""
    here = storm.fleet.environment["XDG_CACHE_HOME"]
    storm.fleet.environment["XDG_CACHE_HOME"] = f"{here}-elsewhere"
    yield
    storm.fleet.environment["XDG_CACHE_HOME"] = here


def test_a_runner_that_was_stopped_past_its_lease_writes_nothing_any_more(storm):
    for _ in range(MOMENTS):
        _, new = storm.next_release()
        begun = len(storm.fleet.log())
        running = storm.fleet.begin("deploy")
        storm.moment(PUSH_S)
        running.send_signal(signal.SIGSTOP)
        before = len(storm.fleet.log())
        time.sleep(LEASE_S + 1.0)  # the fault itself: a lid that is closed for longer than the lease
        with elsewhere(storm):
            storm.deploy_all(new)
        taken = [r["fence"] for r in storm.fleet.log()[before:] if r["kind"] == "lease-taken"]
        there = len(storm.fleet.log())
        running.send_signal(signal.SIGCONT)
        running.communicate(timeout=120)
        late = storm.fleet.log()[there:]
        assert [r for r in late if r.get("fence", max(taken, default=0)) < max(taken, default=0)] == [], late
        leases = [r["kind"] for r in storm.fleet.log()[begun:] if r["kind"] in ("lease-taken", "lease-freed")]
        if ("lease-taken", "lease-taken") in itertools.pairwise(leases):
            assert running.returncode != 0, "it was overtaken and says that all went well"
        storm.started_once()
