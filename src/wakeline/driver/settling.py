"""Settles what is in doubt by asking the one who knows: the journal of the machine that ran it (law 4).

A claim without an outcome is closed without a person only when the machine itself says that its command never started,
or that it has ended by itself with all of its processes. Then nothing of it can still be at work, and the next rollout
asks `verify` before anything else: *has it* writes the receipt, *lacks it* claims anew. A command that was killed may
have left a statement running in the database: where the step has a `lock`, the database is asked for its session, and
without one, or while it is there, that is for a person (`wakeline resolve`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wakeline.core.lease import is_anothers
from wakeline.core.once import GONE, word_on
from wakeline.core.records import Draft
from wakeline.core.state import Claim, State
from wakeline.driver.looking import look, sessions
from wakeline.driver.progress import Notice, Tell
from wakeline.driver.project import Project


async def _word(project: Project, claim: Claim, said: Mapping[str, Any], *, tell: Tell) -> str:
    """What the machine says of a claim; of one that has ended, its database is asked too where that can be done."""
    rows, busy = said.get("claims"), bool(said.get("busy"))
    row = next((row for row in rows or [] if isinstance(row, dict) and row.get("claim") == claim.id), None)
    machine = next((each for each in project.file.fleet.machines if each.name == claim.machine), None)
    if row is None or machine is None or row.get("state") not in ("ended", "nobody-knows"):
        return word_on(claim.id, rows=rows, busy=busy)
    session = (await sessions(project, machine, [claim.id])).get(claim.id, "")
    if session and session != GONE:
        text = f"{claim.step}: claim {claim.id} has ended on {claim.machine}, and in the database: {session}"
        tell(Notice("waiting", claim.machine, text))
    return word_on(claim.id, rows=[{**row, "session": session}], busy=busy)


async def settle(project: Project, state: State, *, tell: Tell) -> State:
    """Close the claims that their machines can account for. Returns the state after that.

    The caller knows that no rollout is at work: the lease is free, or its holder is dead.
    """
    if not state.open_claims:
        return state
    seen = await look(project)
    words = {}
    for claim in state.open_claims:
        if claim.machine in seen:
            words[claim.id] = await _word(project, claim, seen[claim.machine].said, tell=tell)
    settled = {claim_id: how for claim_id, how in words.items() if how}
    if not settled:
        return state

    def decide(now: State) -> list[Draft]:
        if is_anothers(now.lease, state.lease):
            return []  # its holder lives, and hears of the claim itself
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
