"""Once-steps on a machine: the lead asks for a claim and runs, everybody else verifies.

Laws that live here:

- Law 4: the command starts only when its claim has arrived and is in this machine's journal; a claim that stands in the
  journal already is never started again. A running once-step is never signalled.
- Law 5: followers never run one. `verify` says 0 has it, 10 lacks it; anything else cannot tell and counts as behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from wakeline.agent import keeper, locking, steps
from wakeline.agent.locking import NotStarted
from wakeline.core import once
from wakeline.core.once import HAS, LACKS
from wakeline.core.order import Step
from wakeline.errors import Interrupted, RolloutFailed

_VERIFY_S = 120.0
_CLAIM_S = 180.0
BEHIND_S = 30.0
_LOOK_S = 1.0


def settle_all(bench: steps.Bench, *, may_run: bool, check: Callable[[], None]) -> None:
    """Bring every once-step of the order to `has`, or raise. `may_run` is true on the lead, with a runner there.

    `check` raises Interrupted when the order no longer counts; it is asked before a claimed command.
    """
    for step in bench.order.steps:
        if step.once:
            if may_run:
                _lead(bench, step, check)
            else:
                _follow(bench, step)


def verify(bench: steps.Bench, step: Step, *, may_stop: bool = True) -> tuple[str, str]:
    """Ask the step's own check. Returns the answer, and the last words where it is not `has`."""
    more = {"WAKELINE_ONCE": "verify"}
    ended = steps.run_command(
        bench, f"{step.name}-verify", step.verify, timeout_s=_VERIFY_S, more=more, may_stop=may_stop
    )
    answer = once.answer(ended.exit, timed_out=ended.timed_out)
    bench.channel.send("verified", step=step.name, answer=answer, exit=ended.exit)
    return answer, ended.cause


def _follow(bench: steps.Bench, step: Step) -> None:
    """Wait a little for the database, then refuse."""
    ends = time.monotonic() + float(bench.home.config.get("behind_s", BEHIND_S))
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


def _lead(bench: steps.Bench, step: Step, check: Callable[[], None]) -> None:
    running = keeper.still_running(bench.home.folder, bench.journal)
    answer, cause = ("", "") if running else verify(bench, step)
    if answer == HAS:
        return
    session = locking.wait_until_gone(bench, step) if answer == LACKS else ""
    problem = once.why_not_asked_for(running=running, said=answer, session=session)
    if problem:
        raise RolloutFailed(f"{step.name}: {problem}\n{cause}".strip())
    claim = _claim(bench, step)
    started = {str(entry.get("claim")) for entry in bench.journal.newest_first("once-started")}
    problem = once.why_not_started(claim, started=started)
    if problem:
        raise RolloutFailed(f"{step.name}: {problem}")
    try:
        with locking.held(bench, step, claim) as inherited:
            _run_claimed(bench, step, claim, check=check, inherited=inherited)
    except NotStarted as error:
        facts = {"step": step.name, "claim": claim, "ok": False, "exit": -1, "answer": LACKS}
        bench.channel.send("once_finished", **facts, cause=error.message)
        raise


def _run_claimed(
    bench: steps.Bench, step: Step, claim: str, *, check: Callable[[], None], inherited: tuple[int, ...]
) -> None:
    """Everything that is done under the claim, and under the lock where there is one."""
    if verify(bench, step, may_stop=False)[0] == HAS:  # read again after the claim: somebody was faster
        bench.channel.send("once_finished", step=step.name, claim=claim, ok=True, exit=0, answer=HAS, ran=False)
        return
    try:
        check()
    except Interrupted as error:
        facts = {"step": step.name, "claim": claim, "ok": False, "exit": -1, "answer": LACKS}
        bench.channel.send("once_finished", **facts, cause=f"not started: {error.message}")
        raise
    bench.journal.write("once-started", claim=claim, step=step.name, release=bench.order.release)
    bench.channel.send("once_started", step=step.name, claim=claim)
    problem = _back_up(bench, step, claim)
    ended = steps.CommandEnded(1, 0.0, problem) if problem else _run(bench, step, claim, inherited)
    if ended.timed_out:
        raise RolloutFailed(f"{ended.cause}\nit is not stopped, and its claim {claim} stays open: wakeline resolve")
    _tell_the_end(bench, step, claim, ended, was_started=not problem)


def _tell_the_end(bench: steps.Bench, step: Step, claim: str, ended: steps.CommandEnded, *, was_started: bool) -> None:
    answer, words = verify(bench, step, may_stop=False)
    failed = was_started and bool(ended.cause)
    session = locking.wait_until_gone(bench, step) if failed and answer != HAS else ""
    facts: dict[str, Any] = {"step": step.name, "claim": claim, "ok": not ended.cause, "exit": ended.exit}
    bench.journal.note("once-ended", release=bench.order.release, **facts, answer=answer)
    why_open = once.why_open(failed=failed, said=answer, session=session)
    if why_open:
        raise RolloutFailed(f"{ended.cause}\n{why_open}; its claim {claim} stays open: wakeline deploy asks again")
    cause = once.cause_of_end(step.name, cause=ended.cause, said=answer, words=words)
    bench.channel.send("once_finished", **facts, answer=answer, cause=cause)
    if cause:
        raise RolloutFailed(cause)


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


def _back_up(bench: steps.Bench, step: Step, claim: str) -> str:
    """The backup before the command. Returns why the command must not start, or nothing."""
    if not step.backup:
        return ""
    name, more = f"{step.name}-backup", {"WAKELINE_CLAIM": claim}
    ended = steps.run_command(bench, name, step.backup, timeout_s=step.timeout_s, more=more, may_stop=False)
    return f"{ended.cause}\n{step.name} was not started" if ended.cause else ""


def _run(bench: steps.Bench, step: Step, claim: str, inherited: tuple[int, ...]) -> steps.CommandEnded:
    """The command, to its end, whatever happens to the contact and to us."""
    tag = {"PGAPPNAME": f"wakeline:{claim}", "WAKELINE_CLAIM": claim, "WAKELINE_ONCE": "run"}
    told = steps.Told(bench, step.name)
    ended = keeper.start(
        keeper.kept(bench.home.folder, claim),
        command=step.run,
        cwd=bench.folder,
        environment=bench.environment._replace(values=bench.environment.plus(**tag)),
        log=bench.home.log(bench.order.release, step.name),
        timeout_s=step.timeout_s,
        on_line=told.line,
        keep_fds=inherited,
    )
    return told.ended(step.run, ended)
