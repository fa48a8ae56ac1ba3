"""The agent as one file: core, agent and the edges that it uses, in a zip that Python runs.

The same sources give the same bytes, so the digest says which agent it is: names sorted, times fixed, nothing else in.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import zipfile

_PACKAGE = Path(__file__).parent.parent
_TAKEN = ("__init__.py", "errors.py", "core", "agent", "edges/__init__.py")
_EDGES = ("edges/process.py", "edges/git.py", "edges/objects.py", "edges/clock.py", "edges/signing.py", "edges/ledgers")
_START = """\
import gc
import sys
if hasattr(gc, "freeze"):  # not in PyPy
    gc.set_threshold(100_000, 20, 20)
from wakeline.agent.glance import main
code = main()
if hasattr(gc, "freeze"):
    gc.freeze()
sys.exit(code)
"""
_WHEN = (1980, 1, 1, 0, 0, 0)


@dataclasses.dataclass(frozen=True)
class AgentFile:
    """The bytes that go to a machine, and their SHA-256 in hex, which names them there."""

    data: bytes
    digest: str


@functools.cache
def agent_file() -> AgentFile:
    """Build it from the sources that run here."""
    import zipfile  # noqa: PLC0415 - who only looks makes no agent

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_entry("__main__.py"), _START)
        for path in _sources():
            archive.writestr(_entry(f"wakeline/{path.relative_to(_PACKAGE)}"), path.read_bytes())
    data = buffer.getvalue()
    return AgentFile(data, hashlib.sha256(data).hexdigest())


def _sources() -> list[Path]:
    found: list[Path] = []
    for name in (*_TAKEN, *_EDGES):
        path = _PACKAGE / name
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return sorted(found)


def _entry(name: str) -> zipfile.ZipInfo:
    import zipfile  # noqa: PLC0415 - see above

    entry = zipfile.ZipInfo(name, _WHEN)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry
