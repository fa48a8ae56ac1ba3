"""Law 9: what somebody changed by hand is saved before it is replaced or pruned, and can be put back.

A patch holds the tracked files (binary ones too), a tar the untracked ones. Both are for the owner alone. Ignored
files are never touched.
"""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wakeline.agent import durable, repository

PATCH = "changes.patch"
UNTRACKED = "untracked.tar"


def save(work_tree: Path, *, into: Path, label: str, but: Sequence[str] = ()) -> Path | None:
    """Save local changes below `into`; None when there are none. `but` are paths that are ours: links and outputs."""
    if not changes(work_tree, but=but):
        return None
    folder = _fresh(into, label)
    excluded = [f":(exclude,literal){path}" for path in but]
    diff = ["diff", "--binary", "--full-index", "--no-color", "--no-ext-diff", "HEAD", "--", ".", *excluded]
    durable.write_bytes(folder / PATCH, repository.git(diff, at=work_tree))
    durable.write_bytes(folder / UNTRACKED, _untracked(work_tree, but))
    return folder


def changes(work_tree: Path, *, but: Sequence[str] = ()) -> list[str]:
    """Tracked files that somebody changed and untracked ones, `but` what is ours."""
    return [path for path in repository.changed_paths(work_tree) if not _is_ours(path, but)]


def put_back(work_tree: Path, *, saved: Path) -> None:
    """Apply what was saved to a work tree at the same commit."""
    if (saved / PATCH).stat().st_size:
        repository.git(["apply", "--binary", "--whitespace=nowarn", str(saved / PATCH)], at=work_tree)
    import tarfile  # noqa: PLC0415 - most orders find nothing to save or to put back

    trusted: dict[str, Any] = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
    with tarfile.open(saved / UNTRACKED) as tar:
        for member in tar:
            if not (work_tree / member.name).exists():
                tar.extract(member, work_tree, set_attrs=True, **trusted)  # our own file


def _fresh(into: Path, label: str) -> Path:
    durable.make_folder(into, mode=0o700)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    for number in range(1000):
        folder = into / (f"{label}-{stamp}" + (f"-{number}" if number else ""))
        if not folder.exists():
            durable.make_folder(folder, mode=0o700)
            return folder
    raise OSError(f"no free name for saved changes in {into}")


def _untracked(work_tree: Path, but: Sequence[str]) -> bytes:
    import tarfile  # noqa: PLC0415 - most orders find nothing to save or to put back

    listing = repository.git(["ls-files", "--others", "--exclude-standard", "-z"], at=work_tree)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for raw in listing.split(b"\0"):
            name = raw.decode("utf-8", "surrogateescape")
            if name and not _is_ours(name, but):
                tar.add(work_tree / name, arcname=name, recursive=False)
    return buffer.getvalue()


def _is_ours(path: str, but: Sequence[str]) -> bool:
    path = path.rstrip("/")
    return any(path == ours or path.startswith(f"{ours}/") for ours in but)
