"""Once-steps, decided: may one be asked for, may one start, how did it end, and who knows what of an open claim.

Laws that live here:

- Law 4: a command starts only under a claim that never started one before, after the database was asked once more. A
  claim without an outcome is closed only by a machine that knows how its command ended.
- Law 5: `verify` says 0 has it, 10 lacks it; anything else cannot tell, and counts as behind.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

HAS, LACKS, CANNOT_TELL = "has", "lacks", "cannot-tell"
_ANSWERS = {0: HAS, 10: LACKS}


def answer(exit_code: int, *, timed_out: bool = False) -> str:
    """What a `verify` that ended like this has said."""
    return CANNOT_TELL if timed_out else _ANSWERS.get(exit_code, CANNOT_TELL)


def why_not_asked_for(*, running: str, said: str) -> str:
    """Why the lead does not ask for a claim although it is not sure that the database has the step; or nothing.

    `running` is a claim whose command still runs here, `said` what verify has said.
    """
    if running:
        return f"a once-step that was started before still runs here (claim {running})"
    if said == CANNOT_TELL:
        return "verify cannot tell whether it is needed; nothing was started"
    return ""


def why_not_started(claim: str, *, started: Collection[str]) -> str:
    """Why a claim that has arrived starts nothing, or nothing. `started` are the claims in this machine's journal."""
    return f"claim {claim} was started here before and is not started again" if claim in started else ""


def cause_of_end(step: str, *, cause: str, said: str, words: str = "") -> str:
    """Why a command that has ended does not count, or nothing. `said` is what verify says now, `words` the last."""
    if cause or said == HAS:
        return cause
    missing = "still lacks it" if said == LACKS else f"cannot be asked\n{words}"
    return f"{step} ended well, but verify says that the database {missing}"


def word_on(claim: str, *, rows: Any) -> str:
    """What a machine's own journal says of a claim: `not-run`, `ended`, or nothing where it does not know well enough.

    A command that was killed may have left a statement running in the database: that is for a person.
    """
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict) and row.get("claim") == claim:
            if row.get("state") == "not-started":
                return "not-run"
            code = row.get("exit")
            return "ended" if row.get("state") == "ended" and isinstance(code, int) and code >= 0 else ""
    return ""
