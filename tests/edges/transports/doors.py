"""A real sshd on loopback, and a door in front of it that can be slow, shut or cut at a chosen moment."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

LIMIT_S = 20.0
NEWKEYS = 21  # RFC 4253, 7.3: what comes after it is encrypted


def program() -> str:
    """Where sshd is, or nothing."""
    return (
        shutil.which("sshd", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))) or ""
    )


def new_key(place: Path, *, comment: str = "test") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(place)], check=True)
    return place


def public(key: Path) -> str:
    return key.with_suffix(".pub").read_text().strip()


def sign(key: Path, *, authority: Path, name: str, host: bool = False) -> Path:
    """A certificate for a key, as `ssh-keygen -s` makes it."""
    kind = ["-h"] if host else []
    words = ["ssh-keygen", "-q", "-s", str(authority), "-I", name, *kind, "-n", name, str(key.with_suffix(".pub"))]
    subprocess.run(words, check=True, capture_output=True)
    return key.with_name(f"{key.name}-cert.pub")


class Sshd:
    """One sshd, run by whoever runs the tests, letting in the same."""

    def __init__(self, folder: Path, *settings: str, allowed: str = "") -> None:
        folder.mkdir()
        self.folder = folder
        self.user = getpass.getuser()
        self.host_key = new_key(folder / "host_key")
        self.port = free_port()
        (folder / "authorized_keys").write_text(f"{allowed}\n")
        lines = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.host_key}",
            f"AuthorizedKeysFile {folder}/authorized_keys",
            *("PidFile none", "UsePAM no", "StrictModes no", "PermitRootLogin yes", "UseDNS no"),
            *("PasswordAuthentication no", "KbdInteractiveAuthentication no", "LogLevel VERBOSE"),
            *(each.format(folder=folder) for each in settings),
        ]
        (folder / "sshd_config").write_text("\n".join(lines) + "\n")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it shuts itself in; its unit makes it elsewhere
        self._log = (folder / "log").open("wb")
        words = [program(), "-D", "-e", "-f", str(folder / "sshd_config")]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log)
        until(lambda: "Server listening" in self.log, f"sshd listens: {self.log}")

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def known_as(self, *names: str) -> str:
        """Its line in known_hosts."""
        return f"{','.join(names)} {' '.join(public(self.host_key).split()[:2])}\n"

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(timeout=LIMIT_S)
        self._log.close()


class Door:
    """A way to a port that does what `rule` says once the server has come so far: "open", "cut", "reset" or "freeze".

    `after` is "start", "banner" or "keys"; `shut` is how many callers are turned away first.
    """

    def __init__(self, port: int, *, after: str = "never", rule: str = "open", shut: int = 0) -> None:
        self._to = port
        self._after, self._rule, self._shut = after, rule, shut
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._pairs: list[socket.socket] = []
        self._ended = threading.Event()
        self._frozen = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def act(self, rule: str) -> None:
        """Do it now, to every connection that is open."""
        if rule == "freeze":
            self._frozen.set()
            return
        for each in list(self._pairs):
            self._close(each, reset=rule == "reset")

    def close(self) -> None:
        self._ended.set()
        self._frozen.clear()
        self._listener.close()
        self.act("cut")

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # closed: the test is over
            while True:
                caller, _ = self._listener.accept()
                if self._shut > 0:
                    self._shut -= 1
                    caller.close()
                    continue
                with contextlib.ExitStack() as unless_handed_on:
                    unless_handed_on.callback(caller.close)
                    server = socket.create_connection(("127.0.0.1", self._to))
                    unless_handed_on.pop_all()
                self._pairs += [caller, server]
                if self._ended.is_set():
                    self.act("cut")
                    return
                stage = _Stage()
                if self._after == "start":
                    self._do(caller)
                threading.Thread(target=self._pass_on, args=(caller, server, None), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, caller, stage), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, stage: _Stage | None) -> None:
        with contextlib.suppress(OSError):  # one of them is gone, and so is the other then
            while data := source.recv(65536):
                for part in stage.parts(data) if stage else [data]:
                    while self._frozen.is_set() and not self._ended.is_set():
                        time.sleep(0.01)
                    sink.sendall(part)
                    if stage and stage.reached == self._after:
                        self._do(sink)
        self._close(source)
        self._close(sink)

    def _do(self, caller: socket.socket) -> None:
        if self._rule == "freeze":
            self._frozen.set()
        elif self._rule in ("cut", "reset"):
            self._close(caller, reset=self._rule == "reset")

    @staticmethod
    def _close(sock: socket.socket, *, reset: bool = False) -> None:
        with contextlib.suppress(OSError):  # it is closed already, or its other end has gone
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                sock.shutdown(socket.SHUT_RDWR)
        sock.close()


class _Stage:
    """How far a server has come in its side of the handshake, read from its own bytes."""

    def __init__(self) -> None:
        self.reached = "start"
        self._rest = b""

    def parts(self, data: bytes) -> Iterator[bytes]:
        """The bytes as they may be passed on: whole lines and packets, so that a stage ends where a part ends."""
        self._rest += data
        while self.reached != "keys" and (size := self._whole()) is not None:
            part, self._rest = self._rest[:size], self._rest[size:]
            yield part
        if self.reached == "keys" and self._rest:
            part, self._rest = self._rest, b""
            yield part

    def _whole(self) -> int | None:
        """The size of the next whole line or packet; None when it is not all there."""
        if self.reached == "start":
            end = self._rest.find(b"\n")
            self.reached = "banner" if end >= 0 else "start"
            return end + 1 if end >= 0 else None
        if len(self._rest) < 6:
            return None
        size = 4 + int.from_bytes(self._rest[:4], "big")
        if len(self._rest) < size:
            return None
        self.reached = "keys" if self._rest[5] == NEWKEYS else "packets"
        return size


class FullHouse:
    """A port whose queue is full: the kernel answers no further caller, like a machine that is off."""

    def __init__(self) -> None:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0)
        self.port = self._listener.getsockname()[1]
        self._callers = []
        for _ in range(3):
            caller = socket.socket()
            caller.setblocking(False)
            caller.connect_ex(("127.0.0.1", self.port))
            self._callers.append(caller)

    def close(self) -> None:
        for each in (*self._callers, self._listener):
            each.close()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def until(holds: Callable[[], object], what: str) -> None:
    ends = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < ends, what
        time.sleep(0.02)
