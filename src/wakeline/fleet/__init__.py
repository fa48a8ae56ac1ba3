"""The fleet file: what a user writes in `wakeline.toml`, read and judged as a whole.

Names are imported when they are asked for: the library that judges takes 0.1 s, and a rollout of a file that was judged
before does not need it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wakeline.fleet.editors import json_schema
    from wakeline.fleet.file import FleetFile
    from wakeline.fleet.reading import FleetFileError, Problem, load

__all__ = ["FleetFile", "FleetFileError", "Problem", "json_schema", "load"]

_WHERE = {
    "FleetFile": "file",
    "FleetFileError": "reading",
    "Problem": "reading",
    "json_schema": "editors",
    "load": "reading",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WHERE[name]}"), name)
