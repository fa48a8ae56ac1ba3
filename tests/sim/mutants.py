"""Deliberate breakages: each is a small patch of the source, applied in memory, that the simulation must notice.

A mutant names a function and a text in it. The function's code is compiled anew with that text changed, so that whoever
imported it runs the broken one; nothing on disk is touched.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import multiprocessing
import types
from collections.abc import Iterator
from pathlib import Path

from sim.chaos import run
from sim.laws import Violation

SEEDS_MAX = 5000  # as many as .ci/run has: who is not noticed by then would go in


@dataclasses.dataclass(frozen=True)
class Mutant:
    """`where` is module:function. `law` is what the break is about; what notices it may be another one."""

    name: str
    law: str
    where: str
    old: str
    new: str


_ROLLOUT, _STATE, _ADMISSION = "wakeline.core.rollout", "wakeline.core.state", "wakeline.core.admission"
_GATES = "wakeline.core.gates"
_JOINING, _FOLD = "wakeline.core.joining", "wakeline.core.fold"
_CATCH_UP, _CARRYING, _ONCE = "wakeline.core.catch_up", "wakeline.core.carrying_out", "wakeline.core.once"

MUTANTS = (
    Mutant(
        "a failed machine does not stop its gate",
        "1, 2",
        f"{_GATES}:passed",
        "in (*BAD, Outcome.WITHHELD)",
        "in (Outcome.UNKNOWN, Outcome.WITHHELD)",
    ),
    Mutant(
        "an unknown machine does not stop its gate",
        "1",
        f"{_GATES}:passed",
        "in (*BAD, Outcome.WITHHELD)",
        "in (Outcome.FAILED, Outcome.WITHHELD)",
    ),
    Mutant("a gate flipped", "1", f"{_GATES}:gate_ahead", "ahead.gates and not fine", "ahead.gates and fine"),
    Mutant(
        "a stage that does not gate lets everything through",
        "2",
        f"{_GATES}:gate_ahead",
        "and failed(ahead, results)",
        "and False",
    ),
    Mutant(
        "an always machine may be asleep",
        "3",
        f"{_ROLLOUT}:_unreached",
        "if knock.machine in stage.always:",
        "if not knock:",
    ),
    Mutant(
        "a machine that had begun may be asleep",
        "3",
        f"{_ROLLOUT}:_unreached",
        "if knock.machine in rollout.sent_before:",
        "if not knock:",
    ),
    Mutant(
        "a refused key is sleep", "3", f"{_ROLLOUT}:_unreached", "if knock.answer is Answer.REFUSED:", "if not knock:"
    ),
    Mutant(
        "two claims at once",
        "4",
        f"{_ROLLOUT}:_once_wanted",
        "if rollout.stopping or rollout.open_claim:",
        "if rollout.stopping:",
    ),
    Mutant(
        "a claim that is not put on record",
        "4",
        f"{_ROLLOUT}:_once_wanted",
        '[Write(Draft("claimed", body)), GiveClaim',
        "[GiveClaim",
    ),
    Mutant(
        "a claim given before it is on record",
        "4",
        "wakeline.driver.walking:Walk._obey",
        """        await self._write(drafts)
        for command in commands:
            self._do(command)
""",
        """        for command in commands:
            self._do(command)
        await self._write(drafts)
""",
    ),
    Mutant("a failed once-step is receipted", "4", f"{_ROLLOUT}:_once_ended", "if event.passed:", "if event:"),
    Mutant(
        "approvals written too early",
        "6",
        f"{_ROLLOUT}:_may_be_approved",
        "_gate_ahead(rollout, stage) is None and all_known_ahead(rollout.stages, name, rollout.results)",
        "bool(name)",
    ),
    Mutant(
        "the first stage approved before it passed",
        "6",
        f"{_ROLLOUT}:_may_be_approved",
        "return fine and any(",
        "return any(",
    ),
    Mutant(
        "nobody waits for the lead",
        "5",
        f"{_ROLLOUT}:_waits_for_the_lead",
        "not rollout.once <= rollout.receipted",
        "False",
    ),
    Mutant(
        "what is remembered has lost a hold",
        "10",
        "wakeline.core.packing:_release_of",
        "frozenset(held)",
        "frozenset()",
    ),
    Mutant(
        "a machine is looked for in its first release alone",
        "6",
        f"{_FOLD}:_speaks_of",
        "max(last, number)",
        "first",
    ),
    Mutant("a failure holds nobody", "10", f"{_FOLD}:_holds", "if Outcome.FAILED in outcomes", "if None in outcomes"),
    Mutant("no claim is ever open", "4", f"{_STATE}:State.open_claims", "(self.claims.values())", "()"),
    Mutant(
        "a receipt ends no claim",
        "4",
        f"{_FOLD}:_receipt",
        'folding["claims"].pop(body.get("claim", ""), None)',
        "None",
    ),
    Mutant("no barrier is raised", "5", f"{_FOLD}:_receipt", "if breaks and _is_news(folding, body):", "if not body:"),
    Mutant(
        "an open claim blocks nobody",
        "4",
        f"{_ADMISSION}:_standing_in_the_way",
        "for claim in state.open_claims:",
        "for claim in ():",
    ),
    Mutant(
        "a hold on the fleet blocks nobody",
        "8",
        f"{_ADMISSION}:_standing_in_the_way",
        'if "" in state.holds:',
        "if state is None:",
    ),
    Mutant(
        "a re-run job turns the fleet back",
        "8",
        f"{_ADMISSION}:deploy",
        "if newest and ancestry.older_than_newest:",
        "if newest and not ancestry:",
    ),
    Mutant("a rollback lands on a release that failed", "10", f"{_ADMISSION}:_is_good", "not release.failed and", ""),
    Mutant(
        "a rollback goes below the barrier",
        "5",
        f"{_ADMISSION}:rollback",
        "if target.number < state.barrier:",
        "if target is None:",
    ),
    Mutant(
        "a waking machine takes what is held",
        "6, 10",
        f"{_STATE}:State.approval",
        "release.approved - release.held_stages",
        "release.approved",
    ),
    Mutant(
        "a waking machine takes what is not approved",
        "6",
        f"{_FOLD}:_release_made",
        'body["lead"],',
        'body["lead"], approved=frozenset(each.name for each in stages),',
    ),
    Mutant(
        "a waking machine takes the oldest",
        "6",
        f"{_CATCH_UP}:_newest_approved",
        "in state.approved(names)",
        "in reversed([*state.approved(names)])",
    ),
    Mutant(
        "a waking machine tries for ever",
        "10",
        f"{_CATCH_UP}:decide",
        "if tried >= ATTEMPTS:",
        "if tried < 0:",
    ),
    Mutant(
        "a hold does not stop catch-up",
        "6",
        f"{_CATCH_UP}:decide",
        "if name in state.holds:",
        "if state is None:",
    ),
    Mutant("a lease taken too soon", "8", "wakeline.core.lease:look", ">= lease.length_s", ">= lease.length_s / 20"),
    Mutant(
        "a holder that was overtaken writes on",
        "8",
        "wakeline.driver.leasing:Holder.check",
        "if state.lease.free or state.lease.number != self.fence:",
        "if state is None:",
    ),
    Mutant(
        "a machine does not ask who has the lease",
        "8",
        f"{_CARRYING}:overtaken",
        "if state.lease.number > fence:",
        "if state.lease.number > fence + 1000:",
    ),
    Mutant(
        "a hold does not stop an order under way",
        "8",
        f"{_CARRYING}:overtaken",
        "if name in state.holds:",
        "if state is None:",
    ),
    Mutant(
        "a switch-back goes below the barrier",
        "5",
        f"{_CARRYING}:way_back",
        "target is not None and target < barrier",
        "False",
    ),
    Mutant(
        "a switch-back to a release that is not complete",
        "7",
        f"{_CARRYING}:way_back",
        "was != release and was_complete",
        "was != release",
    ),
    Mutant("verify that cannot tell counts as has", "5", f"{_ONCE}:answer", "CANNOT_TELL)", "HAS)"),
    Mutant(
        "the lead starts although verify cannot tell",
        "4",
        f"{_ONCE}:why_not_asked_for",
        "if said == CANNOT_TELL:",
        "if said is None:",
    ),
    Mutant(
        "a killed command counts as ended",
        "4",
        f"{_ONCE}:word_on",
        'if row.get("state") == "ended" and by_itself and not row.get("session") else ""',
        'if code != "" else ""',
    ),
    Mutant(
        "a check-in believed too much",
        "9",
        "wakeline.core.check_in:settled",
        'said = Outcome(str(body["outcome"]))',
        "said = Outcome.OK",
    ),
    Mutant(
        "a last word that nobody says counts as ok",
        "3",
        "wakeline.driver.walking:_outcome",
        "Outcome.FAILED)",
        "Outcome.OK)",
    ),
    Mutant(
        "a machine joins what is held",
        "10",
        f"{_JOINING}:_may_run",
        "stage.name in release.approved and stage.name not in release.held_stages",
        "stage.name in release.approved",
    ),
    Mutant(
        "a new stage joins whatever passed ahead of it",
        "6",
        f"{_JOINING}:_may_run",
        "bool(ahead) and all(_passed(release, each) for each in ahead)",
        "bool(ahead)",
    ),
    Mutant("a machine joins beside a rollout", "8", f"{_JOINING}:decide", "if not state.lease.free:", "if not state:"),
    Mutant(
        "a machine that was renamed is left out of its stage",
        "1",
        "wakeline.driver.admitting:check_walkable",
        "if was := _name_of_before(state, release, fleet, machine):",
        "if was := '':",
    ),
    Mutant(
        "a machine that was renamed twice is left out of its stage",
        "1",
        "wakeline.driver.admitting:_name_of_before",
        "name not in others and",
        "not others and",
    ),
    Mutant(
        "what a run is about to start counts as never started",
        "4",
        f"{_ONCE}:word_on",
        '"" if busy else "not-run"',
        '"not-run"',
    ),
    Mutant(
        "a renamed machine takes itself for another one",
        "6",
        f"{_STATE}:State.names_of",
        "return (*names, *(name for name in older if name not in names))",
        "return (machine,)",
    ),
    Mutant(
        "a run that was cut off is left as it is",
        "7",
        f"{_CARRYING}:cut_off",
        "return CutOff(runs) if _has_no_end(runs, entries=entries) else None",
        "return None",
    ),
    Mutant(
        "a rollback leaves the second repository where it is",
        "6",
        f"{_ADMISSION}:rollback",
        "target.pins",
        "newest.pins if newest else {}",
    ),
    Mutant(
        "a machine that was taken out goes on to what it had an order in",
        "6",
        f"{_CATCH_UP}:decide",
        "if not _name_in(present, names) or state.orders_none(present, _name_in(present, names)):",
        "if wanted is None:",
    ),
    Mutant(
        "a machine that was taken out is waited for",
        "1",
        f"{_STATE}:StagePlan.among",
        "tuple(name for name in self.machines if name in machines)",
        "self.machines",
    ),
    Mutant(
        "an approval of another log is acted on",
        "6",
        "wakeline.core.approval:problem",
        'if body.get("after") not in known:',
        "if body is None:",
    ),
    Mutant(
        "an approval that has ended is acted on",
        "6",
        "wakeline.core.approval:problem",
        "if now_s > ends_s else",
        "if now_s < 0 else",
    ),
    Mutant(
        "a machine acts on what nobody has signed (in the model)",
        "6",
        "sim.agent:Agent._approved",
        "if self.world.is_signed:",
        "if self.world is None:",
    ),
    Mutant(
        "a release folder is not synced before the switch (in the model)",
        "7",
        "sim.machine:Box.note_release",
        '"boot": self.boots})',
        '"boot": self.boots}, synced=False)',
    ),
    Mutant(
        "a later stage is sent its order when it might prepare",
        "1",
        f"{_ROLLOUT}:_prepare",
        "[Prepare(name)",
        "[Send(name)",
    ),
    Mutant(
        "a step runs in prepare (in the model)",
        "1",
        "sim.agent:Agent._lay_out_ahead",
        "        box.note_release(",
        "        await self._steps()\n        box.note_release(",
    ),
    Mutant(
        "an incomplete prepared folder is taken (in the model)",
        "7",
        "sim.agent:Agent._lay_out_ahead",
        'box.disk.write(f"release {release}", {})',
        "box.note_release(release, PREPARED, commit=self.commit)",
    ),
    Mutant(
        "a ledger that moved passes for one that did not (in the model)",
        "8",
        "sim.acting:Acting._read_unless_known",
        "log.tip == self._stamp or",
        "log.tip or",
    ),
    Mutant(
        "a runner answers for a ledger that it has not read",
        "8",
        "wakeline.driver.writer:Writer.knows",
        "if stamp not in self.stamps:",
        "if False:",
    ),
    Mutant(
        "a runner answers without a look at what stands against it",
        "8",
        "wakeline.driver.walking:Walk._say_whether_known",
        "state=writer.state, machine=name",
        "state=State(), machine=name",
    ),
    Mutant(
        "a ledger that does not compare (in the model)",
        "8",
        "sim.store:Store.append",
        "if records[0].previous != self.log.tip:",
        "if not records:",
    ),
)


@contextlib.contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    """The mutant is what runs as long as the block does. Raises LookupError when its text is not there exactly once."""
    module_name, _, name = mutant.where.partition(":")
    module = importlib.import_module(module_name)
    function = _function(module, name)
    path = Path(str(module.__file__))
    source = path.read_text(encoding="utf-8")
    own = inspect.getsource(function)
    if own.count(mutant.old) != 1 or source.count(own) != 1:
        raise LookupError(f"mutant {mutant.name!r}: {mutant.old!r} is not once in {mutant.where}")
    broken = compile(source.replace(own, own.replace(mutant.old, mutant.new)), str(path), "exec")
    before = function.__code__
    function.__code__ = _code(broken, name)
    try:
        yield
    finally:
        function.__code__ = before


def _function(module: types.ModuleType, name: str) -> types.FunctionType:
    found: object = module
    for part in name.split("."):
        found = inspect.getattr_static(found, part)
    function = found.fget if isinstance(found, property) else found
    assert isinstance(function, types.FunctionType), name
    return function


def _code(code: types.CodeType, name: str) -> types.CodeType:
    """The code object of a function, wherever it is nested."""
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            if each.co_qualname == name:
                return each
            with contextlib.suppress(LookupError):
                return _code(each, name)
    raise LookupError(name)


def hunt(mutant: Mutant) -> tuple[Mutant, int, str]:
    """The first seed that notices a mutant, and what it says; 0 where none did."""
    with applied(mutant):
        for seed in range(1, SEEDS_MAX + 1):
            try:
                run(seed)
            except Violation as broken:
                return mutant, seed, str(broken)
            except Exception as error:  # noqa: BLE001 - a broken core that falls over has been noticed as well
                return mutant, seed, f"it fell over: {error!r}"
    return mutant, 0, ""


def hunted(*, jobs: int) -> Iterator[tuple[Mutant, int, str]]:
    """Every mutant, in the order of the list."""
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap(hunt, MUTANTS, chunksize=1)
