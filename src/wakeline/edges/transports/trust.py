"""Which host keys are trusted: what known_hosts says of a machine's name, or else of its host name.

Law: a key that is pinned to the machine's name is the only one that counts. The address is no second way in.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

from wakeline.core.presence import Phase
from wakeline.edges.transports import NotReached


def _stamp(path: str) -> tuple[int, int]:
    found = Path(path).stat()
    return found.st_mtime_ns, found.st_size


@functools.lru_cache(maxsize=8)
def _parsed(stamped: tuple[tuple[str, int, int], ...]) -> Any:
    """Read once, as long as they stay the same: each of five hundred machines asks a file of five hundred keys."""
    import asyncssh  # noqa: PLC0415 - imported already by whoever connects

    return asyncssh.read_known_hosts([path for path, *_ in stamped])


@dataclasses.dataclass(frozen=True)
class Trusted:
    """What known_hosts says. Hashed lines, patterns, @cert-authority and @revoked are asyncssh's to read."""

    hosts: Any

    @classmethod
    def read(cls, files: list[Path], *, host: str) -> Trusted:
        """Raises NotReached when there is no such file, or one that cannot be read."""
        there = [str(each) for each in files if each.is_file()]
        if not there:
            hint = f"put the machine's host key there: ssh-keyscan {host}, compare it, then add it"
            raise NotReached(Phase.HOST_KEY, f"there is no known_hosts file at {files[0]}", hint=hint)
        try:
            return cls(_parsed(tuple((each, *_stamp(each)) for each in there)))
        except (OSError, ValueError) as error:
            raise NotReached(Phase.HOST_KEY, f"{', '.join(there)}: {error}") from error

    def alias(self, name: str, host: str, port: int | None) -> str:
        """The machine's name where its key is pinned to that; nothing where it is known by its host name, as in ssh.

        An authority often stands for `*`, and signs host names: so it counts for the name only where the host name
        finds nothing.
        """
        keys, authorities = self._of(name)
        by_host = self.hosts.match(host, "", port if port != 22 else None)
        return name if keys or (authorities and not (by_host[0] or by_host[1])) else ""

    def by_name(self, name: str, _address: str, _port: int | None) -> Any:
        """asyncssh would take the keys of the address as well: that of another machine, if the address moved on."""
        return self.hosts.match(name, "", None)

    def _of(self, name: str) -> tuple[Any, Any]:
        keys, authorities, *_ = self.hosts.match(name, "", None)
        return keys, authorities
