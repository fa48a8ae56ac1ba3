"""The way to a machine's SSH port: its address, its name, TCP. Each is a phase of its own, told by our own hands.

asyncssh would do all three, and report them in one class of error with what comes after them.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import os
import shlex
import socket
from collections.abc import Coroutine
from typing import Any

from wakeline.core.model import Machine
from wakeline.core.presence import Phase
from wakeline.edges.transports import NotReached, kill

QUIET_S = 1.5  # a first packet that was lost is sent again after one (RFC 6298, 2.1); its answer has half a second
_AGAIN_S = 1.0
_ASKED_S = 30.0
_ENDS_S = 1.0
_SILENCE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.ETIMEDOUT)


@dataclasses.dataclass(frozen=True)
class Address:
    """Where to knock. An empty user and port 0 are left to the user's ~/.ssh/config."""

    host: str
    user: str = ""
    port: int = 0


def parse(text: str) -> Address:
    """Split user@host:port; an IPv6 address with a port stands in brackets."""
    user, _, rest = text.rpartition("@")
    host, colon, port = rest.rpartition(":")
    if colon and port.isdigit() and (host.count(":") == 0 or host.startswith("[")):
        return Address(host.strip("[]"), user, int(port))
    return Address(rest.strip("[]"), user)


async def address_of(machine: Machine, *, limit_s: float) -> Address:
    """The address of a machine; `cmd:…` is asked for it anew each time. Raises NotReached."""
    text = machine.address
    if text.startswith("cmd:"):
        text = await _ask_for_address(text[len("cmd:") :], limit_s=limit_s)
    return parse(text)


async def _ask_for_address(command: str, *, limit_s: float) -> str:
    pipe, waits_s = asyncio.subprocess.PIPE, max(limit_s, _ASKED_S)
    child = None
    try:
        child = await asyncio.create_subprocess_exec(*shlex.split(command), stdout=pipe, stderr=pipe)
        out, err = await asyncio.wait_for(child.communicate(), waits_s)
    except (OSError, ValueError, asyncio.TimeoutError) as error:
        why = str(error) or f"no answer within {waits_s:g} s"
        raise NotReached(Phase.ADDRESS, f"`{command}` did not say an address: {why}") from error
    finally:
        if child is not None:
            await kill(child, within_s=_ENDS_S)
    words = out.decode("utf-8", "replace").split()
    if child.returncode or len(words) != 1:
        said = err.decode("utf-8", "replace").strip()[-200:] or "it printed no single word"
        raise NotReached(Phase.ADDRESS, f"`{command}` exit {child.returncode}: {said}")
    return words[0]


async def open_tcp(
    host: str,
    port: int,
    *,
    family: int = socket.AF_UNSPEC,
    limit_s: float,
    enough: asyncio.Event | None = None,
) -> socket.socket:
    """Name and TCP, in `limit_s` each. Raises NotReached. Every address of a name is tried; refused is asked again.

    When there has been `enough`, silence is waited for no longer than QUIET_S. What has answered is never hurried.
    """
    loop = asyncio.get_running_loop()
    try:
        lookup = loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        infos = await asyncio.wait_for(lookup, limit_s)
    except asyncio.TimeoutError as error:
        raise NotReached(Phase.NAME, f"the name service did not answer for {host} within {limit_s:g} s") from error
    except (OSError, UnicodeError) as error:
        raise NotReached(Phase.NAME, f"the name {host} is not known: {error}") from error
    try:
        return await _unless(enough, _first_that_answers(infos, limit_s=limit_s))
    except ConnectionRefusedError:
        await asyncio.sleep(min(_AGAIN_S, limit_s))  # it may be booting
    except _Enough as error:
        raise NotReached(Phase.TCP, f"{host} port {port} did not answer, and nobody else is waited for") from error
    except (OSError, asyncio.TimeoutError) as error:
        raise _no_tcp(error, host, port, limit_s=limit_s) from error
    try:
        return await _first_that_answers(infos, limit_s=limit_s)
    except (OSError, asyncio.TimeoutError) as error:
        raise _no_tcp(error, host, port, limit_s=limit_s) from error


class _Enough(Exception):
    """Nobody else is waited for."""


async def _unless(enough: asyncio.Event | None, answering: Coroutine[Any, Any, socket.socket]) -> socket.socket:
    """What answers, or _Enough when that is said and QUIET_S have passed."""
    if enough is None:
        return await answering
    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(answering), asyncio.create_task(_quiet(enough))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            raise _Enough
        found: socket.socket = tasks[0].result()
        return found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _quiet(enough: asyncio.Event) -> None:
    await asyncio.sleep(QUIET_S)
    await enough.wait()


async def _first_that_answers(infos: list[Any], *, limit_s: float) -> socket.socket:
    """A name may have an address of either family, and only one of them may lead anywhere. Raises the last error."""
    loop = asyncio.get_running_loop()
    problem: BaseException = OSError("the name has no address")
    for family, kind, protocol, _, target in infos:
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        try:
            await asyncio.wait_for(loop.sock_connect(sock, target), max(limit_s / len(infos), min(1.0, limit_s)))
        except BaseException as error:
            sock.close()
            if not isinstance(error, (OSError, asyncio.TimeoutError)):
                raise
            problem = error
        else:
            return sock
    raise problem


def _no_tcp(error: BaseException, host: str, port: int, *, limit_s: float) -> NotReached:
    where = f"{host} port {port}"
    if isinstance(error, ConnectionRefusedError):
        return NotReached(Phase.TCP, f"{where} refuses connections")
    if isinstance(error, asyncio.TimeoutError):
        return NotReached(Phase.TCP, f"{where} did not answer within {limit_s:g} s")
    words = f"{where}: {os.strerror(number) if (number := getattr(error, 'errno', None)) else error}"
    if isinstance(error, ConnectionResetError):
        return NotReached(Phase.BANNER, words, may_pass=True)  # it was open for a moment: something is there
    return NotReached(Phase.TCP if number in _SILENCE else Phase.ADDRESS, words)
