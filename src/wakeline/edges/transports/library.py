"""Imports the SSH library without its detour through a compiler, and without what OpenSSH does not speak.

asyncssh looks for liboqs when it is imported (asyncssh/crypto/pq.py, for the sntrup761 key exchange), by
`ctypes.util.find_library`, which starts ldconfig, gcc and ld, twice: 40 ms, and 100 ms beside other work. The loader
that would load the library knows where it is, too.

X.509 certificates of hosts and users (RFC 6187) are an optional part of it, which OpenSSH has not; its own certificates
are another thing, and work. They are a fifth of the import.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

from wakeline.edges import importing

_LOOKED_FOR = ("oqs", "liboqs")
_NAMES = ("liboqs.so", "liboqs.dylib")
_one_at_a_time = threading.Lock()


def asyncssh() -> Any:
    """The library. The first call imports it, which takes 0.05 s and more."""
    with _one_at_a_time, _asking_the_loader():
        sys.modules.setdefault("asyncssh.crypto.x509", cast(Any, None))  # as good as not installed, see sys.modules
        return importlib.import_module("asyncssh")


def begin(then: Callable[[], object] = lambda: None) -> None:
    """Import it beside other work, and do then what is wanted soon after it."""

    def work() -> None:
        asyncssh()
        then()

    importing.beside(work)


@contextlib.contextmanager
def _asking_the_loader() -> Iterator[None]:
    import ctypes.util  # noqa: PLC0415 - for who imports the library

    search = ctypes.util.find_library

    def find(name: str) -> str | None:
        return _loadable() if name in _LOOKED_FOR else search(name)

    ctypes.util.find_library = find
    try:
        yield
    finally:
        ctypes.util.find_library = search


def _loadable() -> str | None:
    import ctypes  # noqa: PLC0415 - same

    for name in _NAMES:
        with contextlib.suppress(OSError):  # it is not installed, which is the usual case
            ctypes.CDLL(name)
            return name
    return None
