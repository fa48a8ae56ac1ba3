"""Law 12, looked for: secrets that a story plants, and every place where somebody could read one afterwards.

A story plants them by name, and a leak is told as `PLACE: NAME`: the secret itself is not in what a failed test says.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

Planted = Mapping[str, str]
SWEEP_S = 0.25


def canary() -> str:
    """A secret that stands nowhere but where it is put."""
    return f"canary-{secrets.token_hex(8)}"


def private_half(key: Path) -> str:
    """A line of an ed25519 key's file that only who has the private half can write."""
    return key.read_text().splitlines()[-3]


def in_texts(planted: Planted, texts: Mapping[str, bytes]) -> list[str]:
    """The leaks in texts that are called by their places."""
    return [f"{place}: {name}" for place, text in texts.items() for name in _names_in(text, planted)]


def in_files(planted: Planted, folder: Path, *, called: str = "", allowed: Iterable[str] = ()) -> list[str]:
    """The leaks in every file below a folder, and in all that the git repositories there have ever kept.

    Links are not followed. Places are told from `called` on instead of the folder's own path; those that a pattern in
    `allowed` matches may hold what they like.
    """
    start = Path(called or folder)
    found = {str(start / path.relative_to(folder)): path for path in _holding(planted, folder)}
    named = {place: path for place, path in found.items() if not any(fnmatch(place, each) for each in allowed)}
    leaks = in_texts(planted, {place: _bytes_of(path) for place, path in sorted(named.items())})
    for repository in _repositories(folder):
        place = start / repository.relative_to(folder)
        leaks += in_texts(planted, {f"the objects of {place}": _objects(repository)})
    return leaks


def _names_in(text: bytes, planted: Planted) -> list[str]:
    return [name for name, value in planted.items() if value.encode() in text]


def _holding(planted: Planted, folder: Path) -> list[Path]:
    """The files with a secret in them: grep is quicker at it than we are."""
    command = ["grep", "--recursive", "--files-with-matches", "--null", "--text", "--fixed-strings", "--no-messages"]
    command += ["--devices=skip", "--file=-", "--", str(folder)]
    done = subprocess.run(command, input="\n".join(planted.values()).encode(), capture_output=True, check=False)
    return [Path(os.fsdecode(name)) for name in done.stdout.split(b"\0") if name]


def _bytes_of(path: Path) -> bytes:
    with contextlib.suppress(OSError):  # where something still runs, files come and go
        return path.read_bytes()
    return b""


def _repositories(folder: Path) -> list[Path]:
    command = ["find", str(folder), "-type", "d", "-name", "objects", "-prune", "-printf", r"%h\0"]
    done = subprocess.run(command, capture_output=True, check=False)
    places = [Path(os.fsdecode(name)) for name in done.stdout.split(b"\0") if name]
    return sorted(place for place in places if (place / "HEAD").exists())


def _objects(repository: Path) -> bytes:
    """Every object, also those that no ref leads to any more: they are packed, and grep sees nothing in them."""
    command = ["git", "-c", "safe.directory=*", f"--git-dir={repository}", "cat-file", "--batch", "--batch-all-objects"]
    done = subprocess.run([*command, "--buffer", "--unordered"], capture_output=True, check=False)
    assert done.returncode == 0, f"{repository} cannot be searched: {done.stderr.decode()}"
    return done.stdout


@contextlib.contextmanager
def processes_watched(planted: Planted, *, not_inside: Iterable[str] = ()) -> Iterator[list[str]]:
    """Looks at the arguments of every process as long as the block runs, and lists the leaks.

    Root is told by the kernel of every program that starts, those of booted machines too; everybody looks at all of
    them four times a second. Of a process that runs inside a machine the environment is looked at as well: what
    `not_inside` names has no business there.
    """
    seen: list[str] = []
    over = threading.Event()
    kept_out = {name: planted[name] for name in not_inside}
    ours = Path("/proc/self/ns/pid").readlink()

    def look(pid: str) -> None:
        place, now = Path("/proc", pid), dict(planted)  # a story may plant more while we look
        with contextlib.suppress(OSError):  # it has ended
            words = (place / "cmdline").read_bytes()
            found = [("arguments", name) for name in _names_in(words, now)]
            if kept_out and (place / "ns/pid").readlink() != ours:
                found += [("environment", name) for name in _names_in((place / "environ").read_bytes(), kept_out)]
            leaks = [f"the {what} of {_shown(words, now)}: {name}" for what, name in found]
            seen.extend(each for each in leaks if each not in seen)

    def watch() -> None:
        swept = 0.0
        with contextlib.closing(_Starts()) as starts:
            while not over.is_set():
                for pid in starts.next(SWEEP_S):
                    look(pid)
                if time.monotonic() - swept > SWEEP_S:
                    swept = time.monotonic()
                    for pid in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - names, four times a second
                        look(pid)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def _shown(words: bytes, planted: Planted) -> str:
    text = words.replace(b"\0", b" ").decode("utf-8", "replace").strip()
    for name, value in planted.items():
        text = text.replace(value, f"<{name}>")
    return text[:500]


class _Starts:
    """The kernel's word on every program that starts (connector.h and cn_proc.h of Linux), where we may listen."""

    _CONNECTOR, _PROCESSES, _LISTEN, _EXEC = 11, 1, 1, 0x2

    def __init__(self) -> None:
        asked = struct.pack("=IIIIHHI", self._PROCESSES, 1, 0, 0, 4, 0, self._LISTEN)
        self._socket: socket.socket | None = None
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, self._CONNECTOR)
            self._socket.bind((0, self._PROCESSES))
            self._socket.send(struct.pack("=IHHII", 16 + len(asked), 3, 0, 0, 0) + asked)
        except OSError:  # not root, or a kernel without it
            self.close()

    def next(self, limit_s: float) -> list[str]:
        """The process that has become another program; none where the time is up, or where it is something else."""
        if self._socket is None:
            time.sleep(limit_s)
            return []
        self._socket.settimeout(limit_s)
        with contextlib.suppress(OSError):  # nothing came, or more than we could hear: the next sweep is soon
            event = self._socket.recv(4096)
            if len(event) >= 60 and struct.unpack_from("=I", event, 36)[0] == self._EXEC:
                return [str(struct.unpack_from("=I", event, 56)[0])]
        return []

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None
