"""The machine that the agent's tests run on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from one_machine import PROMISED, Box, pythons, version_of

from wakeline.edges.agent_file import agent_file


@pytest.fixture(scope="session")
def agent(tmp_path_factory) -> Path:
    """The zipapp that is sent to machines."""
    place = tmp_path_factory.mktemp("agent") / "agent.pyz"
    place.write_bytes(agent_file().data)
    return place


@pytest.fixture
def box(tmp_path, agent):
    made = Box(tmp_path, agent)
    yield made
    made.end_all()
    for folder, names, _ in os.walk(tmp_path):  # complete outputs are read-only
        for name in names:
            place = Path(folder, name)
            if not place.is_symlink():
                place.chmod(0o755)
    shutil.rmtree(tmp_path)


def pytest_report_header() -> str:
    """Which Pythons the agent runs on here, and which of those that it promises are not here."""
    here = [version_of(each) for each in pythons()]
    missing = [f"{a}.{b}" for a, b in PROMISED if (a, b) not in {version for _, version in here}]
    without = f" (not here: {', '.join(missing)})" if missing else ""
    return f"agent on: {', '.join(name for name, _ in here)}{without}"
