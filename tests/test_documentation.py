"""The pages: the site builds, no link leads nowhere, and what they say of code, tests and tools is there."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from killpoints.operations import OPERATIONS
from killpoints.points import CUTS, KINDS
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


SAY_WHAT_HOLDS = [ROOT / "docs" / f"{name}.md" for name in ("faults", "security", "promises", "track-record")]


@pytest.mark.parametrize("page", SAY_WHAT_HOLDS, ids=lambda page: page.name)
def test_every_test_that_a_page_says_shows_it_is_there(page):
    named = re.findall(r"\b(tests/[\w/]+\.py)(?:::(\w*))?", page.read_text())
    assert named
    assert [name for name, _ in named if not (ROOT / name).is_file()] == []
    assert [f"{name}::{test}" for name, test in named if test and test not in _tests_of(ROOT / name)] == []


def _tests_of(path: Path) -> set[str]:
    found = (node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef))
    return {name for name in found if name.startswith("test_")}


@pytest.mark.parametrize("page", SAY_WHAT_HOLDS, ids=lambda page: page.name)
def test_every_operation_and_fault_that_a_page_says_is_cut_short_is_there(page):
    asked = re.findall(r'`\./dev killpoints --only ([\w-]+)(?: --fault (?:"([^"]+)"|(\w+)))?`', page.read_text())
    faults = [*(f"strace: {kind}" for kind in KINDS), *CUTS, "disk: ENOSPC", "disk: EIO"]
    names = {operation.name for operation in OPERATIONS}
    assert {name for name, *_ in asked} <= names
    assert [fault for _, *said in asked if (fault := "".join(said)) and all(fault not in each for each in faults)] == []
