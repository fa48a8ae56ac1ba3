"""Settles what is in doubt by asking the one who knows: the journal of the machine that ran it (law 4).

A claim without an outcome is closed without a person only when the machine itself says that its command never started,
or that it has ended by itself with all of its processes. Then nothing of it can still be at work, and the next rollout
asks `verify` before anything else: *has it* writes the receipt, *lacks it* claims anew. A command that was killed may
have left a statement running in the database: that is for a person (`wakeline resolve`).
"""

from __future__ import annotations

from wakeline.core.once import word_on
from wakeline.core.records import Draft
from wakeline.core.state import State
from wakeline.driver.looking import look
from wakeline.driver.progress import Notice, Tell
from wakeline.driver.project import Project


async def settle(project: Project, state: State, *, tell: Tell) -> State:
    """Close the claims that their machines can account for. Returns the state after that.

    The caller knows that no rollout is at work: the lease is free, or its holder is dead.
    """
    if not state.open_claims:
        return state
    seen = await look(project)
    words = {
        claim.id: word_on(claim.id, rows=seen[claim.machine].said.get("claims"))
        for claim in state.open_claims
        if claim.machine in seen
    }
    settled = {claim_id: how for claim_id, how in words.items() if how}
    if not settled:
        return state

    def decide(now: State) -> list[Draft]:
        open_now = {claim.id: claim for claim in now.open_claims}
        return [
            Draft("resolved", {"claim": each, "how": how, "why": f"the journal of {open_now[each].machine}"})
            for each, how in settled.items()
            if each in open_now
        ]

    after = await project.writer.write(decide)
    for claim in state.open_claims:
        if claim.id in settled:
            text = f"{claim.step}: its journal says of claim {claim.id}: {settled[claim.id]}; verify is asked next"
            tell(Notice("waiting", claim.machine, text))
    return after
