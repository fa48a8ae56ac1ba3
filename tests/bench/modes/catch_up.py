"""A look with nothing to do, on the machine itself: the boot unit's own command beside a shell script and ansible-pull.

Ansible comes from its package in an environment for Debian's Python, which the machine has; it is copied there.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from bench import bars, figures
from bench.environments import CACHE, CannotRun, python
from bench.machines import bed_of_machines
from bench.rounds import Rounds
from bench.tools.wakeline import Wakeline
from machines.machine import Machine

TO_SHELL, TO_PULL = 2.0, 15.0
ANSIBLE = "2.19.14"  # the newest for Python 3.11, which is the machine's
_LIMIT_S = 300.0
_AGENT = "/usr/bin/python3 /var/lib/wakeline/agent.pyz --home /var/lib/wakeline catch-up --app shop"
_SHELL = """\
#!/bin/bash
set -e
known=$(readlink /opt/wakeline/current)
tip=$(git ls-remote {url} refs/wakeline/shop/wakeline/log | cut -f1)
[ -n "$tip" ] && [ -n "$known" ] && systemctl is-active -q app-wakeline.service
"""
_PULL = """\
#!/bin/sh
export PYTHONPATH=/opt/ansible PATH=/opt/ansible/bin:$PATH ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3 LC_ALL=C.UTF-8
exec /usr/bin/python3 /opt/ansible/bin/ansible-pull -o -U {url} -d /home/ubuntu/pulled -i localhost, local.yml
"""
_TIMED = """\
import subprocess, sys, time
began = time.monotonic()
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
seconds = time.monotonic() - began
if done.returncode:
    sys.exit(done.stdout.decode()[-2000:])
print(seconds)
"""


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """One booted machine that runs the newest approved release."""
    walls: dict[str, list[float]] = {}
    not_run: dict[str, str] = {}
    with (
        bed_of_machines(count=1, booted=True) as machines,
        tempfile.TemporaryDirectory(prefix="wakeline-bench-") as folder,
    ):
        rounds = Rounds(machines, [Wakeline()], folder=Path(folder))
        playbook = "- hosts: localhost\n  gather_facts: false\n  tasks: []\n"
        (rounds.application.checkout / "local.yml").write_text(playbook)
        (rounds.application.checkout / "app/part0/file000.py").unlink()  # one file more, one less
        rounds.one_job("", 0, rounds.next())
        machine = machines.all[0]
        ways = {
            "agent": f"{_AGENT} --environment wakeline",
            "agent at boot": f"{_AGENT} --environment wakeline --boot",
            "shell": "/usr/local/bin/look",
            "python -c pass": "/usr/bin/python3 -c pass",
        }
        machine.write("/usr/local/bin/look", _SHELL.format(url=rounds.application.url), mode=0o755)
        machine.write("/usr/local/bin/timed.py", _TIMED)
        try:
            _bring_ansible(machine)
            machine.write("/usr/local/bin/pull", _PULL.format(url=rounds.application.plain_url), mode=0o755)
            ways["ansible-pull -o"] = "/usr/local/bin/pull"
        except CannotRun as error:
            not_run["ansible-pull -o"] = str(error)
        for name, command in list(ways.items()):
            try:
                _seconds(machine, command)  # the first look is news for all of them
            except (AssertionError, subprocess.TimeoutExpired) as error:
                if not name.startswith("ansible"):
                    raise
                not_run[name] = str(error)[-300:]
                del ways[name]
        for _ in range(max(asked.rounds, 5)):
            for name, command in ways.items():
                walls.setdefault(name, []).append(_seconds(machine, command))
        rounds.close()
    middle = {name: statistics.median(each) for name, each in walls.items()}
    pull = middle.get("ansible-pull -o")
    return {
        "wall_s": {name: figures.spread(each) for name, each in walls.items()},
        "not_run": not_run,
        "bars": [
            bars.at_most("catch-up with nothing to do, to a shell script", middle["agent"] / middle["shell"], TO_SHELL),
            bars.at_least("ansible-pull -o, to catch-up", pull / middle["agent"] if pull else None, TO_PULL),
        ],
    }


def _seconds(machine: Machine, command: str) -> float:
    said = machine.run(f"su ubuntu -c 'cd && /usr/bin/python3 /usr/local/bin/timed.py {command}'", limit_s=_LIMIT_S)
    return float(said.split()[-1])


def _bring_ansible(machine: Machine) -> None:
    """Copy ansible-core, with what it needs for the machine's own Python. Raises CannotRun."""
    place = CACHE / f"ansible-for-3.11-{ANSIBLE}"
    if not place.exists():
        part = place.with_suffix(".part")
        where = ["--target", str(part), "--python-version", "3.11", "--only-binary=:all:"]
        command = [python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *where]
        done = subprocess.run([*command, f"ansible-core=={ANSIBLE}"], capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotRun(f"pip install ansible-core=={ANSIBLE}: {done.stderr.strip()[-300:]}")
        part.rename(place)
    subprocess.run(["cp", "-a", str(place), str(machine.root / "opt/ansible")], check=True)
    machine.run("sed -i '1s|.*|#!/usr/bin/python3|' /opt/ansible/bin/*; chmod 755 /opt/ansible/bin/*")
    machine.run("python3 -m compileall -q /opt/ansible || true", limit_s=300)
