"""Once-steps on a machine: the lead asks for a claim and runs, everybody else verifies.

Laws that live here:

- Law 4: the command starts only when its claim has arrived and is in this machine's journal; a claim that stands in the
  journal already is never started again. A running once-step is never signalled.
- Law 5: followers never run one. `verify` says 0 has it, 10 lacks it; anything else cannot tell and counts as behind.
"""

from __future__ import annotations

import time
from typing import Any

from wakeline.agent import steps
from wakeline.core.model import Step
from wakeline.errors import Interrupted, RolloutFailed

HAS, LACKS, CANNOT_TELL = "has", "lacks", "cannot-tell"
_ANSWERS = {0: HAS, 10: LACKS}
_VERIFY_S = 120.0
_CLAIM_S = 180.0
_BEHIND_S = 30.0
_LOOK_S = 1.0


def settle_all(bench: steps.Bench, *, may_run: bool) -> None:
    """Bring every once-step of the order to `has`, or raise. `may_run` is true on the lead, with a runner there."""
    for step in bench.order.steps:
        if step.once:
            if may_run:
                _lead(bench, step)
            else:
                _follow(bench, step)


def verify(bench: steps.Bench, step: Step) -> tuple[str, str]:
    """Ask the step's own check. Returns the answer, and the last words where it is not `has`."""
    more = {"WAKELINE_ONCE": "verify"}
    ended = steps.run_command(bench, f"{step.name}-verify", step.verify, timeout_s=_VERIFY_S, more=more)
    answer = _ANSWERS.get(ended.exit, CANNOT_TELL)
    bench.channel.send("verified", step=step.name, answer=answer, exit=ended.exit)
    return answer, ended.cause


def _follow(bench: steps.Bench, step: Step) -> None:
    """Wait a little for the database, then refuse."""
    ends = time.monotonic() + _BEHIND_S
    while True:
        answer, cause = verify(bench, step)
        if answer == HAS:
            return
        if bench.channel.stopping:
            raise Interrupted(f"stopped at {step.name}: {bench.channel.stopping}")
        if time.monotonic() >= ends:
            behind = "the database lacks what this release needs" if answer == LACKS else "verify cannot tell"
            raise RolloutFailed(f"{step.name}: {behind}; it is run by the lead alone, in a rollout\n{cause}".strip())
        time.sleep(_LOOK_S)


def _lead(bench: steps.Bench, step: Step) -> None:
    answer, cause = verify(bench, step)
    if answer == HAS:
        return
    if answer == CANNOT_TELL:
        raise RolloutFailed(
            f"{step.name}: verify cannot tell whether it is needed; nothing was started\n{cause}".strip()
        )
    claim = _claim(bench, step)
    if any(entry.get("claim") == claim for entry in bench.journal.newest_first("once-started")):
        raise RolloutFailed(f"{step.name}: claim {claim} was started here before and is not started again")
    bench.journal.write("once-started", claim=claim, step=step.name, release=bench.order.release)
    bench.channel.send("once_started", step=step.name, claim=claim)
    ended = _run(bench, step, claim)
    answer = HAS if ended.cause == "" and verify(bench, step)[0] == HAS else LACKS
    if ended.cause:
        answer = CANNOT_TELL
    facts: dict[str, Any] = {"step": step.name, "claim": claim, "ok": not ended.cause, "exit": ended.exit}
    bench.journal.note("once-ended", **facts, answer=answer)
    bench.channel.send("once_finished", **facts, answer=answer, cause=ended.cause)
    if ended.cause:
        raise RolloutFailed(ended.cause)
    if answer != HAS:
        raise RolloutFailed(f"{step.name} ended well, but verify says that the database still lacks it")


def _claim(bench: steps.Bench, step: Step) -> str:
    """Ask the runner to put the claim on record; wait for its number. Contact lost before that: nothing is run."""
    bench.channel.send("claim_wanted", step=step.name)
    ends = time.monotonic() + _CLAIM_S
    while time.monotonic() < ends:
        word = bench.channel.next_word(timeout_s=max(0.1, ends - time.monotonic()))
        if word is None:
            break
        if word.get("do") == "claimed" and word.get("step") == step.name and word.get("claim"):
            return str(word["claim"])
    why = bench.channel.stopping or "the contact was lost before its claim arrived"
    raise Interrupted(f"{step.name} was not started: {why}")


def _run(bench: steps.Bench, step: Step, claim: str) -> steps.CommandEnded:
    """Backup, then the command; both to their end, whatever happens to the contact."""
    tag = {"PGAPPNAME": f"wakeline:{claim}", "WAKELINE_CLAIM": claim}
    if step.backup:
        ended = steps.run_command(
            bench, f"{step.name}-backup", step.backup, timeout_s=step.timeout_s, more=tag, may_stop=False
        )
        if ended.cause:
            return ended

    def on_start(pid: int) -> None:
        bench.journal.note("once-process", claim=claim, pid=pid)

    return steps.run_command(
        bench,
        step.name,
        step.run,
        timeout_s=step.timeout_s,
        more={**tag, "WAKELINE_ONCE": "run"},
        may_stop=False,
        on_start=on_start,
    )
