"""Once-steps, decided: may one be asked for, may one start, how did it end, and who knows what of an open claim.

Laws that live here:

- Law 4: a command starts only under a claim that never started one before, after the database was asked once more. A
  claim without an outcome is closed only by a machine that knows how its command ended.
- Law 5: `verify` says 0 has it, 10 lacks it; anything else cannot tell, and counts as behind.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

HAS, LACKS, CANNOT_TELL = "has", "lacks", "cannot-tell"
_ANSWERS = {0: HAS, 10: LACKS}
SESSION_THERE = 10
GONE = "gone"
_KILLED, _TIMED_OUT = 128, 124


def answer(exit_code: int, *, timed_out: bool = False) -> str:
    """What a `verify` that ended like this has said."""
    return CANNOT_TELL if timed_out else _ANSWERS.get(exit_code, CANNOT_TELL)


def session_of(exit_code: int, *, said: Sequence[str], cause: str = "", timed_out: bool = False) -> str:
    """What a look for sessions of earlier starts has found: nothing, or words for what is, or may be, still there."""
    if exit_code == 0 and not timed_out:
        return ""
    if exit_code == SESSION_THERE and not timed_out:
        return "; ".join(line for line in said if line.strip()) or "a session without a name"
    return f"cannot tell: {cause}"


def why_not_asked_for(*, running: str, said: str, session: str = "") -> str:
    """Why the lead does not ask for a claim although it is not sure that the database has the step; or nothing.

    `running` is a claim whose command still runs here, `said` what verify has said.
    """
    if running:
        return f"a once-step that was started before still runs here (claim {running})"
    if said == CANNOT_TELL:
        return "verify cannot tell whether it is needed; nothing was started"
    if session:
        return f"an earlier start is still at work in the database: {session}; nothing was started"
    return ""


def why_open(*, failed: bool, said: str, session: str = "") -> str:
    """Why the end of a command is no outcome, so that its claim stays open; or nothing.

    A command that failed says little of its database: the connection may have been cut after the commit, and a
    statement may run on in the server. *Has it* is an answer at any time.
    """
    if said == HAS or not failed:
        return ""
    if session:
        return f"its session is still in the database: {session}"
    return "verify cannot tell what it has done" if said == CANNOT_TELL else ""


def why_not_started(claim: str, *, started: Collection[str]) -> str:
    """Why a claim that has arrived starts nothing, or nothing. `started` are the claims in this machine's journal."""
    return f"claim {claim} was started here before and is not started again" if claim in started else ""


def cause_of_end(step: str, *, cause: str, said: str, words: str = "") -> str:
    """Why a command that has ended does not count, or nothing. `said` is what verify says now, `words` the last."""
    if cause or said == HAS:
        return cause
    missing = "still lacks it" if said == LACKS else f"cannot be asked\n{words}"
    return f"{step} ended well, but verify says that the database {missing}"


def word_on(claim: str, *, rows: Any, busy: bool) -> str:
    """What a machine's own journal says of a claim: `not-run`, `ended`, or nothing where it does not know well enough.

    What has not started yet may start as long as a run is at work there (`busy`): it has put on record that it will.
    A command that was killed may have left a statement running in the database: that is for a person, unless a look
    into the database has found that its session is gone (`session` is then "gone"). A shell says 128 and more for a
    command of its own that was killed, and timeout(1) 124.
    """
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict) and row.get("claim") == claim:
            if row.get("state") == "not-started":
                return "" if busy else "not-run"
            if row.get("session") == GONE and row.get("state") in ("ended", "nobody-knows"):
                return "ended"
            code = row.get("exit")
            by_itself = isinstance(code, int) and 0 <= code < _KILLED and code != _TIMED_OUT
            return "ended" if row.get("state") == "ended" and by_itself and not row.get("session") else ""
    return ""
