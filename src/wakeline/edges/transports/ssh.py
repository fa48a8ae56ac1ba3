"""SSH by asyncssh, in phases, so that a machine that is off and a machine that refuses us are never mixed up.

Phases: address, name, jump host, TCP, banner, host key, login. The user's ~/.ssh/config is read by asyncssh itself. The
host key is pinned to the machine's *name*, because a stopped cloud machine comes back with another address. Never
trust-on-first-use: a key that is not in known_hosts is refused.

Seen with asyncssh 2.24: a lost connection is silent (a process then "ends" with no exit status), and a changed and an
unknown host key are one class of error.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shlex
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wakeline.core.model import Machine
from wakeline.core.presence import Phase
from wakeline.edges.transports import Conversation, Lost, NotReached, place

if TYPE_CHECKING:
    import asyncssh

_REFUSED_AGAIN_S = 1.0
_BOOTING_S = 20.0
_KEEPALIVE_S = 5
_HOME = "/var/lib/wakeline"


@dataclasses.dataclass(frozen=True)
class SshTransport:
    """Reaches machines by SSH. `config` and `known_hosts` are files; empty means the user's own."""

    known_hosts: str = ""
    config: str = ""
    home: str = _HOME

    async def connect(self, machine: Machine, *, limit_s: float) -> SshConnection:
        """See Transport.connect."""
        import asyncssh  # noqa: PLC0415 - 0.2 s, paid only when a machine is reached by SSH

        address = await address_of(machine, limit_s=limit_s)
        options = self._options(asyncssh, machine, address, limit_s=limit_s)
        ends = time.monotonic() + _BOOTING_S
        while True:
            try:
                connection = await self._log_in(asyncssh, machine, address, options, limit_s=limit_s)
            except NotReached as error:
                # A machine that boots lets nobody in but root, and says so by closing: pam_nologin(8). And sshd drops
                # new connections by chance when many have not logged in yet: MaxStartups in sshd_config(5).
                if error.phase is not Phase.BANNER or time.monotonic() >= ends:
                    raise
                await asyncio.sleep(_REFUSED_AGAIN_S)
            else:
                return SshConnection(connection, home=self.home)

    async def _log_in(
        self, asyncssh: Any, machine: Machine, address: Address, options: Any, *, limit_s: float
    ) -> asyncssh.SSHClientConnection:
        jump = getattr(options, "tunnel", None)
        sock = None if jump else await _open_tcp(options.host or address.host, options.port or 22, limit_s=limit_s)
        try:
            return await asyncio.wait_for(
                asyncssh.connect(options.host or address.host, options=options, **({"sock": sock} if sock else {})),
                limit_s,
            )
        except BaseException as error:
            if sock is not None:
                sock.close()
            reached = _not_reached(asyncssh, error, machine, jump=bool(jump), limit_s=limit_s)
            if reached is None:
                raise
            raise reached from error

    def _options(self, asyncssh: Any, machine: Machine, address: Address, *, limit_s: float) -> Any:
        known = Path(self.known_hosts).expanduser() if self.known_hosts else Path("~/.ssh/known_hosts").expanduser()
        if not known.is_file():
            hint = f"put the machine's host key there: ssh-keyscan {address.host}, compare it, then add it"
            raise NotReached(Phase.HOST_KEY, f"there is no known_hosts file at {known}", hint=hint)
        given: dict[str, Any] = {"username": address.user} if address.user else {}
        if address.port:
            given["port"] = address.port
        config = [str(Path(self.config).expanduser())] if self.config else ()
        try:
            return asyncssh.SSHClientConnectionOptions(
                host=address.host,
                config=config or (),
                known_hosts=str(known),
                host_key_alias=machine.name if _names(known, machine.name) else None,
                keepalive_interval=_KEEPALIVE_S,
                keepalive_count_max=3,
                connect_timeout=limit_s,
                login_timeout=limit_s,
                **given,
            )
        except (OSError, ValueError, asyncssh.Error) as error:
            raise NotReached(Phase.LOGIN, f"the SSH settings cannot be used: {error}") from error


@dataclasses.dataclass(frozen=True)
class Address:
    host: str
    user: str = ""
    port: int = 0


async def address_of(machine: Machine, *, limit_s: float) -> Address:
    """Split user@host:port; `cmd:…` is asked for it anew each time."""
    text = machine.address
    if text.startswith("cmd:"):
        text = await _ask_for_address(text[len("cmd:") :], limit_s=limit_s)
    user, _, rest = text.rpartition("@")
    host, colon, port = rest.rpartition(":")
    if colon and port.isdigit() and host.count(":") == 0:
        return Address(host, user, int(port))
    return Address(rest.strip("[]"), user)


async def _ask_for_address(command: str, *, limit_s: float) -> str:
    pipe = asyncio.subprocess.PIPE
    try:
        child = await asyncio.create_subprocess_exec(*shlex.split(command), stdout=pipe, stderr=pipe)
        out, err = await asyncio.wait_for(child.communicate(), max(limit_s, 30))
    except (OSError, ValueError, asyncio.TimeoutError) as error:
        raise NotReached(Phase.ADDRESS, f"`{command}` did not say an address: {error or 'no answer'}") from error
    words = out.decode("utf-8", "replace").split()
    if child.returncode or len(words) != 1:
        said = err.decode("utf-8", "replace").strip()[-200:] or "it printed no single word"
        raise NotReached(Phase.ADDRESS, f"`{command}` exit {child.returncode}: {said}")
    return words[0]


async def _open_tcp(host: str, port: int, *, limit_s: float) -> socket.socket:
    """Name and TCP by ourselves, so that their errors are told from SSH's. Refused is asked once more."""
    loop = asyncio.get_running_loop()
    try:
        infos = await asyncio.wait_for(loop.getaddrinfo(host, port, type=socket.SOCK_STREAM), limit_s)
    except (OSError, asyncio.TimeoutError, UnicodeError) as error:
        raise NotReached(Phase.NAME, f"the name {host} is not known: {error}") from error
    family, kind, protocol, _, target = infos[0]
    for again in (True, False):
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        try:
            await asyncio.wait_for(loop.sock_connect(sock, target), limit_s)
        except ConnectionRefusedError as error:
            sock.close()
            if again:
                await asyncio.sleep(min(_REFUSED_AGAIN_S, limit_s))  # it may be booting
                continue
            raise NotReached(Phase.TCP, f"{host} port {port} refuses connections") from error
        except asyncio.TimeoutError as error:
            sock.close()
            raise NotReached(Phase.TCP, f"{host} port {port} did not answer within {limit_s:g} s") from error
        except OSError as error:
            sock.close()
            raise NotReached(Phase.TCP, f"{host} port {port}: {error.strerror or error}") from error
        else:
            return sock
    raise AssertionError("the loop returns or raises")


def _not_reached(
    asyncssh: Any, error: BaseException, machine: Machine, *, jump: bool, limit_s: float
) -> NotReached | None:
    """Which phase an error of asyncssh belongs to; None for one that is not about reaching."""
    text = str(error) or type(error).__name__
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        hint = f"compare the key on the machine's console, then change the line of {machine.name} in known_hosts"
        return NotReached(Phase.HOST_KEY, f"{machine.name} showed a key that is not in known_hosts", hint=hint)
    if isinstance(error, asyncssh.PermissionDenied):
        return NotReached(Phase.LOGIN, f"{machine.name} refuses our key: {text}", hint="is the key in authorized_keys?")
    if isinstance(error, asyncssh.ChannelOpenError):
        return NotReached(Phase.JUMP, f"the jump host cannot reach {machine.name}: {text}")
    if isinstance(error, (asyncio.TimeoutError, asyncssh.Error, OSError)):
        cause = f"no answer within {limit_s:g} s" if isinstance(error, asyncio.TimeoutError) else text
        hint = "it closed before the login was complete: is it still booting, or is the account locked?"
        return NotReached(Phase.JUMP if jump else Phase.BANNER, cause, hint=hint)
    return None


def _names(known_hosts: Path, name: str) -> bool:
    """Whether known_hosts has a line for the machine's name; else its address is looked up, as ssh does."""
    lines = known_hosts.read_text(encoding="utf-8", errors="replace").splitlines()
    return any(name in line.split()[0].split(",") for line in lines if line.strip() and not line.startswith("#"))


class SshConnection:
    """One SSH connection; the agent and small commands each get a channel of their own on it."""

    def __init__(self, connection: asyncssh.SSHClientConnection, *, home: str) -> None:
        import asyncssh  # noqa: PLC0415 - imported already by whoever made the connection

        self._connection = connection
        self._home = home
        self._errors: type[Exception] = asyncssh.Error

    async def converse(self, *arguments: str, agent: bytes, digest: str, silence_s: float) -> Conversation:
        """See Connection.converse. One round trip when the agent is there, one more to send it."""
        await place(self, agent, digest=digest, home=self._home)
        file = f"{self._home}/agents/{digest}"
        command = shlex.join(["python3", file, "--home", self._home, *arguments])
        async with self._no_longer_there():
            process = await self._connection.create_process(command, encoding=None)

        async def exit_of() -> int | None:
            async with self._no_longer_there():
                await asyncio.wait_for(process.wait_closed(), silence_s)
            return process.exit_status

        return Conversation(process.stdout, process.stdin, silence_s=silence_s, lost=(self._errors,), exit_of=exit_of)

    async def look(self, *arguments: str) -> str | None:
        """See Connection.look."""
        file = shlex.quote(f"{self._home}/agent.pyz")
        command = shlex.join(["python3", f"{self._home}/agent.pyz", "--home", self._home, *arguments])
        code, out, _ = await self.run(f"test -e {file} || exit 99; PYTHONDONTWRITEBYTECODE=1 exec {command}")
        return out.decode("utf-8", "replace") if code == 0 else None

    async def run(self, command: str, *, feed: bytes = b"", limit_s: float = 60.0) -> tuple[int, bytes, bytes]:
        """See Connection.run."""
        async with self._no_longer_there():
            done = await asyncio.wait_for(self._connection.run(command, input=feed, encoding=None), limit_s)
        code = done.exit_status if done.exit_status is not None else -1
        return code, _bytes(done.stdout), _bytes(done.stderr)

    @contextlib.asynccontextmanager
    async def _no_longer_there(self) -> AsyncIterator[None]:
        try:
            yield
        except (asyncio.TimeoutError, OSError, self._errors) as error:
            raise Lost(f"the contact was lost: {error or 'no answer'}") from error

    async def close(self) -> None:
        """See Connection.close."""
        self._connection.close()
        await self._connection.wait_closed()


def _bytes(output: bytes | str | None) -> bytes:
    return output.encode() if isinstance(output, str) else bytes(output or b"")
