"""A server that is not the machine: nothing is said to it, and it is never taken for sleep."""

from __future__ import annotations

import asyncio

import asyncssh
import pytest

from wakeline.core.model import Machine, Presence
from wakeline.core.presence import Answer, Phase, judge
from wakeline.edges.transports import NotReached
from wakeline.edges.transports.ssh import SshTransport


class Impostor(asyncssh.SSHServer):
    """Lets everybody in, and counts who tries."""

    asked = 0

    def begin_auth(self, username: str) -> bool:
        Impostor.asked += 1
        return False


async def knock(folder, known: str) -> NotReached:
    server = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=Impostor, server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")]
    )
    try:
        place = folder / "known_hosts"
        place.write_text(known)
        config = folder / "config"
        config.write_text("")
        machine = Machine("uat", f"deploy@127.0.0.1:{server.sockets[0].getsockname()[1]}", Presence.ON_DEMAND)
        with pytest.raises(NotReached) as caught:
            await SshTransport(known_hosts=str(place), config=str(config)).connect(machine, limit_s=20)
        return caught.value
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("pinned", [True, False], ids=["another key is pinned", "no key is pinned"])
def test_a_host_key_that_is_not_the_pinned_one_is_refused_before_anything_is_said(tmp_path, pinned):
    Impostor.asked = 0
    key = asyncssh.generate_private_key("ssh-ed25519").export_public_key("openssh").decode()
    refused = asyncio.run(knock(tmp_path, f"uat {key}" if pinned else "# nobody yet\n"))
    assert refused.phase is Phase.HOST_KEY
    assert "not in known_hosts" in refused.message
    assert Impostor.asked == 0
    assert judge(refused.phase, Presence.ON_DEMAND) is Answer.REFUSED
