"""Remembers which fleet files were judged good, so that a rollout need not import what judges them (0.1 s).

Kept by the hash of the text, of our version and of the code that judges: another text, or another wakeline, is judged
anew. What cannot be read back is judged anew too. The folder is the user's own cache, beside the ledger's copy.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

from wakeline import __version__, fleet
from wakeline.fleet import file
from wakeline.fleet.file import FleetFile

_JUDGES = ("file.py", "reading.py", "schema.py")


def load(text: str, *, name: str, workdir: Path) -> FleetFile:
    """The fleet file that a text is. Raises FleetFileError with every problem; those are never remembered."""
    place = workdir / "fleet-files" / f"{_key(text)}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # not there, or not ours: it is judged anew
        return file.from_json(json.loads(place.read_bytes()))
    found = fleet.load(text, name=name)
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, and nothing else
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = place.with_name(f"{place.name}.{os.getpid()}")
        beside.write_text(json.dumps(file.to_json(found)), encoding="ascii")
        beside.replace(place)
    return found


def _key(text: str) -> str:
    judges = b"".join((Path(fleet.__file__).parent / name).read_bytes() for name in _JUDGES)
    return hashlib.sha256(b"\0".join([__version__.encode(), judges, text.encode()])).hexdigest()
