"""Which repository of a GitHub server an address of git's names. Pure."""

from __future__ import annotations

import dataclasses
import re

_REMOTE = re.compile(
    r"(?:(?:https?|ssh)://)?(?:[^@/\s]+@)?(?P<host>[\w.-]+)(?::\d+)?[:/](?P<name>[\w.-]+/[\w.-]+?)(?:\.git)?/?\Z"
)


@dataclasses.dataclass(frozen=True)
class Remote:
    """A repository on a server: the server's name, and the repository's there as OWNER/NAME."""

    host: str
    name: str


def remote_of(url: str) -> Remote | None:
    """None for an address that is not of a server's OWNER/NAME kind: a folder, git://, a longer path."""
    found = None if url.startswith((".", "/", "~")) else _REMOTE.match(url)
    return Remote(found["host"], found["name"]) if found else None
