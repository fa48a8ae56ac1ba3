"""What `./dev build` makes is enough: a wheel in a clean environment has the command, its docs and the demo."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

import pytest

from built_wheel import build_wheel

pytestmark = pytest.mark.packages


def test_the_wheel_in_a_clean_environment_tells_its_version_and_the_whole_demo(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path)
    venv.create(tmp_path / "clean", with_pip=True)
    python = tmp_path / "clean/bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True)

    def wakeline(*arguments: str) -> str:
        command = [tmp_path / "clean/bin/wakeline", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    assert wakeline("--version").split()[-1] == wheel.name.split("-")[1]
    assert "[[stage]]" in wakeline("docs", "stage")
    assert "claims checked, all true" in wakeline("demo")
