"""Asks machines for their host keys, once, for a person to compare. Nothing that deploys comes here.

What is found is no proof: whoever stands between us and the machine can answer. It is shown with its fingerprint, and
with what the user's own known_hosts says of it.
"""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

from wakeline.core.model import Machine
from wakeline.core.presence import Phase
from wakeline.edges import process
from wakeline.edges.transports import NotReached, library
from wakeline.edges.transports.way import address_of

_KINDS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512")
_KEYGEN_S = 10.0


@dataclasses.dataclass(frozen=True)
class HostKey:
    """A machine's host key. `known` says whether the user's own known_hosts has that very key for its address."""

    machine: str
    text: str
    fingerprint: str
    known: bool = False

    @property
    def line(self) -> str:
        """The line of known_hosts that pins it to the machine's name."""
        return f"{self.machine} {self.text}\n"


async def ask(machine: Machine, *, limit_s: float) -> HostKey:
    """The host key that a machine shows. Raises NotReached where it does not answer."""
    asyncssh = library.asyncssh()
    address = await address_of(machine, limit_s=limit_s)
    cause = "it showed no host key of a kind that we ask for"
    for kind in _KINDS:
        try:
            asked = asyncssh.get_server_host_key(address.host, address.port or (), server_host_key_algs=[kind])
            key = await asyncio.wait_for(asked, limit_s)
        except asyncssh.KeyExchangeFailed:
            continue  # it has none of this kind
        except (OSError, asyncio.TimeoutError, asyncssh.Error) as error:
            raise NotReached(Phase.TCP, str(error) or f"no answer within {limit_s:g} s") from error
        if key is not None:
            text = " ".join(key.export_public_key("openssh").decode("ascii").split()[:2])
            own = Path("~/.ssh/known_hosts").expanduser()
            known = await asyncio.to_thread(is_known, address.host, address.port, text, known_hosts=own)
            return HostKey(machine.name, text, key.get_fingerprint("sha256"), known)
    raise NotReached(Phase.HOST_KEY, cause)


def names(known_hosts: Path) -> frozenset[str]:
    """Whom a known_hosts file has a line for."""
    if not known_hosts.is_file():
        return frozenset()
    lines = known_hosts.read_text(encoding="utf-8", errors="replace").splitlines()
    firsts = (line.split()[0] for line in lines if line.strip() and not line.startswith("#"))
    return frozenset(name for first in firsts for name in first.split(","))


def is_known(host: str, port: int, text: str, *, known_hosts: Path) -> bool:
    """Whether a known_hosts file has that very key for an address. ssh-keygen looks names up, hashed ones too."""
    name = f"[{host}]:{port}" if port not in (0, 22) else host
    try:
        found = process.run(["ssh-keygen", "-F", name, "-f", str(known_hosts)], timeout_s=_KEYGEN_S)
    except (process.CommandMissing, process.CommandTimedOut):
        return False
    return any(line.endswith(text) or f"{text} " in line for line in found.out.decode("utf-8", "replace").splitlines())
