"""Another wakeline than the checkout: the same sources with some words changed, as of yesterday or tomorrow."""

from __future__ import annotations

import shutil
from pathlib import Path

import wakeline

Change = dict[str, tuple[str, str]]
TOMORROW: Change = {
    "core/records.py": ("RECORD_VERSION = 1", "RECORD_VERSION = 2"),
    "core/order.py": ("ORDER_VERSION = 1", "ORDER_VERSION = 2"),
}


def another_wakeline(place: Path, *changes: Change) -> dict[str, str]:
    """Write it below `place`; returns the environment in which `python -m wakeline` is that one."""
    shutil.copytree(Path(wakeline.__file__).parent, place / "wakeline", ignore=shutil.ignore_patterns("__pycache__"))
    for change in changes:
        for name, (old, new) in change.items():
            file = place / "wakeline" / name
            assert old in file.read_text(), f"{name} has no {old!r} any more"
            file.write_text(file.read_text().replace(old, new))
    return {"PYTHONPATH": str(place)}
