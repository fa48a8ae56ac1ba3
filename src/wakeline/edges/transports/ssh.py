"""SSH by asyncssh, in phases, so that a machine that is off and a machine that refuses us are never mixed up.

Phases: address, name, jump host, TCP, banner, host key, login. The user's ~/.ssh/config is read by asyncssh itself. The
host key is pinned to the machine's *name* where known_hosts has that name, because a stopped cloud machine comes back
with another address, and its old address may by then be somebody else's. Never trust-on-first-use: a key that is not in
known_hosts is refused.

Seen with asyncssh 2.24: a lost connection is silent (a process then "ends" with no exit status), a changed and an
unknown host key are one class of error, and a jump host is reached with the default known_hosts, no limit and no
keep-alive. So jump hosts are reached by us, hop by hop, like the machine itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import shlex
import socket
import time
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from wakeline.core.model import Machine
from wakeline.core.presence import Phase
from wakeline.edges.transports import (
    HERE,
    MISSING,
    Conversation,
    Lost,
    NotReached,
    exchange,
    library,
    place,
    start_or_say,
    way,
)
from wakeline.edges.transports.spoken import WINDOW_BYTES, Spoken
from wakeline.edges.transports.trust import Trusted

if TYPE_CHECKING:
    import asyncssh

_AGAIN_S = 1.0
_KEEPALIVES_LOST_MAX = 3
_OPENING_S = 60.0
_CLOSING_S = 5.0
_HOPS_MAX = 8
_HANDSHAKES_AT_ONCE = 32  # each is 20 ms of ours: of five hundred at once the last would be late by our own doing
_PATIENCE = 2  # what has answered is no sleeper, and is given more time than silence is
_LOGIN_S = (
    30.0  # sshd gives it two minutes (LoginGraceTime in sshd_config(5)); on a busy host it starts a few processes
)
_HOME = "/var/lib/wakeline"


@dataclasses.dataclass(frozen=True)
class SshTransport:
    """Reaches machines by SSH. `config` and `known_hosts` are files; empty means the user's own.

    Three keep-alives without an answer are a lost contact. `booting_s` is how long a door that closes is tried again.
    `key_config` are settings of ours that offer one more key; the user's own are read after them.
    """

    known_hosts: str = ""
    config: str = ""
    home: str = _HOME
    keepalive_s: float = 5.0
    booting_s: float = 20.0
    key_config: str = ""

    async def connect(self, machine: Machine, *, limit_s: float, enough: asyncio.Event | None = None) -> SshConnection:
        """See Transport.connect."""
        address = await way.address_of(machine, limit_s=limit_s)
        ends = time.monotonic() + self.booting_s
        while True:
            try:
                opened = await self._open(address, name=machine.name, limit_s=limit_s, enough=enough)
                return SshConnection(opened, home=self.home)
            except NotReached as error:
                # A machine that boots lets nobody in but root, and says so by closing: pam_nologin(8). And sshd drops
                # new connections by chance when many have not logged in yet: MaxStartups in sshd_config(5).
                if not error.may_pass or time.monotonic() >= ends:
                    raise
                await asyncio.sleep(_AGAIN_S)

    async def _open(
        self,
        address: way.Address,
        *,
        name: str,
        limit_s: float,
        via: Any = None,
        hops: int = 0,
        enough: asyncio.Event | None = None,
    ) -> asyncssh.SSHClientConnection:
        """A connection to a machine or a jump host, through `via` or whatever ~/.ssh/config says. Raises NotReached."""
        library.asyncssh()
        import asyncssh  # noqa: PLC0415 - imported by the line above, which knows how to do that faster

        seen = _Seen()
        options = self._options(asyncssh, address, seen=seen)
        path = self._trusted(options, address, name=name)
        path["tunnel"] = None  # or asyncssh opens the jump hosts by itself, also beside a socket
        jump = via or await self._jump(options, address, limit_s=limit_s, hops=hops)
        shake_s = limit_s * (_PATIENCE + bool(jump))
        try:
            if jump is not None:
                path["tunnel"] = _Through(jump, asyncssh, limit_s=limit_s)
            elif not options.proxy_command:
                host, port = options.host or address.host, options.port or 22
                path["sock"] = await way.open_tcp(host, port, family=options.family, limit_s=limit_s, enough=enough)
            async with _turn():
                connecting = asyncssh.connect(options.host or address.host, options=options, **path)
                connection = await _opened(asyncio.ensure_future(connecting), seen=seen, limit_s=shake_s)
        except BaseException as error:
            if "sock" in path:
                path["sock"].close()
            if jump is not None:
                await _let_go(jump)
            reached = _not_reached(asyncssh, error, name, seen=seen, limit_s=shake_s)
            if reached is None:
                raise
            raise reached from error
        if jump is not None:
            connection.set_tunnel(jump)  # closed together with what goes through it
        return connection

    async def _jump(self, options: Any, address: way.Address, *, limit_s: float, hops: int) -> Any:
        """The connection to the last of the jump hosts that ~/.ssh/config names, or None. Raises NotReached."""
        wanted = options.tunnel if isinstance(options.tunnel, str) else ""
        hosts = [way.parse(each.strip()) for each in wanted.split(",") if each.strip()]
        if hosts and hosts[-1].host == address.host:
            return None  # `Host *` with a ProxyJump means the jump host as well; ssh(1) sees that loop too
        if hops + len(hosts) > _HOPS_MAX:
            raise NotReached(
                Phase.JUMP, f"more than {_HOPS_MAX} jump hosts in a row: does ~/.ssh/config go in circles?"
            )
        jump = None
        for host in hosts:
            try:
                jump = await self._open(host, name=host.host, limit_s=limit_s, via=jump, hops=hops + len(hosts))
            except NotReached as error:
                where = f"{host.host}: {error.cause}" if error.phase is Phase.JUMP else f"{host.host}, {error.message}"
                raise NotReached(Phase.JUMP, where, hint=error.hint) from error
        return jump

    def _options(self, asyncssh: Any, address: way.Address, *, seen: _Seen) -> Any:
        given: dict[str, Any] = {"username": address.user} if address.user else {}
        if address.port:
            given["port"] = address.port
        own = Path(self.config or "~/.ssh/config").expanduser()
        config = [self.key_config, *([str(own)] if self.config or own.is_file() else [])]
        if not self.key_config:
            config = [str(own)] if self.config else []
        settings = {
            "host": address.host,
            "config": config or (),
            "client_factory": seen.client,
            "keepalive_interval": self.keepalive_s,
            "keepalive_count_max": _KEEPALIVES_LOST_MAX,
            "login_timeout": 0,
            "agent_forwarding": False,  # whatever the settings say: a machine that was taken over would have their keys
            **given,
        }
        try:
            return asyncssh.SSHClientConnectionOptions(**settings)
        except (OSError, ValueError, asyncssh.Error) as error:
            raise NotReached(Phase.LOGIN, f"the SSH settings cannot be used: {error}") from error

    def _trusted(self, options: Any, address: way.Address, *, name: str) -> dict[str, Any]:
        """Whose host key is asked for, and which are good."""
        files = [self.known_hosts] if self.known_hosts else list(options.known_hosts or ["~/.ssh/known_hosts"])
        trusted = Trusted.read([Path(each).expanduser() for each in files], host=address.host)
        alias = trusted.alias(name, options.host or address.host, options.port)
        return {"known_hosts": trusted.by_name, "host_key_alias": alias} if alias else {"known_hosts": trusted.hosts}


class _Seen:
    """How far a connection came, for the phase of an error that has none."""

    def __init__(self) -> None:
        self._connection: Any = None

    def client(self) -> asyncssh.SSHClient:
        """An asyncssh client that notes its connection."""
        import asyncssh  # noqa: PLC0415 - imported already by whoever connects

        seen = self

        class Client(asyncssh.SSHClient):
            def connection_made(self, conn: Any) -> None:
                seen._connection = conn

            def debug_msg_received(self, *_said: Any) -> None:
                _acknowledge_at_once(seen._connection)

        return Client()

    @property
    def phase(self) -> Phase:
        """The phase that was under way."""
        if self._connection is None or not self._connection.get_extra_info("server_version"):
            return Phase.BANNER
        return Phase.LOGIN if self._connection.get_server_host_key() else Phase.HOST_KEY


def _acknowledge_at_once(connection: Any) -> None:
    """Tell the server's kernel that its words have come, without the 40 ms that ours waits for something to send along.

    After a login sshd says something that nobody asked for, and its answer to our first channel is held back until that
    is acknowledged: Nagle's algorithm there, delayed acknowledgements here (RFC 1122, 4.2.3.2 and 4.2.3.4). From login
    to the start of a command that was 48 ms, and is 8. It holds for what has come already: TCP_QUICKACK in tcp(7).
    """
    reached = connection.get_extra_info("socket")
    if reached is not None and reached.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_QUICKACK"):
        with contextlib.suppress(OSError):  # it is closed by now
            reached.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class _Through:
    """A jump host as asyncssh wants a tunnel, with a limit, and with a phase for what it cannot do."""

    def __init__(self, jump: Any, asyncssh: Any, *, limit_s: float) -> None:
        self._jump = jump
        self._asyncssh = asyncssh
        self._limit_s = limit_s

    async def create_connection(self, session_factory: Any, host: str, port: int) -> Any:
        """Let the jump host open TCP to the machine. Raises NotReached.

        That it cannot connect is the machine's silence, and may mean asleep; a name that it does not know has the same
        code (RFC 4254, 5.1), so its words are shown. That it will not is a matter of its settings.
        """
        where = f"{host} port {port}, asked for by the jump host"
        try:
            return await asyncio.wait_for(self._jump.create_connection(session_factory, host, port), self._limit_s)
        except self._asyncssh.ChannelOpenError as error:
            silent = error.code == self._asyncssh.OPEN_CONNECT_FAILED
            raise NotReached(Phase.TCP if silent else Phase.JUMP, f"{where}: {error.reason}") from error
        except asyncio.TimeoutError as error:
            raise NotReached(Phase.TCP, f"{where}, did not answer within {self._limit_s:g} s") from error
        except (self._asyncssh.Error, OSError) as error:
            raise NotReached(Phase.JUMP, f"the contact to the jump host was lost: {error}") from error


def _not_reached(asyncssh: Any, error: BaseException, name: str, *, seen: _Seen, limit_s: float) -> NotReached | None:
    """Which phase an error belongs to; None for one that is not about reaching."""
    text = str(error) or type(error).__name__
    if isinstance(error, NotReached):
        return error
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        hint = f"compare the key on the machine's console, then change the line of {name} in known_hosts"
        return NotReached(Phase.HOST_KEY, f"{name} showed a key that is not in known_hosts", hint=hint)
    if isinstance(error, asyncssh.PermissionDenied):
        return NotReached(Phase.LOGIN, f"{name} refuses our key: {text}", hint="is the key in authorized_keys?")
    if isinstance(error, asyncssh.KeyExchangeFailed):
        return NotReached(Phase.HOST_KEY, f"{name} and we have no algorithm in common: {text}")
    if isinstance(error, (asyncio.TimeoutError, asyncssh.Error, OSError)):
        waited_s = max(limit_s, _LOGIN_S) if seen.phase is Phase.LOGIN else limit_s
        cause = f"no answer within {waited_s:g} s" if isinstance(error, asyncio.TimeoutError) else text
        hint = "it closed before the login was complete: is it still booting, or is the account locked?"
        return NotReached(seen.phase, cause, hint=hint, may_pass=True)
    return None


async def _opened(
    connecting: asyncio.Future[asyncssh.SSHClientConnection], *, seen: _Seen, limit_s: float
) -> asyncssh.SSHClientConnection:
    """The connection. A server that has shown its banner and its host key in time is given longer for the login."""
    try:
        await asyncio.wait({connecting}, timeout=limit_s)
        if not connecting.done() and seen.phase is Phase.LOGIN:
            await asyncio.wait({connecting}, timeout=max(0.0, _LOGIN_S - limit_s))
        if not connecting.done():
            raise asyncio.TimeoutError
        return connecting.result()
    finally:
        connecting.cancel()
        await asyncio.wait({connecting})


_turns: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = weakref.WeakKeyDictionary()


def _turn() -> asyncio.Semaphore:
    """A place among those who shake hands; a machine's limit begins with it. A jump host has given its own back."""
    return _turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(_HANDSHAKES_AT_ONCE))


async def _let_go(connection: Any) -> None:
    """Close a connection, in good order if the other side takes part."""
    connection.close()
    try:
        await asyncio.wait_for(connection.wait_closed(), _CLOSING_S)
    except asyncio.TimeoutError:
        connection.abort()


class SshConnection:
    """One SSH connection; the agent and small commands each get a channel of their own on it."""

    def __init__(self, connection: asyncssh.SSHClientConnection, *, home: str) -> None:
        self._connection = connection
        self._home = home
        self._errors: type[Exception] = library.asyncssh().Error

    async def converse(self, *arguments: str, agent: bytes, digest: str, silence_s: float) -> Conversation:
        """See Connection.converse. One question when the agent is there, and three when it is sent."""
        command = start_or_say(self._home, digest, *arguments)
        spoken, word = await self._start(command)
        if word == MISSING:
            await place(self, agent, digest=digest, home=self._home)
            spoken, word = await self._start(command)
        if word != HERE:
            said = word.decode("utf-8", "replace").strip()[:80]
            hint = "let the login shell's own files print nothing for a command"
            raise NotReached(Phase.AGENT, f"the first word there is not ours: {said!r}", hint=hint)

        async def exit_of() -> int | None:
            async with self._no_longer_there():
                await asyncio.wait_for(spoken.channel.wait_closed(), silence_s)
            code: int | None = spoken.channel.get_exit_status()
            return code

        return Conversation(spoken.reader, spoken, silence_s=silence_s, lost=(self._errors,), exit_of=exit_of)

    async def _start(self, command: str) -> tuple[Spoken, bytes]:
        """What a command says, and the first line of it."""
        async with self._no_longer_there():
            opened = self._connection.create_session(
                Spoken,  # type: ignore[arg-type] # asyncssh is imported late, so it is a session by what it can do
                command,
                encoding=None,
                window=WINDOW_BYTES,
            )
            channel, session = await asyncio.wait_for(opened, _OPENING_S)
            spoken = cast(Spoken, session)
            word = await asyncio.wait_for(_first_line(spoken.reader), _OPENING_S)
            if not word:
                await asyncio.wait_for(channel.wait_closed(), _OPENING_S)
        if not word and channel.get_exit_status() is None:
            raise Lost("the contact was lost before the agent was started")
        return spoken, word

    async def look(self, *arguments: str) -> str | None:
        """See Connection.look."""
        file = shlex.quote(f"{self._home}/agent.pyz")
        command = shlex.join(["python3", "-I", "-S", "-B", f"{self._home}/agent.pyz", "--home", self._home, *arguments])
        code, out, _ = await self.run(f"test -e {file} || exit 99; exec {command}")
        return out.decode("utf-8", "replace") if code == 0 else None

    async def run(self, command: str, *, feed: bytes = b"", limit_s: float = 60.0) -> tuple[int, bytes, bytes]:
        """See Connection.run."""
        async with self._no_longer_there():
            process = await asyncio.wait_for(self._connection.create_process(command, encoding=None), _OPENING_S)
            try:
                async with asyncio.timeout(limit_s):
                    out, err = await exchange(process.stdout, process.stderr, process.stdin, feed=feed)
                    await process.wait_closed()
            finally:
                process.close()
        return process.exit_status if process.exit_status is not None else -1, out, err

    @contextlib.asynccontextmanager
    async def _no_longer_there(self) -> AsyncIterator[None]:
        try:
            yield
        except (asyncio.TimeoutError, OSError, self._errors) as error:
            raise Lost(f"the contact was lost: {error or 'no answer'}") from error

    async def close(self) -> None:
        """See Connection.close."""
        await _let_go(self._connection)


async def _first_line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except ValueError:  # more than a line may have: its beginning is gone, and says nothing anyway
        return b"something endless"
