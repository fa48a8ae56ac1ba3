"""An environment for each tool, outside the repository, at a stated version and all of one and the same Python."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import tomllib

CACHE = Path(os.environ.get("WAKELINE_BENCH", Path.home() / ".cache/wakeline-bench"))
ROOT = Path(__file__).resolve().parents[2]


class CannotRun(Exception):
    """A tool cannot be had here; the text says why, and goes into the report."""


def python() -> str:
    """The newest Python here that every tool runs on: they are measured with the same one."""
    pyenv = map(str, Path.home().glob(".pyenv/versions/3.1[123].*/bin/python"))
    found = [_version(each) for each in ("python3.13", "python3.12", "python3.11", *pyenv, sys.executable)]
    return max(found)[1]


def _version(candidate: str) -> tuple[tuple[int, ...], str]:
    """Its version and where it is; the lowest for one that cannot make environments, or is newer than they know."""
    ask = "import sys, ensurepip; print(*sys.version_info[:3], sys.executable)"
    try:
        said = subprocess.run([candidate, "-c", ask], capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        return (0,), sys.executable
    version = tuple(map(int, said[:3]))
    return (version, said[3]) if version < (3, 14) else ((0,), sys.executable)


def ensure(name: str, requirements: list[str]) -> Path:
    """The bin folder of an environment with these packages, made when it is not there. Raises CannotRun."""
    interpreter = python()
    key = hashlib.sha256(repr((interpreter, requirements)).encode()).hexdigest()[:12]
    folder = CACHE / name
    stamp = folder / "made-from"
    if stamp.exists() and stamp.read_text() == key:
        return folder / "bin"
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([interpreter, "-m", "venv", str(folder)], check=True, capture_output=True)
    command = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*command, *requirements], capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        raise CannotRun(f"pip install {' '.join(requirements)}: {done.stderr.strip()[-300:]}")
    stamp.write_text(key)
    return folder / "bin"


def ensure_ours() -> Path:
    """The bin folder of an environment with this checkout's wakeline in it, laid out as its wheel would be.

    What it depends on is installed when pyproject.toml changes; its own code is copied each time, which takes no pip.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    programs = ensure("wakeline-itself", project["dependencies"])
    [packages] = (programs.parent / "lib").glob("python3*/site-packages")
    shutil.rmtree(packages / "wakeline", ignore_errors=True)
    ours = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src/wakeline", packages / "wakeline", ignore=ours)
    subprocess.run([programs / "python", "-m", "compileall", "-q", packages / "wakeline"], check=True)
    module, _, function = project["scripts"]["wakeline"].partition(":")
    script = programs / "wakeline"
    script.write_text(f"#!{programs}/python\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    script.chmod(0o755)
    return programs
