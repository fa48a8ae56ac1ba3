"""Which records may wait a moment for others, so that they go to the ledger in one push.

Machines of one stage answer, and end, within a moment of each other, and a push to a remote may take a second: who
comes while it is under way waits for it, and for one more. A record waits only as long as nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from wakeline.core.commands import Command, Send, Write
from wakeline.core.order import Outcome
from wakeline.core.rollout import Rollout


def may_wait(rollout: Rollout, commands: Sequence[Command]) -> bool:
    """Whether more like these commands may follow shortly: orders, while others of the stage have not yet answered; or
    machines that passed, while others of it still run and nobody is sent after them.

    What has failed, a claim, a receipt, an approval and an end never wait.
    """
    if any(not isinstance(each, (Write, Send)) for each in commands):
        return False
    drafts = [each.draft for each in commands if isinstance(each, Write) and not each.may_wait]
    left = next((names for stage in rollout.walked if (names := _left(rollout, stage.machines))), [])
    kinds = {draft.kind for draft in drafts}
    if kinds == {"sent"}:
        return any(name not in rollout.knocks and name not in rollout.held for name in left)
    if kinds == {"outcome"}:
        passed = all(Outcome(draft.body["outcome"]).passed for draft in drafts)
        return passed and any(name in rollout.running for name in left)
    return False


def _left(rollout: Rollout, machines: Sequence[str]) -> list[str]:
    return [name for name in machines if name not in rollout.results]
