"""The pages: the site builds, no link leads nowhere, and the reference says what the code says."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from wakeline.cli.main import cli
from wakeline.errors import ExitCode
from wakeline.fleet import example

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_site_builds_and_every_link_in_it_leads_somewhere(tmp_path):
    command = [sys.executable, "-m", "sphinx", "--quiet", "-W", "--keep-going", "-d", tmp_path / "kept"]
    built = subprocess.run([*command, "docs", tmp_path / "site"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    for page in ("index", "tutorial", "architecture", "reference/commands"):
        assert (tmp_path / f"site/{page}.html").is_file()


def test_the_reference_has_every_key_verb_and_exit_code(tmp_path):
    found = importlib.util.spec_from_file_location("reference", ROOT / "docs/reference.py")
    reference = importlib.util.module_from_spec(found)
    found.loader.exec_module(reference)
    reference.write(tmp_path)
    pages = {page.stem: page.read_text() for page in tmp_path.iterdir()}
    for key in example.prose():
        assert f"`{key}`" in pages["wakeline-toml"]
    for verb in cli.commands:
        assert f"## wakeline {verb}" in pages["commands"]
    for code in ExitCode:
        assert f"| {int(code)} |" in pages["exit-codes"]
