"""A real application: Django, packages from a lock file with hashes, a front end that is bundled.

Three fleets on one machine deploy the same code-only change: steps with `inputs` and `outputs`, the same steps run each
time, and no step at all, with what they make lying in `shared`. What the steps cost is read off the rollout's own
lines: from "laid out" to "switched", the switch included, which is all that the third fleet does there.
Machines reach no package registry, so the wheels and the bundler lie on the machine, and pip is told to look there.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from bench import bars, figures
from bench.environments import CACHE, CannotRun, python
from bench.legs import legs_of
from bench.machines import bed_of_machines, settle
from bench.rounds import Rounds
from bench.tools.wakeline import Wakeline
from machines.machine import Machine

STEPS_S, TIMES = 0.05, 5.0
_STEPS, _REST = "the steps and the switch", "the rest"
REQUIREMENTS = ("django==5.2.7", "gunicorn==27.0.1", "asgiref==3.13.0", "sqlparse==0.6.1")
PIP = "pip==26.3"
ESBUILD = "@esbuild/linux-x64@0.28.2"
MODULES = 120
_PACKAGES = "python3 -m venv --without-pip {venv} && python3 /opt/wheels/{pip}/pip --python {venv} install -q "
_PACKAGES += "--no-index --find-links /opt/wheels --require-hashes -r requirements.lock"
_PAGES = "esbuild frontend/main.js --bundle --minify --sourcemap --outdir={dist} --log-level=warning"
_CACHED = """
[[step]]
name = "packages"
run = "{packages}"
inputs = ["requirements.lock"]
outputs = [".venv"]

[[step]]
name = "pages"
run = "{pages}"
inputs = ["frontend/**"]
outputs = ["dist"]
"""
_EACH_TIME = """
[[step]]
name = "packages"
run = "{packages}"

[[step]]
name = "pages"
run = "{pages}"
"""
_SERVER = '''\
"""Becomes gunicorn on the port that is asked for."""

import os
import sys

os.execv(".venv/bin/python", [".venv/bin/python", "-m", "gunicorn", "-b", f"0.0.0.0:{sys.argv[1]}", "shop:application"])
'''
_SHOP = '''\
"""A Django project in one file: says the version that lies beside it."""

from pathlib import Path

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="of-a-bench", INSTALLED_APPS=[])
version = Path("VERSION").read_text().strip()
urlpatterns = [path("", lambda request: HttpResponse(version))]
application = get_wsgi_application()
'''


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """One machine, three fleets, in turn."""
    walls: dict[str, list[float]] = {}
    with (
        bed_of_machines(count=1, booted=False) as machines,
        tempfile.TemporaryDirectory(prefix="wakeline-bench-") as folder,
    ):
        machine = machines.all[0]
        wheels = _bring_wheels(machine)
        fleets: dict[str, Rounds] = {}
        for number, (name, more) in enumerate(_ways(wheels).items()):
            tool = Wakeline(name=name, more=more, shared=[] if more else [".venv", "dist"])
            own = Path(folder) / name
            own.mkdir()
            fleets[name] = Rounds(machines, [], folder=own, app=f"app{number}")
            _write_application(fleets[name].application.checkout, wheels)
            fleets[name].add(tool)
            if name == "without":
                _make_by_hand(machine, fleets[name].application.checkout, wheels)
            fleets[name].one_job("", 0, fleets[name].next())
        steps: dict[str, list[float]] = {}
        for number in range(asked.rounds):
            names = list(fleets)
            for name in names[number % 3 :] + names[: number % 3]:
                tool, commit = fleets[name].tools[0], fleets[name].next()
                settle()
                legs = legs_of(tool, commit, _legs(machine), end=_REST)
                fleets[name].look(tool, commit)
                walls.setdefault(name, []).append(sum(legs.values()))
                steps.setdefault(name, []).append(legs[_STEPS])
        for fleet in fleets.values():
            fleet.close()
    middle = {name: statistics.median(each) for name, each in steps.items()}
    return {
        "wall_s": {name: figures.spread(each) for name, each in walls.items()},
        "steps_s": {name: figures.spread(each) for name, each in steps.items()},
        "bars": [
            bars.at_most("package and asset steps of a code-only change", middle["cached"], STEPS_S, unit="s"),
            bars.at_least("the steps run each time, to that", middle["each-time"] / middle["cached"], TIMES),
        ],
    }


def _legs(machine: Machine) -> list[tuple[str, str]]:
    name = re.escape(machine.name)
    return [(rf"{name} +release \d+ laid out", "to the folder"), (rf"{name} +switched", _STEPS)]


def _ways(wheels: Path) -> dict[str, str]:
    pip = next(wheels.glob("pip-*.whl")).name
    words = {
        "cached": (_CACHED, "$WAKELINE_OUTPUT", "$WAKELINE_OUTPUT"),
        "each-time": (_EACH_TIME, ".venv", "dist"),
    }
    return {
        **{
            name: text.format(packages=_PACKAGES.format(venv=venv, pip=pip), pages=_PAGES.format(dist=dist))
            for name, (text, venv, dist) in words.items()
        },
        "without": "",
    }


def _write_application(checkout: Path, wheels: Path) -> None:
    (checkout / "server.py").write_text(_SERVER)
    (checkout / "shop.py").write_text(_SHOP)
    (checkout / ".gitignore").write_text(".venv\ndist\n")
    lines = []
    for each in REQUIREMENTS:
        name, _, version = each.partition("==")
        file = next(wheels.glob(f"{name}-{version}-*.whl"))
        said = subprocess.run(["sha256sum", str(file)], capture_output=True, text=True, check=True).stdout
        lines.append(f"{each} --hash=sha256:{said.split()[0]}\n")
    packaging = next(iter(wheels.glob("packaging-*.whl")), None)
    if packaging is not None:
        said = subprocess.run(["sha256sum", str(packaging)], capture_output=True, text=True, check=True).stdout
        lines.append(f"packaging=={packaging.name.split('-')[1]} --hash=sha256:{said.split()[0]}\n")
    (checkout / "requirements.lock").write_text("".join(lines))
    (checkout / "frontend").mkdir()
    names = [f"page{number:03d}" for number in range(MODULES)]
    for name in names:
        body = f"export function {name}(items) {{ return items.map((item) => `{name}: ${{item}}`).join('\\n'); }}\n"
        (checkout / "frontend" / f"{name}.js").write_text(body)
    imports = "".join(f"import {{ {name} }} from './{name}.js';\n" for name in names)
    (checkout / "frontend/main.js").write_text(
        f"{imports}console.log([{', '.join(names)}].map((each) => each([1, 2])));\n"
    )


def _bring_wheels(machine: Machine) -> Path:
    """Wheels and the bundler, fetched once by the ordinary clients and copied to the machine. Raises CannotRun."""
    place = CACHE / "application"
    if not (place / "esbuild").exists():
        place.mkdir(parents=True, exist_ok=True)
        pip = [python(), "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "-d", str(place / "wheels")]
        _run([*pip, "--python-version", "3.11", "--only-binary=:all:", *REQUIREMENTS, PIP], place)
        _run(["npm", "pack", "--silent", ESBUILD], place)
        with tarfile.open(next(place.glob("esbuild-*.tgz"))) as packed, (place / "esbuild").open("wb") as program:
            found = packed.extractfile("package/bin/esbuild")
            assert found is not None
            program.write(found.read())
    wheels = machine.root / "opt/wheels"
    subprocess.run(["cp", "-a", str(place / "wheels"), str(wheels)], check=True)
    subprocess.run(["install", "-m", "755", str(place / "esbuild"), str(machine.root / "usr/local/bin")], check=True)
    return place / "wheels"


def _run(command: list[str], place: Path) -> None:
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotRun(f"{' '.join(command[:4])}: {done.stderr.strip()[-300:]}")


def _make_by_hand(machine: Machine, checkout: Path, wheels: Path) -> None:
    """What the steps make, once, where no step makes it."""
    shared = machine.root / "opt/without/shared"
    shared.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", str(checkout), str(machine.root / "opt/made")], check=True)
    machine.run("chown -R ubuntu: /opt/made /opt/without")
    pip = next(wheels.glob("pip-*.whl")).name
    packages = _PACKAGES.format(venv="/opt/without/shared/.venv", pip=pip)
    pages = _PAGES.format(dist="/opt/without/shared/dist")
    machine.run(f"su ubuntu -c 'cd /opt/made && {packages} && {pages}'", limit_s=300)
