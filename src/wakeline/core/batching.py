"""Which records may wait a moment for others, so that they go to the ledger in one push.

Machines of one stage answer, and end, within a moment of each other, and a push to a remote may take a second: who
comes while it is under way waits for it, and for one more. A record waits only as long as nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from wakeline.core.commands import Command, Send, Write
from wakeline.core.order import Outcome
from wakeline.core.rollout import Rollout

MOMENT_S = 0.1
LONGEST_S = 0.5


def waits_s(rollout: Rollout, commands: Sequence[Command], *, waited_s: float) -> float:
    """For how many seconds more like these may follow, `waited_s` after the first of them; 0 for what never waits.

    Orders, while others of the stage have not yet answered: a moment in all, for each machine waits for its own.
    Machines that passed, while others of it still run and nobody is sent after them: a moment after each, and no longer
    than LONGEST_S. What has failed, a claim, a receipt, an approval and an end never wait.
    """
    if any(not isinstance(each, (Write, Send)) for each in commands):
        return 0.0
    drafts = [each.draft for each in commands if isinstance(each, Write) and not each.may_wait]
    left = next((names for stage in rollout.walked if (names := _left(rollout, stage.machines))), [])
    kinds = {draft.kind for draft in drafts}
    if kinds == {"sent"} and any(name not in rollout.knocks and name not in rollout.held for name in left):
        return max(0.0, MOMENT_S - waited_s)
    passed = kinds == {"outcome"} and all(Outcome(draft.body["outcome"]).passed for draft in drafts)
    if passed and any(name in rollout.running for name in left):
        return max(0.0, min(MOMENT_S, LONGEST_S - waited_s))
    return 0.0


def _left(rollout: Rollout, machines: Sequence[str]) -> list[str]:
    return [name for name in machines if name not in rollout.results]
