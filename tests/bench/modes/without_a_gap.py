"""A load generator at full rate through a rollout, a rollback and a failing release: what is lost, who waits longest.

The units are those of docs/how-to/deploy-without-a-gap.md, read from there. systemd holds the listening socket, so
while the service restarts, connections wait in its queue instead of being refused.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import bars
from bench.environments import CACHE, ROOT, CannotRun, python
from bench.machines import bed_of_machines
from bench.rounds import Rounds
from bench.tools.wakeline import Wakeline
from machines.machine import Machine, until

HOW_TO = ROOT / "docs/how-to/deploy-without-a-gap.md"
UVICORN = ("uvicorn==0.54.0", "click", "h11")
CONNECTIONS = 16
_SHOP = '''\
"""A Django project in one file: says the version that lies beside it."""

from pathlib import Path

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="of-a-bench", INSTALLED_APPS=[])
version = Path("VERSION").read_text().strip()
urlpatterns = [path("", lambda request: HttpResponse(version))]
application = get_wsgi_application()
asgi = get_asgi_application()
'''
_BROKEN = "raise RuntimeError('this release does not start')\n"


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """Each server in turn, on a booted machine of its own fleet."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise CannotRun("apt-get install wrk")
    found: dict[str, Any] = {}
    with (
        bed_of_machines(count=1, booted=True) as machines,
        tempfile.TemporaryDirectory(prefix="wakeline-bench-") as folder,
    ):
        machine = machines.all[0]
        _bring_uvicorn(machine)
        for server in ("gunicorn", "uvicorn"):
            own = Path(folder) / server
            own.mkdir()
            fleet = Rounds(machines, [], folder=own, app=server)
            (fleet.application.checkout / "shop.py").write_text(_SHOP)
            (fleet.application.checkout / "serve.py").write_text(server_of_the_how_to())
            tool = Wakeline(name=server)
            fleet.add(tool)
            _install_units(machine, server, port=machines.port(server))
            fleet.one_job("", 0, fleet.next())
            found[server] = _under_load(wrk, fleet, tool, machine, port=machines.port(server))
            fleet.close()
    made = []
    for server, events in found.items():
        for event, said in events.items():
            lost = said["lost"] + said["bad_answers"]
            made.append(bars.at_most(f"{server}, {event}: requests lost or 5xx", lost, 0, unit="requests"))
    return {"connections": CONNECTIONS, "servers": found, "bars": made}


def units(server: str) -> dict[str, str]:
    """The units that the how-to shows for a server, by file name."""
    blocks = re.findall(r"```ini\n# /etc/systemd/system/(\S+)\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    return {name: text for name, text in blocks if name.startswith(server)}


def server_of_the_how_to() -> str:
    """The file that the how-to has uvicorn started by."""
    found = re.search(r"```python\n# serve.py\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    assert found is not None, HOW_TO
    return found.group(1)


def _install_units(machine: Machine, server: str, *, port: int) -> None:
    """As in the how-to, with this bench's names, port and folder in their places."""
    for name, text in units(server).items():
        kind = name.rpartition(".")[2]
        fitted = (
            text.replace(f"{server}-uat", f"app-{server}")
            .replace("8000", str(port))
            .replace("/opt/shop", f"/opt/{server}")
        )
        fitted = fitted.replace(f"/opt/{server}/current/.venv/bin/gunicorn", "/usr/bin/gunicorn")
        fitted = fitted.replace(f"/opt/{server}/current/.venv/bin/python", "/usr/bin/python3")
        more = "Environment=PYTHONPATH=/opt/wheels-of-uvicorn\n" if kind == "service" else ""
        fitted = fitted.replace("[Service]\n", f"[Service]\n{more}")
        machine.write(f"/etc/systemd/system/app-{server}.{kind}", fitted)
    machine.run(f"systemctl daemon-reload && systemctl start app-{server}.socket")


def _under_load(wrk: str, fleet: Rounds, tool: Wakeline, machine: Machine, *, port: int) -> dict[str, Any]:
    said = {}
    checkout = fleet.application.checkout
    for event in ("rollout", "rollback", "failing release", "rollout after it"):
        with tempfile.TemporaryFile("w+") as output:
            address = f"http://{machine.address}:{port}/"
            command = [
                wrk,
                "-t1",
                f"-c{CONNECTIONS}",
                "-d600s",
                "--timeout",
                "60s",
                "--latency",
                "-H",
                "Connection: close",
            ]
            load = subprocess.Popen([*command, address], stdout=output)
            try:
                time.sleep(1.0)  # at full rate before anything happens
                began = time.monotonic()
                if event == "rollback":
                    _wakeline(tool, "rollback", code=0)
                else:
                    (checkout / "shop.py").write_text(_BROKEN if event.startswith("failing") else _SHOP)
                    commit = fleet.next()
                    _wakeline(tool, "deploy", code=1 if event.startswith("failing") else 0)
                    if not event.startswith("failing"):
                        until(lambda commit=commit: machine.http(port=port) == commit.version, limit_s=30, what=event)
                seconds = time.monotonic() - began
                time.sleep(1.0)
            finally:
                load.send_signal(signal.SIGINT)
                load.wait(timeout=90)
            output.seek(0)
            said[event] = {**counted(output.read()), "deploy_s": round(seconds, 2)}
    return said


def _wakeline(tool: Wakeline, verb: str, *, code: int) -> None:
    [[program, _]] = tool.commands(None)  # type: ignore[arg-type]
    done = subprocess.run(
        [program, verb], cwd=tool.cwd, env=dict(tool.env), capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr + done.stdout


def counted(text: str) -> dict[str, Any]:
    """What wrk counted: requests, those that were lost, answers that were not 2xx or 3xx, and the slowest."""
    requests = re.search(r"(\d+) requests in", text)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    slowest = re.search(r"Latency\s+\S+\s+\S+\s+(\S+)", text)
    assert requests is not None, text
    return {
        "requests": int(requests.group(1)),
        "lost": sum(map(int, errors.groups())) if errors else 0,
        "bad_answers": int(bad.group(1)) if bad else 0,
        "slowest": slowest.group(1) if slowest else "",
    }


def _bring_uvicorn(machine: Machine) -> None:
    """uvicorn, which Debian's packages on the machine lack. Raises CannotRun."""
    place = CACHE / "uvicorn"
    if not place.exists():
        part = place.with_suffix(".part")
        where = ["--target", str(part), "--python-version", "3.11", "--only-binary=:all:"]
        command = [python(), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *where, *UVICORN]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotRun(f"pip install uvicorn: {done.stderr.strip()[-300:]}")
        part.rename(place)
    subprocess.run(["cp", "-a", str(place), str(machine.root / "opt/wheels-of-uvicorn")], check=True)
