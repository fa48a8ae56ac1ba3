"""The one door to other programs. Never a shell; always a time limit; always the whole process group."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

KEPT_BYTES_MAX = 8 * 1024 * 1024
_READ = 64 * 1024
_TIDIES_S = 2.0


class CommandMissing(OSError):
    """The program is not installed, or not where we looked."""


class CommandTimedOut(TimeoutError):
    """The program did not end within its limit and was ended, with everything that it had started."""


class CommandStopped(OSError):
    """The program was asked to end before it had, with everything that it had started, by one of `stop_fds`."""


class Finished(NamedTuple):
    """How a command ended. Output past what was to be kept of a stream is read, counted in `dropped`, and not kept."""

    argv: tuple[str, ...]
    code: int
    out: bytes
    err: bytes
    dropped: int = 0


def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: bytes | None = None,  # noqa: A002 - the field's word for it, as in subprocess
    kept_bytes_max: int = KEPT_BYTES_MAX,
    keep_fds: Sequence[int] = (),
    stop_fds: Sequence[int] = (),
) -> Finished:
    """Run a command to its end. Raises CommandMissing and CommandTimedOut; a non-zero exit is the caller's to judge.

    `keep_fds` are inherited, for a lock that must not be free before the command has ended. When one of `stop_fds` has
    something to read, the command is asked to end, has a moment to tidy up, and CommandStopped is raised.
    """
    try:
        child = subprocess.Popen(  # noqa: S603 - argv, never a shell
            list(argv),
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pass_fds=tuple(keep_fds),
        )
    except FileNotFoundError as error:
        if cwd is not None and not cwd.is_dir():
            raise
        raise CommandMissing(f"{argv[0]}: not found") from error
    with child:
        try:
            ends = time.monotonic() + timeout_s
            return _collect(child, tuple(argv), input, ends=ends, most=kept_bytes_max, stop_fds=stop_fds)
        except CommandStopped:
            _ask_to_end(child)
            raise
        except CommandTimedOut as error:
            raise CommandTimedOut(f"{argv[0]} did not end within {timeout_s:g} s") from error
        finally:
            if child.poll() is None:
                with contextlib.suppress(ProcessLookupError):  # it ended in this very moment
                    os.killpg(child.pid, signal.SIGKILL)


def _ask_to_end(child: subprocess.Popen[bytes]) -> None:
    """git takes its unfinished files away when it gets this signal; what does not heed it is ended by the caller.

    What it was just starting may have missed the signal, and would hold on to `keep_fds`: it is ended with it.
    """
    with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(child.pid, signal.SIGTERM)
        child.wait(timeout=_TIDIES_S)
        os.killpg(child.pid, signal.SIGKILL)


def _collect(
    child: subprocess.Popen[bytes],
    argv: tuple[str, ...],
    data: bytes | None,
    *,
    ends: float,
    most: int,
    stop_fds: Sequence[int],
) -> Finished:
    """Feed input and read both outputs until they end. Memory stays bounded whatever the command prints."""
    kept = {"out": bytearray(), "err": bytearray()}
    dropped = 0
    rest = memoryview(data or b"")
    with selectors.DefaultSelector() as selector:
        for stream, name in ((child.stdout, "out"), (child.stderr, "err")):
            if stream is not None:
                selector.register(stream, selectors.EVENT_READ, name)
        if child.stdin is not None:
            os.set_blocking(child.stdin.fileno(), False)
            selector.register(child.stdin, selectors.EVENT_WRITE, "in")
        for fd in stop_fds:
            selector.register(fd, selectors.EVENT_READ, "stop")
        while len(selector.get_map()) > len(stop_fds):
            if time.monotonic() >= ends:
                raise CommandTimedOut
            for key, _ in selector.select(ends - time.monotonic()):
                if key.data == "stop":
                    raise CommandStopped(f"{argv[0]} was asked to end")
                if key.data == "in":
                    rest = _feed(key.fd, rest)
                    over = not rest
                else:
                    chunk = os.read(key.fd, _READ)
                    room = most - len(kept[key.data])
                    kept[key.data] += chunk[:room]
                    dropped += max(0, len(chunk) - room)
                    over = not chunk
                if over:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()  # type: ignore[union-attr]
    try:
        code = child.wait(timeout=max(0.0, ends - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise CommandTimedOut from error
    return Finished(argv, code, bytes(kept["out"]), bytes(kept["err"]), dropped)


def _feed(fd: int, rest: memoryview) -> memoryview:
    try:
        return rest[os.write(fd, rest[:_READ]) :]
    except BrokenPipeError:
        return rest[:0]  # it wants no more; its exit code says whether that is fine
