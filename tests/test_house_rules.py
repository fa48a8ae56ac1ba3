"""Our own rules about the code, checked."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from wakeline.cli.main import cli

SOURCE = Path(__file__).parent.parent / "src" / "wakeline"
FILES = sorted(SOURCE.rglob("*.py"))
MAY_IMPORT = {
    "core": {"core"},
    "edges": {"core", "edges", "errors"},
    "agent": {"core", "edges", "agent", "errors"},
    "fleet": {"core", "fleet", "errors"},
    "github": {"core", "fleet", "github"},
    "starting": {"edges", "starting", "errors"},
    "driver": {"core", "edges", "driver", "fleet", "github", "errors", "agent"},
}
SHIPPED = (
    "core",
    "agent",
    "errors.py",
    "edges/process.py",
    "edges/git.py",
    "edges/objects.py",
    "edges/clock.py",
    "edges/signing.py",
    "edges/ledgers",
)


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_run_one_way(path):
    allowed = MAY_IMPORT.get(room(path))
    if allowed is None:
        return
    ours = [name.split(".") for name in imports(path) if name.startswith("wakeline.")]
    assert {parts[1] for parts in ours} <= allowed


def test_the_driver_takes_only_the_table_of_privileges_from_the_agent():
    names = {name for path in FILES if room(path) == "driver" for name in imports(path) if "wakeline.agent" in name}
    assert names <= {"wakeline.agent"}


def test_the_core_touches_nothing_outside_itself():
    banned = {"time", "socket", "os", "subprocess", "logging", "random", "pathlib", "asyncio", "secrets", "threading"}
    found = {name for path in FILES if room(path) in ("core", "github") for name in imports(path)}
    assert not found & banned


def shipped() -> list[Path]:
    return [path for path in FILES if any(str(path.relative_to(SOURCE)).startswith(each) for each in SHIPPED)]


@pytest.mark.parametrize("path", shipped(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_what_is_sent_to_machines_is_the_standard_library_alone(path):
    names = {name.split(".")[0] for name in imports(path)} - {"wakeline"}
    assert names <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("path", shipped(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_what_is_sent_to_machines_is_python_3_9(path):
    ast.parse(path.read_text(), feature_version=(3, 9))


def test_only_the_renderer_prints():
    for path in FILES:
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        prints = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
        assert not prints or path.name.startswith("render"), path


def test_every_verb_is_in_the_readme():
    readme = (SOURCE.parent.parent / "README.md").read_text()
    assert [name for name in cli.commands if name not in readme] == []


ROOT = SOURCE.parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page):
    text = page.read_text()
    links = re.findall(r"\]\(((?!http)[^)#]+)\)", text)
    assert [link for link in links if not (page.parent / link).exists()] == []
    tests = re.findall(r"`(tests/[\w/.]+)`", text)
    assert [name for name in tests if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("chosen", ["not machines", "not slow"])
def test_what_is_chosen_without_machines_boots_none(chosen):
    """Seen: the marks were put on after `-m` had chosen, and `./dev test --quick` booted machines."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:xdist", "-m", chosen, "tests/machines"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, told.stdout[-2000:] + told.stderr[-2000:]
    assert " deselected" in told.stdout
