"""Holds off a shutdown or a suspend for the moments between a switch and its confirmation.

logind takes an inhibitor from an unprivileged user only where polkit is there and says so (seen: `Failed to inhibit:
Access denied` on Debian's minbase). So root's helper takes it, for as long as our end of its socket is open: when this
process ends, however it ends, so does the inhibitor.

It only delays (logind's InhibitDelayMaxSec, 5 s by default), because a machine that is told to stop must stop: what is
not confirmed by then is confirmed or gone back from at the next boot. Nobody waits for an answer: a switch costs one
connect to a socket more, and where there is no helper it goes on without.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from wakeline.agent import privileges

_CONNECT_S = 0.5


@contextlib.contextmanager
def shutdown(*, app: str, environment: str) -> Iterator[None]:
    """Hold off a shutdown as long as the block runs, where this machine lets us."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        with contextlib.suppress(OSError):  # no helper here: a folder as a machine, or one from before it knew the word
            connection.settimeout(_CONNECT_S)
            connection.connect(privileges.helper_socket(app=app, environment=environment))
            connection.sendall(f"{privileges.HOLD_OFF}\n".encode())
        yield
