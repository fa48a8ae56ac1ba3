"""What is cut short, and what must hold afterwards: each operation prepares a machine, runs once, and runs again.

Laws that are looked at after every point:

- Law 7: `current` is the old release or the new one, complete.
- The journal is readable and has everything that it had before: old or new, never empty.
- The next run converges: no litter blocks it, and what it is about ends as if nothing had happened.
- Law 4: no claim starts its command twice, and one that the machine calls not started has not been.
- What a ledger has acknowledged is there after the cut.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from killpoints.world import Told, World
from wakeline.agent import durable, journal, layout
from wakeline.core.order import Health, Layout, Service
from wakeline.core.records import Draft, chain
from wakeline.edges.code import Code
from wakeline.edges.ledgers import open_ledger


class Operation:
    """One thing that an agent, a journal or a ledger does."""

    name = ""
    about = ""
    speaks = True  # a command of ours: it ends in words, never in a trace

    def prepare(self, world: World) -> None:
        """Bring the machine to where it begins."""
        raise NotImplementedError

    def go(self, world: World, under: Sequence[str] = ()) -> Told:
        """Do it. `under` is what it runs under: a tracer with a fault in it."""
        raise NotImplementedError

    def reached(self, world: World, told: Told) -> list[str]:
        """What it has not done when nothing disturbed it."""
        del world
        return [] if told.code == 0 else [f"exit {told.code}: {told.err[-300:]}"]

    def look(self, world: World, told: Told) -> list[str]:
        """What does not hold after the fault."""
        raise NotImplementedError

    def again(self, world: World) -> list[str]:
        """Run it to its end, and what does not hold then."""
        raise NotImplementedError


class DeployOrder(Operation):
    """A pushed order: fetch, lay out, steps, switch, restart, health, confirm, prune, report."""

    name = "order"
    about = "a pushed order, release 3 over 2, with a cached step and pruning"
    old, new = 2, 3
    lands_on = 3
    ends = "ok"
    makes_pages = True  # what the new release has beside its commit

    def prepare(self, world: World) -> None:
        (world.path / "shared/media").mkdir(parents=True)
        for release in range(1, self.old + 1):
            done = world.run(world.order(release, world.commit(f"v{release}"), **self.before()))
            assert done.outcome == "ok", (done.events, done.err)
        self.order = world.order(self.new, world.commit(f"v{self.new}"), **self.more(world))
        world.keep()

    def before(self) -> dict[str, Any]:
        return {}

    def more(self, world: World) -> dict[str, Any]:
        return {}

    def go(self, world: World, under: Sequence[str] = ()) -> Told:
        return world.run(self.order, under=under)

    def reached(self, world: World, told: Told) -> list[str]:
        return [] if told.outcome == self.ends else [f"it ended {told.outcome or told.code}: {told.cause}"]

    def look(self, world: World, told: Told) -> list[str]:
        broken = self.current(world, {self.old, self.new}) + _journal(world)
        try:
            world.status()
        except AssertionError as error:
            broken.append(str(error))
        return broken

    def again(self, world: World) -> list[str]:
        told = world.run(self.order)
        broken = (
            [] if told.outcome in ("ok", "unchanged") else [f"the next run: {told.outcome or told.code} {told.cause}"]
        )
        served = _served(world)
        if served != f"v{self.lands_on}":
            broken.append(f"{served} is served")
        return broken + self.current(world, {self.lands_on}) + _journal(world)

    def current(self, world: World, allowed: set[int]) -> list[str]:
        """Law 7: one of the releases that it may be, with everything that was made for it."""
        number = layout.current_release(world.path)
        if number not in allowed:
            return [f"current is {number}, not one of {sorted(allowed)}"]
        wanted: dict[str, str] = {"app.txt": f"v{number}", "media": "", "packages.lock": "1"}
        if number == self.old or self.makes_pages:
            wanted.update({"page.html": f"v{number}", "vendor/made": "made\n"})
        broken = []
        for name, text in wanted.items():
            place = world.path / "current" / name
            try:
                found = "" if place.is_dir() else place.read_text()
            except OSError as error:
                broken.append(f"release {number} is current and has no {name}: {error.strerror}")
                continue
            if found != text:
                broken.append(f"release {number} is current and its {name} has {found[:40]!r}")
        state = layout.release_info(world.path, number).get("state")
        return broken + (
            [] if state in (layout.READY, layout.CONFIRMED) else [f"release {number} is current and {state}"]
        )


class First(DeployOrder):
    """The very first order on a machine: nothing is there, and there is nothing to go back to."""

    name = "first"
    about = "the first order on a machine, which makes everything that there is"
    new = 1
    lands_on = 1

    def prepare(self, world: World) -> None:
        (world.path / "shared/media").mkdir(parents=True)
        self.order = world.order(1, world.commit("v1"))
        world.keep()

    def look(self, world: World, told: Told) -> list[str]:
        return self.current(world, {1}) if layout.current_release(world.path) is not None else []


class Ahead(DeployOrder):
    """What a machine of a later stage does: the release is laid out before its order, and taken by it."""

    name = "ahead"
    about = "a release that is prepared, and then ordered in the same conversation"

    def go(self, world: World, under: Sequence[str] = ()) -> Told:
        return world.run(self.order, under=under, ahead=True)

    def again(self, world: World) -> list[str]:
        ahead = world.run(self.order, ahead=True).events
        return super().again(world) + ([] if any(each["event"] == "prepared" for each in ahead) else ["not prepared"])


class Handed(DeployOrder):
    """A release whose commit comes over the open connection: the remote cannot be reached."""

    name = "handed"
    about = "a release that is prepared from what was handed over, and then ordered, while the remote is gone"

    def prepare(self, world: World) -> None:
        super().prepare(world)
        code = Code(str(world.origin), branch="main", copy=world.root / "copy")
        code.fetch()
        base = world.git("rev-parse", f"{self.order.commit}^", at=world.work)
        self.pack = base64.b64encode(code.pack(self.order.commit, base=base, bytes_max=1 << 20)).decode()
        assert self.pack, "there is nothing to hand over"
        world.origin.rename(world.outside / "gone.git")
        world.keep()

    def go(self, world: World, under: Sequence[str] = ()) -> Told:
        return world.run(self.order, under=under, ahead=True, pack=self.pack)

    def again(self, world: World) -> list[str]:
        told = self.go(world)
        fine = told.outcome in ("ok", "unchanged")
        broken = [] if fine else [f"the next run: {told.outcome or told.code} {told.cause}"]
        return broken + self.current(world, {self.lands_on}) + _journal(world)


class GoBack(DeployOrder):
    """An order that is not healthy and goes back to what ran."""

    name = "back"
    about = "a pushed order that is not healthy and is gone back from"
    lands_on = 2
    ends = "failed"

    def more(self, world: World) -> dict[str, Any]:
        served = f"cp app.txt {world.outside}/served"
        never = Service("web", restart=served, stop="true", health=Health(run="! grep -q v3 app.txt", within_s=0.05))
        return {"services": (never,)}

    def again(self, world: World) -> list[str]:
        told = world.run(self.order)
        broken = [] if told.outcome == "failed" else [f"the next run: {told.outcome or told.code} {told.cause}"]
        served = _served(world)
        return broken + ([f"{served} is served"] if served != "v2" else []) + self.current(world, {2}) + _journal(world)


class RunOnce(DeployOrder):
    """The lead's order: a claim is asked for, the command is kept company to its end."""

    name = "once"
    about = "the lead's order, with a once-step that is pending"
    makes_pages = False

    def more(self, world: World) -> dict[str, Any]:
        world.claims = 0
        return {"steps": (world.once(),), "lead": True}

    def look(self, world: World, told: Told) -> list[str]:
        broken = super().look(world, told)
        given = {f"c{number}" for number in range(1, world.claims + 1)}
        try:
            rows = {row["claim"]: row for home in world.status() for row in home["claims"]}
        except AssertionError:
            return broken  # said above
        for claim in given:
            state = rows.get(claim, {}).get("state", "not in the journal")
            if claim in world.starts and state in ("not-started", "not in the journal"):
                broken.append(f"claim {claim} was started, and the machine says: {state}")
        return broken

    def again(self, world: World) -> list[str]:
        broken = super().again(world)
        twice = [claim for claim in set(world.starts) if world.starts.count(claim) > 1]
        return broken + [f"claim {claim} was started twice" for claim in twice]


class InPlace(DeployOrder):
    """A checkout that stays where it is: the journal marks an interrupted one, and the next run finishes it."""

    name = "in-place"
    about = "a pushed order in an adopted checkout, with a change made by hand"

    def before(self) -> dict[str, Any]:
        return {"layout": Layout.IN_PLACE, "shared": (), "steps": ()}

    def more(self, world: World) -> dict[str, Any]:
        (world.path / "app.txt").write_text("by hand")
        return self.before()

    def prepare(self, world: World) -> None:
        world.commit("v0")
        world.git("clone", "-q", str(world.origin), str(world.path), at=world.root)
        super().prepare(world)

    def look(self, world: World, told: Told) -> list[str]:
        return _journal(world)

    def again(self, world: World) -> list[str]:
        told = world.run(self.order)
        broken = (
            [] if told.outcome in ("ok", "unchanged") else [f"the next run: {told.outcome or told.code} {told.cause}"]
        )
        if (world.path / "app.txt").read_text() != "v3":
            broken.append("the checkout is not the new commit")
        saved = "".join(each.read_text() for each in (world.folder / "saved").glob("*/changes.patch"))
        return broken + ([] if "+by hand" in saved else ["what was changed by hand is gone"])


class CatchUp(DeployOrder):
    """What a boot does: read the ledger, lay out, switch; after the services, confirm."""

    name = "catch-up"
    about = "catch-up --boot of an approved release, then --confirm"

    def prepare(self, world: World) -> None:
        super().prepare(world)
        config = {"app": "shop", "environment": "uat", "machine": "web", "path": str(world.path), "local": True}
        ledger = f"sqlite://{world.outside}/ledger"
        config.update(ledger=ledger, unsigned=True, machine_id="m1")
        durable.write_json(world.folder / "config.json", config)
        orders = {"web": self.order.to_json()}
        machines = [{"name": "web", "presence": "on-demand"}]
        stages = [{"name": "all", "machines": machines, "gates": False, "goes_on": False}]
        made = {"release": 3, "commit": self.order.commit, "pins": {}, "lead": "web", "rollback_to": 0}
        drafts = [
            Draft("lease-taken", {"fence": 1, "holder": "t", "length_s": 60}),
            Draft("release-made", {**made, "stages": stages, "fence": 1}),
            Draft("approved", {"release": 3, "stage": "all", "orders": orders, "fence": 1}),
        ]
        store = open_ledger(ledger, app="shop", environment="uat", workdir=world.outside / "copy")
        assert store.append(chain(drafts, ids=[f"i{n}" for n in range(3)], previous=store.read().tip, at="", by="t"))
        world.keep()

    def go(self, world: World, under: Sequence[str] = ()) -> Told:
        return world.talk([*under, *world.agent("catch-up", "--boot")])

    def reached(self, world: World, told: Told) -> list[str]:
        current = layout.current_release(world.path)
        return [] if (told.code, current) == (0, 3) else [f"exit {told.code}, current is {current}: {told.err[-300:]}"]

    def again(self, world: World) -> list[str]:
        told = world.talk(world.agent("catch-up", "--boot"))
        broken = [] if told.code == 0 else [f"catch-up: exit {told.code} {told.err[-300:]}"]
        (world.outside / "served").write_text((world.path / "current/app.txt").read_text())  # systemd starts it now
        told = world.talk(world.agent("catch-up", "--confirm"))
        broken += [] if told.code == 0 else [f"--confirm: exit {told.code} {told.err[-300:]}"]
        if layout.release_info(world.path, 3).get("state") != layout.CONFIRMED:
            broken.append(f"release 3 is not confirmed: {told.err[-300:]}")
        return broken + self.current(world, {3}) + _journal(world)


class Script(Operation):
    """A few lines of Python on the machine's disk; it prints a JSON line for each thing that it has done."""

    script = ""
    speaks = False

    def go(self, world: World, under: Sequence[str] = ()) -> Told:
        code = f"import json, sys\nfrom pathlib import Path\nplace = Path(sys.argv[1])\n{self.script}"
        return world.talk([*under, sys.executable, "-S", "-c", code, str(world.disk)])


class WriteJournal(Script):
    """The journal on its own: a damaged one is set aside, entries are added, an overlong one is shortened."""

    name = "journal"
    about = "a damaged journal repaired, then three entries"
    script = """
from wakeline.agent.journal import Journal
journal = Journal(place / "journal.jsonl", boot_id="b")
for number in range(3):
    journal.write("mark", number=number)
    print(json.dumps({"event": "written", "number": number}), flush=True)
"""

    def prepare(self, world: World) -> None:
        entries = [json.dumps({"what": "old", "number": number}) for number in range(20)]
        (world.disk / "journal.jsonl").write_text("\n".join(entries) + '\n{"what": "cut o')
        world.keep()

    def look(self, world: World, told: Told) -> list[str]:
        entries = journal.read(world.disk / "journal.jsonl")
        old = [entry for entry in entries if entry["what"] == "old"]
        marks = [entry["number"] for entry in entries if entry["what"] == "mark"]
        said = [event["number"] for event in told.events]
        broken = [] if len(old) == 20 else [f"{len(old)} of 20 old entries are left"]
        return broken + ([] if set(said) <= set(marks) else [f"{said} were written, and {marks} are there"])

    def again(self, world: World) -> list[str]:
        told = self.go(world)
        marks = [e["number"] for e in journal.read(world.disk / "journal.jsonl") if e["what"] == "mark"]
        broken = [] if told.code == 0 else [f"exit {told.code}: {told.err[-300:]}"]
        return broken + ([] if marks[-3:] == [0, 1, 2] else [f"{marks} are there"])


class Switch(Script):
    """The switch on its own: the link is renamed, a state file is replaced."""

    name = "switch"
    about = "`current` by rename, and a state file replaced"
    script = """
from wakeline.agent import durable
durable.point_link(place / "current", "releases/2")
print(json.dumps({"event": "switched"}), flush=True)
durable.write_json(place / "state.json", {"release": 2})
print(json.dumps({"event": "said"}), flush=True)
"""

    def prepare(self, world: World) -> None:
        for release in ("1", "2"):
            (world.disk / "releases" / release).mkdir(parents=True)
        (world.disk / "current").symlink_to("releases/1")
        (world.disk / "state.json").write_text('{"release": 1}')
        world.keep()

    def look(self, world: World, told: Told) -> list[str]:
        link, state = str((world.disk / "current").readlink()), durable.read_json(world.disk / "state.json")
        said = [event["event"] for event in told.events]
        broken = [] if link in ("releases/1", "releases/2") else [f"current -> {link}"]
        broken += [] if state.get("release") in (1, 2) else [f"the state file has {state}"]
        broken += [f"it said switched, and current -> {link}"] if "switched" in said and link[-1] != "2" else []
        return broken + (
            [f"it said so, and the file has {state}"] if "said" in said and state != {"release": 2} else []
        )

    def again(self, world: World) -> list[str]:
        told = self.go(world)
        broken = [] if told.code == 0 else [f"exit {told.code}: {told.err[-300:]}"]
        return broken + self.look(world, told)


class AppendSqlite(Script):
    """A ledger in a SQLite file: two records, then a check-in."""

    name = "sqlite"
    about = "two records and a check-in on a sqlite ledger"
    store = "sqlite://{place}/ledger"
    script = """
from wakeline.core.records import Draft, chain
from wakeline.edges.ledgers import open_ledger
ledger = open_ledger(sys.argv[2].format(place=place), app="shop", environment="uat", workdir=place / "copy")
import secrets
tip = ledger.read().tip
for number in range(2):
    (record,) = chain([Draft("note", {"number": number})], ids=[secrets.token_hex(8)], previous=tip, at="", by="t")
    if ledger.append([record], pins={"approved/all": sys.argv[3]} if sys.argv[3] else {}):
        tip = record.hash
        print(json.dumps({"event": "appended", "id": record.id}), flush=True)
ledger.check_in("web", {"release": 1})
print(json.dumps({"event": "checked-in"}), flush=True)
"""

    def prepare(self, world: World) -> None:
        self.commit = ""
        told = self.go(world)
        assert told.code == 0, told.err
        world.keep()

    def go(self, world: World, under: Sequence[str] = ()) -> Told:
        code = f"import json, sys\nfrom pathlib import Path\nplace = Path(sys.argv[1])\n{self.script}"
        url = self.store.format(place=self.place(world))
        return world.talk([*under, sys.executable, "-S", "-c", code, str(world.disk), url, self.commit])

    def place(self, world: World) -> Path:
        return world.disk

    def look(self, world: World, told: Told) -> list[str]:
        url = self.store.format(place=self.place(world))
        try:
            records = open_ledger(url, app="shop", environment="uat", workdir=world.disk / "copy").read().records
        except Exception as error:  # noqa: BLE001 - whatever it is, the ledger cannot be read after the fault
            return [f"the ledger cannot be read: {error}"]
        there = {record.id for record in records}
        lost = [event["id"] for event in told.events if event["event"] == "appended" and event["id"] not in there]
        broken = [f"record {each} was acknowledged and is gone" for each in lost]
        return broken + ([f"only {len(records)} records are left"] if len(records) < 2 else [])

    def again(self, world: World) -> list[str]:
        told = self.go(world)
        broken = [] if told.code == 0 else [f"exit {told.code}: {told.err[-300:]}"]
        said = [event["event"] for event in told.events]
        return broken + ([] if said == ["appended", "appended", "checked-in"] else [f"it said {said}"])


class AppendGit(AppendSqlite):
    """A ledger on a git remote; the remote is not this machine's, its copy is."""

    name = "git"
    about = "two records with a pin, and a check-in on a git ledger"
    store = "{place}/ledger.git"

    def prepare(self, world: World) -> None:
        world.git("init", "-q", "--bare", str(world.outside / "ledger.git"), at=world.root)
        self.commit = world.commit("v1")
        world.git("push", "-q", str(world.outside / "ledger.git"), "HEAD:refs/heads/main", at=world.work)
        told = self.go(world)
        assert told.code == 0, told.err
        world.keep()

    def place(self, world: World) -> Path:
        return world.outside


class SetUp(Operation):
    """What `wakeline setup` writes on a machine."""

    name = "setup"
    about = "the agent's `configure`, over an older one"

    def prepare(self, world: World) -> None:
        self.config = {"app": "shop", "environment": "uat", "machine": "web", "machine_id": "m1", "path": "/x"}
        told = self.go(world)
        assert told.code == 0, told.err
        self.config["path"] = "/y"
        world.keep()

    def go(self, world: World, under: Sequence[str] = ()) -> Told:
        return world.talk([*under, *world.agent("configure")], json.dumps(self.config).encode(), ends=True)

    def look(self, world: World, told: Told) -> list[str]:
        found = durable.read_json(world.folder / "config.json")
        return [] if found.get("path") in ("/x", "/y") else [f"the configuration is {found}"]

    def again(self, world: World) -> list[str]:
        told = self.go(world)
        return [] if told.code == 0 and self._is_new(world) else [f"exit {told.code}: {told.err[-300:]}"]

    def _is_new(self, world: World) -> bool:
        return bool(durable.read_json(world.folder / "config.json").get("path") == "/y")


OPERATIONS: tuple[type[Operation], ...] = (
    *(WriteJournal, Switch, AppendSqlite, AppendGit),
    *(First, DeployOrder, Ahead, Handed, RunOnce, GoBack, CatchUp, InPlace, SetUp),
)


def _served(world: World) -> str:
    """What the service was last started with; nothing where it never was."""
    place = world.outside / "served"
    return place.read_text() if place.exists() else ""


def _journal(world: World) -> list[str]:
    """Readable, and with everything that stood in it before."""
    before = journal.read(world.kept / "disk/home/shop/uat/journal.jsonl")
    now = journal.read(world.folder / "journal.jsonl")
    return [] if now[: len(before)] == before else [f"the journal has {len(now)} entries and had {len(before)}"]
