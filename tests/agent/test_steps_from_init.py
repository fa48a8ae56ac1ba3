"""The steps that `wakeline init` writes, run by the agent with the real pip, uv and Poetry from a loopback index."""

from __future__ import annotations

import functools
import hashlib
import http.server
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from one_machine import service

from wakeline import starting
from wakeline.fleet import load

pytestmark = pytest.mark.packages
WHEEL = "greeting-1.0-py3-none-any.whl"
ABOUT = "greeting-1.0.dist-info"
IN_WHEEL = {
    "greeting.py": "def say():\n    import app\n    print('greeting', app.WORD)\n",
    f"{ABOUT}/METADATA": "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n",
    f"{ABOUT}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    f"{ABOUT}/entry_points.txt": "[console_scripts]\ngreet = greeting:say\n",
}
UV = """\
[project]
name = "shop"
version = "1"
requires-python = ">=3.9"
dependencies = ["greeting==1.0"]
[[tool.uv.index]]
url = "{index}"
default = true
"""
POETRY = """\
[tool.poetry]
name = "shop"
version = "1"
description = ""
authors = []
[tool.poetry.dependencies]
python = ">=3.9"
greeting = "1.0"
[[tool.poetry.source]]
name = "loopback"
url = "{index}/"
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_words: object) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A package index as PEP 503 has it, with one package."""
    root = tmp_path_factory.mktemp("index")
    digest = hashlib.sha256(wheel(root / "simple/greeting" / WHEEL).read_bytes()).hexdigest()
    (root / "simple/greeting/index.html").write_text(f'<a href="{WHEEL}#sha256={digest}">{WHEEL}</a>')
    handler = functools.partial(Quiet, directory=root)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/simple"
        server.shutdown()


def wheel(place: Path) -> Path:
    place.parent.mkdir(parents=True)
    with zipfile.ZipFile(place, "w") as archive:
        for name, text in IN_WHEEL.items():
            archive.writestr(name, text)
        archive.writestr(f"{ABOUT}/RECORD", "".join(f"{name},,\n" for name in [*IN_WHEEL, f"{ABOUT}/RECORD"]))
    return place


def deploy(box, number: int, **more) -> dict[str, bool]:
    """One release of one more commit. Returns which steps were run."""
    commit = box.commit(f"{number}", **{"app.py": f"WORD = 'release {number}'\n"})
    steps = load(starting.write(starting.look(box.work)).text).steps
    web = service("web", restart="PYTHONPATH=. .venv/bin/greet >../../said")
    talk = box.run(box.order(number, commit, steps=steps, services=(web,), keep=2, **more))
    assert talk.events[-1]["outcome"] == "ok", talk.events[-1]["cause"]
    return {event["step"]: event["ran"] for event in talk.of("step_finished")}


def test_packages_from_pip_serve_later_releases_also_after_the_first_is_pruned(box, index):
    (box.work / "requirements.txt").write_text(f"--index-url {index}\ngreeting==1.0\n")
    assert [deploy(box, number) for number in (1, 2, 3)] == [{"packages": ran} for ran in (True, False, False)]
    assert box.text("said") == "greeting release 3\n"
    assert not (box.path / "releases/1").exists()


@pytest.mark.parametrize(("tool", "project"), [("uv", UV), ("poetry", POETRY)])
def test_packages_from_a_lock_file_serve_later_releases_also_after_the_first_is_pruned(box, index, tool, project):
    programs = box.root / "programs"
    programs.mkdir()
    (programs / tool).symlink_to(Path(sys.executable).with_name(tool))
    (box.work / "pyproject.toml").write_text(project.format(index=index))
    own = {f"{name}_CACHE_DIR": str(box.root / "cache") for name in ("POETRY", "UV")}  # not of another run's index
    subprocess.run([programs / tool, "lock"], cwd=box.work, check=True, capture_output=True, env={**os.environ, **own})
    found = [deploy(box, number, search_path=(str(programs),)) for number in (1, 2, 3)]
    assert found == [{"packages": ran} for ran in (True, False, False)]
    assert box.text("said") == "greeting release 3\n"
    assert not (box.path / "releases/1").exists()
    assert (box.path / "current/.venv").resolve().parent.parent == box.path / "cache"


def test_a_package_from_a_file_of_the_release_is_installed_anew_because_it_names_the_release(box):
    wheel(box.work / "wheels" / WHEEL)
    (box.work / "requirements.txt").write_text(f"./wheels/{WHEEL}\n")
    assert [deploy(box, number) for number in (1, 2)] == [{"packages": True}] * 2
    assert box.text("said") == "greeting release 2\n"
