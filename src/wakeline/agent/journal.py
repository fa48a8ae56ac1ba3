"""The machine's own memory of what was done: JSON lines, each on disk before the act that it announces.

Laws that live here:

- An entry is written and fsynced before its act, so that after a crash the journal says what was done and what is in
  doubt.
- A journal that was cut, zeroed or changed never stops the machine: bad lines are set aside, the good ones are kept.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wakeline.agent import durable

JOURNAL_VERSION = 1
_SIZE_MAX = 2 * 1024 * 1024
_KEPT = 1000


class Journal:
    """One app's journal on one machine. Opened by the holder of the machine's lock alone."""

    def __init__(self, path: Path, *, boot_id: str) -> None:
        self.path = path
        self._boot_id = boot_id
        self.entries = read(path)
        self.set_aside = _repair(path, self.entries)

    def write(self, what: str, **fields: Any) -> None:
        """Put an entry on disk. Raises OSError when the disk will not have it: then the act must not happen."""
        at = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        entry = {"version": JOURNAL_VERSION, "at": at, "boot": self._boot_id, "what": what, **fields}
        line = json.dumps(entry, ensure_ascii=True).encode() + b"\n"
        is_new = not self.path.exists()
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            size = os.fstat(fd).st_size
            _append(fd, line, size=size)
        finally:
            os.close(fd)
        if is_new:
            durable.sync_folder(self.path.parent)
        self.entries.append(entry)

    def note(self, what: str, **fields: Any) -> None:
        """Like `write`, for what has happened already: a full disk must not keep the run from its end."""
        with contextlib.suppress(OSError):  # the act is done, and the release folder says so too
            self.write(what, **fields)

    def newest_first(self, *whats: str) -> Iterator[Mapping[str, Any]]:
        """Entries of these kinds, the last one first."""
        return (entry for entry in reversed(self.entries) if entry["what"] in whats)


def read(path: Path) -> list[dict[str, Any]]:
    """The readable entries, in order. Never raises for what is in the file.

    Raises OSError for a disk that cannot read it: a journal taken for empty would forget what was started here.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return [entry for entry in map(_entry, lines) if entry is not None]


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or not isinstance(entry.get("what"), str):
        return None
    return entry


def _repair(path: Path, entries: list[dict[str, Any]]) -> Path | None:
    """Set a damaged journal aside, as it was, and go on with its good lines. Also keeps it from growing for ever."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    lines = [line for line in raw.split(b"\n") if line]
    damaged = len(lines) != len(entries) or (raw and not raw.endswith(b"\n"))
    aside = None
    if damaged:
        aside = path.with_name(f"{path.name}.damaged-{len(list(path.parent.glob(path.name + '.damaged-*'))) + 1}")
        durable.write_bytes(aside, raw)
    if damaged or len(raw) > _SIZE_MAX:
        if len(raw) > _SIZE_MAX:
            entries[:] = [e for e in entries[:-_KEPT] if e["what"].startswith("once")] + entries[-_KEPT:]
        data = b"".join(json.dumps(entry, ensure_ascii=True).encode() + b"\n" for entry in entries)
        durable.write_bytes(path, data)
    return aside


def _append(fd: int, line: bytes, *, size: int) -> None:
    """All of the line or nothing: what a full disk cut off is taken away again."""
    try:
        written = os.write(fd, line)
        if written != len(line):
            raise OSError(28, "No space left on device")
        os.fsync(fd)
    except OSError:
        with contextlib.suppress(OSError):  # the reader sets a half line aside as well
            os.ftruncate(fd, size)
        raise
