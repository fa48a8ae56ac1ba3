"""A git server with a queue as long as is asked for: accepts, and hands each connection to `git daemon --inetd`."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys

GIT_PORT = 9418


def main(address: str, folder: str, queue: int) -> None:
    """Serve for ever; ended by a signal."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children end unasked-for
    git = shutil.which("git")
    assert git is not None
    argv = ["git", "daemon", "--inetd", "--export-all", "--enable=receive-pack", f"--base-path={folder}", folder]
    with socket.create_server((address, GIT_PORT), backlog=queue) as server:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            connection, _ = server.accept()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                number = connection.fileno()
                actions = [(os.POSIX_SPAWN_DUP2, number, 0), (os.POSIX_SPAWN_DUP2, number, 1)]
                os.posix_spawn(git, argv, os.environ, file_actions=actions, setsigdef=[signal.SIGCHLD])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
