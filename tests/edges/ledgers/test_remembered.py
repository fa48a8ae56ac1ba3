"""What a log meant is remembered: the next start reads what came since, and notices all that it would have noticed."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from wakeline.core.fold import fold
from wakeline.core.records import GENESIS, Draft, Record, chain
from wakeline.core.state import State
from wakeline.edges.ledgers import Ledger, Log, memory, open_ledger, remembered
from wakeline.edges.ledgers import git as git_store
from wakeline.errors import LedgerError

LOG = "refs/wakeline/shop/uat/log"
IDS = (f"{number:016x}" for number in itertools.count(1))


def git(*arguments: str, at: Path, said: str = "") -> str:
    command = ["git", "-c", "user.name=e", "-c", "user.email=e@e", *arguments]
    return subprocess.run(command, cwd=at, input=said, capture_output=True, text=True, check=True).stdout.strip()


def drafts(number: int) -> list[Draft]:
    """One release, from its lease to its end: five records."""
    stages = [{"name": "only", "gates": True, "machines": [{"name": "one", "presence": "always"}]}]
    fence = {"fence": number}
    return [
        Draft("lease-taken", {**fence, "holder": "ann", "length_s": 180}),
        Draft("release-made", {**fence, "release": number, "commit": f"c{number}", "lead": "one", "stages": stages}),
        Draft("outcome", {**fence, "release": number, "machine": "one", "outcome": "ok"}),
        Draft("approved", {**fence, "release": number, "stage": "only", "orders": {"one": {"release": number}}}),
        Draft("lease-freed", fence),
    ]


def records(*numbers: int, previous: str = GENESIS) -> tuple[Record, ...]:
    all_of = [each for number in numbers for each in drafts(number)]
    return chain(all_of, ids=IDS, previous=previous, at="t", by="ann")


@dataclasses.dataclass
class Fleet:
    """A remote, and one computer that looks at its ledger now and then."""

    remote: Path
    workdir: Path

    @property
    def seen(self) -> Path:
        return self.workdir / "seen" / "shop.json"

    @property
    def fold(self) -> Path:
        return self.workdir / "seen" / "shop.fold"

    def ledger(self) -> Ledger:
        return open_ledger(str(self.remote), app="shop", environment="uat", workdir=self.workdir)

    def written(self, *numbers: int) -> tuple[Record, ...]:
        """Somebody else writes on."""
        other = open_ledger(str(self.remote), app="shop", environment="uat", workdir=self.workdir.with_name("other"))
        fresh = records(*numbers, previous=other.read().tip)
        assert other.append(fresh)
        return fresh

    def looked(self) -> tuple[Log, State]:
        """What a process of its own reads, and remembers."""
        log = memory.read(self.ledger(), place=self.seen)
        start, fresh = remembered.unfolded(log, State())
        state = fold(fresh, start=start)
        if remembered.is_due(log):
            remembered.keep(log, state, place=self.seen)
        return log, state

    def whole(self) -> State:
        """What somebody says who has never looked before."""
        shutil.rmtree(self.workdir.with_name("fresh"), ignore_errors=True)
        url = str(self.remote)
        fresh = open_ledger(url, app="shop", environment="uat", workdir=self.workdir.with_name("fresh"))
        return fold(fresh.read().records)

    def commits(self) -> list[str]:
        return git("rev-list", "--reverse", LOG, at=self.remote).split()


@pytest.fixture
def fleet(tmp_path, monkeypatch):
    monkeypatch.setattr(remembered, "EVERY", 10)
    git("init", "-q", "--bare", "remote.git", at=tmp_path)
    return Fleet(tmp_path / "remote.git", tmp_path / "work")


@pytest.fixture
def used(fleet):
    """A fleet that has remembered its first three releases, and has two more since."""
    fleet.written(1, 2)
    fleet.written(3)
    fleet.looked()
    fleet.written(4)
    fleet.written(5)
    return fleet


def rewritten(fleet: Fleet, *messages: str, parent: str = "") -> None:
    """Somebody replaces the log by these pushes, behind a commit or from the beginning."""
    tree = git("mktree", at=fleet.remote)
    for message in messages:
        behind = ["-p", parent] if parent else []
        parent = git("commit-tree", tree, *behind, at=fleet.remote, said=message)
    git("update-ref", LOG, parent, at=fleet.remote)


def text(lines: tuple[Record, ...]) -> str:
    return "\n".join(each.line for each in lines)


def test_the_next_start_reads_what_came_since_and_means_the_same(used, monkeypatch):
    read = []
    verify = git_store.verify
    monkeypatch.setattr(git_store, "verify", lambda lines, **more: (read.append(len(lines)), verify(lines, **more))[1])
    log, state = used.looked()
    assert read == [10]
    assert (log.position, log.start.state.position) == (25, 15)
    assert state == used.whole()


def test_a_log_that_stands_where_it_was_remembered_costs_no_reading(fleet, monkeypatch):
    fleet.written(1, 2, 3)
    fleet.looked()
    monkeypatch.setattr(git_store.GitLedger, "_entries", lambda *_: pytest.fail("read the log"))
    log, state = fleet.looked()
    assert (log.records, log.position, state.highest) == ((), 15, 3)


def test_it_is_made_anew_when_enough_has_come_and_not_before(used):
    before = used.fold.read_bytes()
    used.looked()
    after = used.fold.read_bytes()
    assert after != before
    used.written(6)
    log, _ = used.looked()
    assert (used.fold.read_bytes() == after, len(log.records)) == (True, 5)


def test_many_processes_one_after_the_other_all_mean_what_the_whole_log_means(fleet):
    for number in range(1, 80):
        fleet.written(number)
        _, state = fleet.looked()
        assert (state.highest, state.runs("one")) == (number, number)
    log, state = fleet.looked()
    assert log.start is not None
    assert state == fleet.whole()


def test_a_writer_appends_behind_what_it_has_read_on_top_of_a_start(used):
    ledger = used.ledger()
    log = memory.read(ledger, place=used.seen)
    assert ledger.append(records(6, previous=log.tip))
    assert not ledger.append(records(7, previous=log.tip)), "the log has moved"
    assert used.whole().highest == 6


def test_all_of_it_is_read_for_whoever_asks_for_all_of_it(used):
    ledger = used.ledger()
    memory.read(ledger, place=used.seen)
    whole = ledger.read()
    assert (whole.start, len(whole.records)) == (None, 25)


# --- what is not used ---


@pytest.mark.parametrize("seed", range(40))
def test_a_file_that_is_damaged_anywhere_is_not_used(used, seed):
    chance, data = random.Random(seed), bytearray(used.fold.read_bytes())
    at = chance.randrange(len(data))
    if seed % 2:
        data[at] ^= 1 << chance.randrange(8)
    else:
        del data[at:]
    used.fold.write_bytes(data)
    assert remembered.load(used.seen) is None
    log, state = used.looked()
    assert (log.start, state) == (None, used.whole())
    assert remembered.load(used.seen) is not None, "it is made anew"


@pytest.mark.parametrize("data", [b"", b"\0" * 4096, b"{}", b"x" * 64 + b"\n"])
def test_what_a_power_cut_leaves_is_not_used(used, data):
    used.fold.write_bytes(data)
    assert used.looked()[0].start is None


def test_what_another_wakeline_has_made_is_not_used(used, monkeypatch):
    monkeypatch.setattr(remembered, "maker", lambda: "another")
    log, state = used.looked()
    assert (log.start, state) == (None, used.whole())


def test_who_made_it_is_told_by_all_code_that_says_what_a_record_means():
    core = Path(fold.__code__.co_filename).parent
    names = {"archive", "fold", "model", "order", "packing", "records", "state"}
    assert {Path(str(each.__file__)) for each in remembered._MEANING} == {core / f"{name}.py" for name in names}


def test_a_folder_that_may_not_be_written_keeps_nobody_from_reading(fleet, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(remembered, "_write", full)
    fleet.written(1, 2, 3)
    assert fleet.looked()[1].highest == 3
    assert not fleet.fold.exists()


def test_a_copy_that_was_lost_is_made_anew(used):
    (copy,) = used.workdir.glob("*.git")
    shutil.rmtree(copy)
    assert used.looked()[1] == used.whole()


def test_a_copy_that_is_damaged_is_made_anew(used):
    (copy,) = used.workdir.glob("*.git")
    for each in copy.glob("objects/*/*"):
        each.chmod(0o644)
        each.write_bytes(b"")
    assert used.looked()[1] == used.whole()


def test_the_file_is_its_users_alone(used):
    assert used.fold.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in used.fold.parent.iterdir() if each.name.startswith(".")] == []


# --- a log that was changed is noticed as it was before ---


def replaced(fleet: Fleet) -> None:
    rewritten(fleet, text(records(1, 2, 3, 4, 5)))


def cut_before_what_is_remembered(fleet: Fleet) -> None:
    git("update-ref", LOG, fleet.commits()[0], at=fleet.remote)


def cut_where_it_was_remembered(fleet: Fleet) -> None:
    git("update-ref", LOG, fleet.commits()[1], at=fleet.remote)


def cut_behind_what_is_remembered(fleet: Fleet) -> None:
    git("update-ref", LOG, fleet.commits()[2], at=fleet.remote)


def another_end_behind_what_is_remembered(fleet: Fleet) -> None:
    known = remembered.load(fleet.seen)
    assert known is not None
    rewritten(fleet, text(records(4, 5, previous=known.state.tip)), parent=fleet.commits()[1])


def taken_away(fleet: Fleet) -> None:
    git("update-ref", "-d", LOG, at=fleet.remote)


CHANGES = [
    replaced,
    cut_before_what_is_remembered,
    cut_where_it_was_remembered,
    cut_behind_what_is_remembered,
    another_end_behind_what_is_remembered,
    taken_away,
]


def remember_the_end_alone(fleet: Fleet) -> None:
    """The end of the log was seen, and what it means was remembered before that: as it is between two times."""
    before = fleet.fold.read_bytes()
    fleet.looked()
    fleet.fold.write_bytes(before)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("remembers", [True, False], ids=["remembered", "not remembered"])
def test_a_log_that_was_cut_or_replaced_is_refused_with_what_is_remembered_and_without(used, change, remembers):
    remember_the_end_alone(used)
    change(used)
    if not remembers:
        used.fold.unlink()
    with pytest.raises(memory.NotTheLog, match="no longer contains record"):
        used.looked()


@pytest.mark.parametrize("change", CHANGES)
def test_a_log_that_a_person_has_adopted_is_read_from_its_own_beginning(used, change):
    remember_the_end_alone(used)
    change(used)
    memory.forget(used.seen)
    assert not used.fold.exists()
    assert used.looked()[1] == used.whole()


@pytest.mark.parametrize("change", CHANGES)
def test_a_memory_of_the_end_that_was_lost_lets_no_remembered_meaning_into_another_log(used, change):
    """Without it any log is believed, as before; but none is believed to mean what another one meant."""
    remember_the_end_alone(used)
    change(used)
    used.seen.unlink()
    assert used.looked()[1] == used.whole()


def behind(fleet: Fleet, fresh: tuple[Record, ...]) -> Callable[[], object]:
    rewritten(fleet, text(fresh), parent=fleet.commits()[-1])
    return fleet.looked


def test_records_that_do_not_hang_on_what_is_remembered_are_refused(used):
    look = behind(used, records(6))
    with pytest.raises(LedgerError, match="record 26: its `previous` is not the hash of the record before it"):
        look()


def test_an_id_that_stood_in_what_is_remembered_is_refused(used):
    known = used.whole()
    old = json.loads(git("log", "--format=%B", "-1", used.commits()[0], at=used.remote).splitlines()[0])["id"]
    look = behind(used, chain([Draft("held", {"machine": "one"})], ids=[old], previous=known.tip, at="t", by="eve"))
    with pytest.raises(LedgerError, match=f"record 26: id {old} stands in the log twice"):
        look()


def test_a_commit_that_is_not_ours_behind_what_is_remembered_is_refused(used):
    tip = used.commits()[-1]
    tree = git("mktree", at=used.remote)
    merge = git("commit-tree", tree, "-p", tip, "-p", used.commits()[0], at=used.remote, said="a merge")
    git("update-ref", LOG, merge, at=used.remote)
    with pytest.raises(LedgerError, match=f"commit {merge[:10]} is not wakeline's"):
        used.looked()


def test_what_is_remembered_of_another_log_that_hangs_on_the_same_commit_is_not_used(used):
    """The hash of the last record must be the one that the next one names: the commit alone says nothing."""
    start = remembered.load(used.seen)
    assert start is not None
    wrong = start._replace(state=dataclasses.replace(start.state, tip="f" * 64))
    log = used.ledger().read(start=lambda: wrong)
    assert (log.start, len(log.records)) == (None, 25)
