"""The agent is started beside the records that allow its order, and gets the order after them."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
from pathlib import Path

import pytest

from wakeline.core import rollout
from wakeline.core.commands import End, Write
from wakeline.core.model import Machine, Presence
from wakeline.core.order import Order, Outcome
from wakeline.core.presence import Phase
from wakeline.core.records import Draft
from wakeline.core.state import StagePlan
from wakeline.driver import handing, walking
from wakeline.driver.leasing import Holder
from wakeline.driver.walking import Party, Walk
from wakeline.driver.writer import Writer
from wakeline.edges.agent_file import AgentFile
from wakeline.edges.clock import boottime_s
from wakeline.edges.ledgers.sqlite import SqliteLedger
from wakeline.edges.transports import Lost, NotReached
from wakeline.edges.transports.local import LocalConnection, LocalTransport

STAGES = (
    StagePlan("first", ("scheduler",), frozenset({"scheduler"}), True),
    StagePlan("second", ("uat",), frozenset(), False),
)
AGENT = """\
import json, pathlib, sys, time

KNOWS, HEARD = {knows!r}, pathlib.Path({heard!r})


def hear():
    line = sys.stdin.readline()
    if not line:
        sys.exit()
    word = json.loads(line)
    with HEARD.open("a") as file:
        file.write(f"{{word['do']}} {{word['order']['machine']}}\\n")
    return word["do"], word["order"]["machine"]


def say(event, **facts):
    print(json.dumps({{"event": event, **facts}}), flush=True)


word, machine = hear()
while word == "prepare" and KNOWS:
    if (machine, KNOWS) == ("uat", "and goes"):
        sys.exit()  # with its machine
    while (machine, KNOWS) == ("uat", "slowly") and "run scheduler" not in HEARD.read_text():
        time.sleep(0.02)
    if KNOWS == "until stopped":
        hear()
    say("prepared", ok=True)
    word, machine = hear()
while KNOWS == "and goes" and not HEARD.with_name("asleep").exists():
    time.sleep(0.02)
say("finished", outcome={outcome!r} if word == "run" else "failed", cause="", was=0)
"""


@dataclasses.dataclass
class Noting:
    """A way to folders that notes each start of an agent, with the records that stood then; `fails` the first ones."""

    log: Path
    fails: int = 0
    loses: bool = False
    goes: bool = False
    starts: list[tuple[str, int]] = dataclasses.field(default_factory=list)

    async def connect(
        self, machine: Machine, *, limit_s: float, enough: asyncio.Event | None = None
    ) -> LocalConnection:
        if self.goes and ("uat" in [name for name, _ in self.starts]) and machine.name == "uat":
            raise NotReached(Phase.TCP, "switched off")
        connection = await LocalTransport().connect(machine, limit_s=limit_s)
        converse = connection.converse

        async def noting(*arguments, **more):
            if self.goes and machine.name == "uat" and "uat" in [name for name, _ in self.starts]:
                raise Lost("the contact was lost")
            self.starts.append((machine.name, len(self.log.read_text().splitlines())))
            if len(self.starts) <= self.fails:
                raise NotReached(Phase.AGENT, "it cannot be placed")
            if self.loses and machine.name == "uat":
                raise Lost("the contact was lost")
            return await converse(*arguments, **more)

        connection.converse = noting
        return connection


def walk(
    folder: Path,
    *,
    outcome: str = "ok",
    fails: int = 0,
    loses: bool = False,
    reached: tuple[str, ...] = ("scheduler", "uat"),
    knows: str = "",
    silent: bool = False,
):
    """One walk over two folders. Returns the rollout and the starts. With `knows` the agents know how to prepare."""
    log = folder / "records"
    log.write_text("")
    way = Noting(log, fails, loses, goes=knows == "and goes")
    machines, orders = {}, {}
    for name in ("scheduler", "uat"):
        agent = folder / name / "home" / "agents" / "early"
        agent.mkdir(parents=True)
        text = AGENT.format(outcome=outcome, knows=knows, heard=str(folder / "heard"))
        (agent / "__main__.py").write_text(text)
        presence = Presence.ALWAYS if name == "scheduler" else Presence.ON_DEMAND
        machines[name] = Machine(name, f"local:{folder / name}", presence)
        orders[name] = Order("shop", "uat", name, "first", 1, "c" * 40, "x", "main", "/srv")
    writer = Writer(SqliteLedger(folder / "ledger.sqlite", app="shop", environment="uat"), by="ann")

    stopping = []
    (folder / "heard").touch()  # an agent that is stopped at its very start has heard nothing

    def told(notice):
        if (notice.kind, knows) == ("sent", "until stopped"):
            stopping.pop()()
        if notice.data.get("answer") == "asleep":
            (folder / "asleep").touch()
        if notice.kind in ("sent", "outcome"):
            with log.open("a") as file:
                file.write(json.dumps(notice.kind) + "\n")

    async def run():
        stages = [
            {"name": s.name, "gates": s.gates, "machines": [{"name": n, "presence": "always"} for n in s.machines]}
            for s in STAGES
        ]
        made = {"fence": 1, "release": 1, "commit": "c", "lead": "scheduler", "stages": stages}
        taken = {"fence": 1, "holder": "ann", "length_s": 180.0}
        await writer.write(lambda _: [Draft("lease-taken", taken), Draft("release-made", made)])
        preparable = frozenset({"scheduler", "uat"})
        begun = rollout.Rollout(1, STAGES, "scheduler", {}, frozenset(reached), preparable=preparable)
        early = knocking_at_silence() if silent else {}
        party = Party(machines, orders, lambda _: way, AgentFile(b"", "early"), early)
        holder = Holder(writer, 1, 180.0, boottime_s())
        walked = Walk(begun, party=party, holder=holder, approve=lambda _, draft: draft, tell=told)
        stopping.append(lambda: walked.stop("Ctrl-C"))
        return await asyncio.wait_for(walked.run(), 120)

    return asyncio.run(run()), way.starts


def test_each_agent_is_started_once_and_before_any_record_of_its_order(tmp_path):
    done, starts = walk(tmp_path, knows="at once")
    assert done.results == {"scheduler": Outcome.OK, "uat": Outcome.OK}
    assert sorted(starts) == [("scheduler", 0), ("uat", 0)]


def test_an_agent_that_waited_too_long_is_started_again(tmp_path, monkeypatch):
    monkeypatch.setattr(walking, "_WAITS_S", -1.0)
    done, starts = walk(tmp_path, knows="at once")
    assert done.results == {"scheduler": Outcome.OK, "uat": Outcome.OK}
    assert sorted(name for name, _ in starts) == ["scheduler", "scheduler", "uat", "uat"]


def test_a_start_that_failed_early_is_tried_again_when_its_order_is_due(tmp_path):
    done, starts = walk(tmp_path, fails=2, knows="at once")
    assert done.results == {"scheduler": Outcome.OK, "uat": Outcome.OK}
    assert len(starts) == 4


def test_a_withheld_machine_gets_no_order_though_its_agent_waits(tmp_path):
    done, starts = walk(tmp_path, outcome="failed")
    assert done.results == {"scheduler": Outcome.FAILED, "uat": Outcome.WITHHELD}
    assert ("uat", 0) in starts


def test_law_3_contact_lost_between_the_knock_and_the_order_is_unknown_and_neither_failed_nor_asleep(tmp_path):
    done, _ = walk(tmp_path, loses=True)
    assert done.results == {"scheduler": Outcome.OK, "uat": Outcome.UNKNOWN}


def knocking_at_silence() -> walking.Early:
    """A knock at uat that nobody answers, for as long as it is waited for."""
    enough = asyncio.Event()

    async def connect():
        await enough.wait()
        raise NotReached(Phase.TCP, "silence")

    return {"uat": walking.Knocking(asyncio.create_task(connect()), enough)}


def test_a_silent_machine_holds_the_walk_up_no_longer_when_the_others_are_done(tmp_path):
    done, _ = walk(tmp_path, silent=True)
    assert done.results == {"scheduler": Outcome.OK, "uat": Outcome.ASLEEP}


class Wrote:
    """Stands in for the lease: what goes on record in one push each."""

    def __init__(self) -> None:
        self.pushes: list[list[str]] = []

    async def write(self, decide, **_more):
        self.pushes.append([each.kind for each in decide(None)])


def test_a_record_that_may_wait_goes_in_the_push_of_the_next_and_is_never_left_behind():
    holder = Wrote()
    party = Party({}, {}, lambda _: None, AgentFile(b"", "early"))
    begun = rollout.Rollout(1, STAGES, "scheduler", {}, frozenset())
    walked = Walk(begun, party=party, holder=holder, approve=lambda _, draft: draft, tell=lambda _: None)

    async def obey():
        await walked._obey([Write(Draft("receipt", {}), may_wait=True)])
        assert holder.pushes == []
        await walked._obey([Write(Draft("outcome", {})), Write(Draft("sent", {}))])
        await walked._obey([Write(Draft("receipt", {}), may_wait=True), End("passed")])

    asyncio.run(obey())
    assert holder.pushes == [["receipt", "outcome", "sent"], ["receipt", "lease-freed"]]


def heard(folder: Path) -> list[str]:
    return (folder / "heard").read_text().splitlines()


def test_law_1_what_waits_for_its_stage_is_asked_to_prepare_and_gets_its_order_in_the_same_conversation(tmp_path):
    done, starts = walk(tmp_path, knows="at once")
    assert done.results == {"scheduler": Outcome.OK, "uat": Outcome.OK}
    assert set(heard(tmp_path)) == {"prepare scheduler", "prepare uat", "run scheduler", "run uat"}
    assert heard(tmp_path)[-1] == "run uat"
    assert len(starts) == 2


def test_the_lead_s_stage_does_not_wait_for_what_a_later_one_prepares(tmp_path):
    done, _ = walk(tmp_path, knows="slowly")
    assert done.results == {"scheduler": Outcome.OK, "uat": Outcome.OK}


def test_an_agent_that_does_not_know_the_word_is_no_error_and_another_takes_the_order(tmp_path):
    done, _ = walk(tmp_path)
    assert done.results == {"scheduler": Outcome.OK, "uat": Outcome.OK}
    assert set(heard(tmp_path)) == {"prepare scheduler", "prepare uat", "run scheduler", "run uat"}


def test_what_was_prepared_behind_a_gate_that_failed_gets_no_order(tmp_path):
    done, _ = walk(tmp_path, knows="at once", outcome="failed")
    assert done.results == {"scheduler": Outcome.FAILED, "uat": Outcome.WITHHELD}
    assert "run uat" not in heard(tmp_path)


def test_law_3_a_machine_that_is_switched_off_while_it_only_prepares_is_asleep(tmp_path):
    done, _ = walk(tmp_path, knows="and goes")
    assert done.results == {"scheduler": Outcome.OK, "uat": Outcome.ASLEEP}


@pytest.mark.parametrize("reached", [("scheduler",)])
def test_nothing_is_started_where_setup_has_never_been(tmp_path, reached):
    done, starts = walk(tmp_path, reached=reached, knows="at once")
    assert done.results["uat"] is Outcome.FAILED
    assert [name for name, _ in starts] == ["scheduler"]


def test_an_order_that_was_not_sent_yet_when_somebody_stopped_is_never_sent(tmp_path):
    """Seen: its agent was still at its start, so nobody was told to stop, and the order went out afterwards."""
    done, _ = walk(tmp_path, knows="until stopped")
    assert (done.ended, done.results["scheduler"]) == ("interrupted", Outcome.WITHHELD)
    assert [each for each in heard(tmp_path) if each.startswith("run")] == []


@dataclasses.dataclass
class Copy:
    """Stands in for the runner's copy of the code."""

    asked: list[str] = dataclasses.field(default_factory=list)

    def pack(self, commit: str, *, base: str, bytes_max: int) -> bytes:
        self.asked.append(base)
        if base == "c0":
            raise NotReached(Phase.NAME, "it cannot be read")
        return f"{base} to {commit}".encode()

    def tree_bytes(self, commit: str) -> int:
        if commit == "c9":
            raise NotReached(Phase.NAME, "it cannot be read")
        return 1000


def test_a_pack_is_made_once_for_all_machines_that_run_the_same_and_for_no_other_commit():
    copy = Copy()

    async def made():
        bases = {"a": "c1", "b": "c1", "c": "c2", "d": "", "e": "c0", "f": "c3"}
        packs = handing.Packs(copy, commit="c3", bases=bases)
        found = {name: await packs.of(name, commit="c3") for name in [*bases, "g"]}
        return found, await packs.of("a", commit="c4")

    found, other = asyncio.run(made())
    assert (sorted(copy.asked), other) == (["c0", "c1", "c2"], handing.Handed())
    texts = {name: base64.b64decode(handed.pack).decode() for name, handed in found.items()}
    assert texts == {"a": "c1 to c3", "b": "c1 to c3", "c": "c2 to c3", "d": "", "e": "", "f": "", "g": ""}


@pytest.mark.parametrize(("commit", "size"), [("c3", 1000), ("c9", 0)])
def test_how_big_a_commit_is_goes_with_it_also_where_there_is_no_pack(commit, size):
    async def handed():
        packs = handing.Packs(Copy(), commit=commit, bases={"a": "c1"})
        return [await packs.of(name, commit=commit) for name in ("a", "b")]

    a, b = asyncio.run(handed())
    assert (a.tree_bytes, b) == (size, handing.Handed("", size))
