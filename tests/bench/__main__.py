"""`./dev bench`: two booted machines, rounds interleaved; the last line is one JSON object. Needs root."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from machines.conftest import Fleet
from machines.machine import Machine
from machines.testbed import Testbed

# What a rollout does on one machine, by hand: fetch, lay out, link, verify, switch, restart, health, prune.
RAW = """\
set -e
cd /opt/raw
git -C repository.git fetch -q --depth=1 {url} {commit}
git -C repository.git worktree add -q --force --detach /opt/raw/releases/{commit} {commit}
cd releases/{commit}
ln -sfn /opt/shop/shared/.env .env
set -a; . ./.env; set +a
python3 manage.py verify
{pages}
ln -sfn releases/{commit} /opt/raw/current.new && mv -T /opt/raw/current.new /opt/raw/current
sudo -n /usr/bin/systemctl --no-pager reset-failed {unit}
sudo -n /usr/bin/systemctl --no-pager restart {unit}
i=0; until python3 -c 'import urllib.request; urllib.request.urlopen("http://127.0.0.1:8000/healthz")' 2>/dev/null
do i=$((i+1)); [ $i -lt 200 ]; sleep 0.05; done
cd /opt/raw/releases
for old in $(ls -t | tail -n +6); do git -C ../repository.git worktree remove --force "$PWD/$old"; done
"""
LOOK = 'test "$(git ls-remote {url} refs/wakeline/shop/uat/log | cut -f1)" != "" && systemctl is-active -q {unit}'


def main() -> int:
    """Measure, check, print."""
    parser = argparse.ArgumentParser(prog="./dev bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    asked = parser.parse_args()
    if os.geteuid() != 0:
        sys.stderr.write("./dev bench boots machines, which needs root\n")
        return 2
    testbed = Testbed()
    try:
        with tempfile.TemporaryDirectory(prefix="wakeline-bench-") as folder:
            found = _measure(testbed, Path(folder), rounds=asked.rounds)
    finally:
        testbed.close()
    if not asked.json:
        _print(found)
    print(json.dumps(found))
    return 0


def _measure(testbed: Testbed, folder: Path, *, rounds: int) -> dict[str, dict[str, list[float]]]:
    fleet = Fleet(testbed, folder)
    fleet.start()
    fleet.commit("first")
    _deploy(fleet)
    for machine in fleet.machines.values():
        machine.run("install -d -o ubuntu /opt/raw /opt/raw/releases")
        machine.run("su ubuntu -c 'git init -q --bare /opt/raw/repository.git'")
    times: dict[str, dict[str, list[float]]] = {"code_only": {}, "no_change": {}, "catch_up_no_change": {}}
    for number in range(rounds):
        commit = fleet.commit(f"round {number}")
        _take(times["code_only"], "raw", lambda commit=commit: _raw(fleet, testbed, commit))
        _take(times["code_only"], "wakeline", lambda: _deploy(fleet))
        assert fleet.serves == (f"round {number}",) * 2
        _take(times["no_change"], "wakeline", lambda: _deploy(fleet))
        fleet.uat.run(_CATCH_UP)  # the rollout was news: what is measured is the look after that one
        look = _as_user(LOOK, fleet, "gunicorn-uat.service")
        _take(times["catch_up_no_change"], "raw", lambda look=look: fleet.uat.run(look))
        _take(times["catch_up_no_change"], "wakeline", lambda: fleet.uat.run(_CATCH_UP))
        _take(times["catch_up_no_change"], "nsenter", lambda: fleet.uat.run("true"))
    for machine in fleet.machines.values():
        machine.remove()
    shown = {
        job: {tool: [min(each), statistics.median(each), max(each)] for tool, each in tools.items()}
        for job, tools in times.items()
    }
    return {
        job: {tool: [round(second, 3) for second in each] for tool, each in tools.items()}
        for job, tools in shown.items()
    }


_CATCH_UP = (
    "su ubuntu -c 'python3 /var/lib/wakeline/agent.pyz --home /var/lib/wakeline catch-up --app shop --environment uat'"
)


def _take(times: dict[str, list[float]], tool: str, work: Callable[[], object]) -> None:
    began = time.monotonic()
    work()
    times.setdefault(tool, []).append(time.monotonic() - began)


def _deploy(fleet: Fleet) -> None:
    said = fleet.wakeline("deploy")
    assert said.code == 0, said.err


def _as_user(command: str, fleet: Fleet, unit: str) -> str:
    return f"su ubuntu -c '{command.format(url=fleet.url, unit=unit)}'"


def _raw(fleet: Fleet, testbed: Testbed, commit: str) -> None:
    """One cold ssh a machine, in the same order."""
    for machine, unit, pages in (
        (fleet.scheduler, "scheduler.service", "true"),
        (fleet.uat, "gunicorn-uat.service", "sh pages.sh"),
    ):
        _ssh(machine, fleet, testbed, RAW.format(url=fleet.url, commit=commit, unit=unit, pages=pages))


def _ssh(machine: Machine, fleet: Fleet, testbed: Testbed, script: str) -> None:
    known = fleet.environment["WAKELINE_KNOWN_HOSTS"]
    options = ["-o", f"HostKeyAlias={machine.name}", "-o", f"UserKnownHostsFile={known}", "-o", "BatchMode=yes"]
    argv = ["ssh", "-i", str(testbed.key), *options, f"ubuntu@{machine.address}", "bash -s"]
    done = subprocess.run(argv, input=script, text=True, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def _print(found: dict[str, dict[str, list[float]]]) -> None:
    for job, tools in found.items():
        for tool, (least, median, most) in tools.items():
            print(f"{job:<20} {tool:<14} min {least:7.3f} s   median {median:7.3f} s   max {most:7.3f} s")


if __name__ == "__main__":
    sys.exit(main())
