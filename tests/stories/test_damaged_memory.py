"""What a machine remembers is truncated, zeroed, bit-flipped or of a newer version: set aside, and no crash."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from stories.conftest import until
from stories.test_cut_short import deploy_until_the_runner_is_killed, short_lease, waits
from stories.test_upgrades import looks


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def zeroed(data: bytes) -> bytes:
    return bytes(len(data))


def flipped(data: bytes) -> bytes:
    """One bit of every tenth byte."""
    return bytes(byte ^ 1 if number % 10 == 5 else byte for number, byte in enumerate(data))


def newer(data: bytes) -> bytes:
    """What a wakeline of next year writes: another version, and nothing of the kind that is expected."""
    found = [json.loads(line) for line in whole(data)]
    lines = [{key: {"n": 1} for key in each} | {"version": 99} if isinstance(each, dict) else each for each in found]
    return "\n".join(map(json.dumps, lines)).encode() + b"\n"


def whole(data: bytes) -> list[bytes]:
    try:
        json.loads(data)
    except ValueError:
        return [line for line in data.split(b"\n") if line]
    return [data]


Damage = Callable[[bytes], bytes]


def home_of(fleet, name: str = "uat") -> Path:
    return fleet.root / "machines" / name / "home" / "shop" / "uat"


def memory_of(fleet) -> list[Path]:
    """Everything that a machine remembers, but what setup wrote."""
    home, app = home_of(fleet), fleet.root / "machines" / "uat" / "app"
    found = [*home.glob("*.json"), *home.glob("*.jsonl"), *home.glob("reports/*.json"), home / "lock"]
    found += [*app.glob("releases/*/.wakeline-release.json"), *app.glob("cache/*/.complete.json")]
    return [each for each in found if each.name != "config.json"]


@pytest.fixture
def behind(fleet):
    """A machine that runs release one, with everything that it remembers, and may run two."""
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    assert looks(fleet).code == 0
    fleet.power("uat", on=False)
    fleet.commit("two")
    assert fleet.wakeline("deploy").code == 0
    fleet.power("uat", on=True)
    return fleet


@pytest.mark.parametrize("damage", [truncated, zeroed, flipped, newer])
def test_a_machine_whose_memory_is_damaged_catches_up_all_the_same(behind, damage: Damage):
    files = memory_of(behind)
    assert {"journal.jsonl", "order.json", "seen.json", "looked.json", ".wakeline-release.json"} <= {
        f.name for f in files
    }
    for file in files:
        file.chmod(0o644)
        file.write_bytes(damage(file.read_bytes()))
    said = looks(behind)
    assert (said.code, "Traceback" in said.err) == (0, False), said.err
    assert behind.serves("uat") == "two"
    for _ in range(2):
        said = looks(behind)
        assert (said.code, "nothing new" in said.err or "runs release 2" in said.err) == (0, True), said.err
    behind.commit("three")
    said = behind.wakeline("deploy")
    assert said.code == 0, said.err
    assert behind.serves("uat") == "three"


def test_a_release_that_cannot_say_any_more_that_it_was_good_can_still_be_gone_back_to(behind):
    current = behind.root / "machines/uat/app/current"
    (current / ".wakeline-release.json").write_bytes(b"\0" * 50)
    behind.commit("three", health_sh="exit 1")
    said = behind.wakeline("deploy")
    assert said.code == 1
    said = looks(behind)
    assert said.code == 0, said.err
    file = home_of(behind) / "damaged" / "release-1.json"
    assert file.read_bytes() == b"\0" * 50
    assert json.loads((behind.root / "machines/uat/app/releases/1/.wakeline-release.json").read_text())["links"]


@pytest.mark.parametrize("damage", [truncated, zeroed, newer])
def test_what_setup_wrote_is_not_guessed_at_and_the_machine_says_what_to_do(behind, damage: Damage):
    file = home_of(behind) / "config.json"
    file.write_bytes(damage(file.read_bytes()))
    said = looks(behind)
    assert (said.code, "Traceback" in said.err, "wakeline setup" in said.err) == (1, False, True), said.err
    assert behind.serves("uat") == "one"
    assert behind.wakeline("setup", "--unsigned").code == 0
    said = looks(behind)
    assert (said.code, behind.serves("uat")) == (0, "two"), said.err


@pytest.mark.parametrize("which", ["home/shop/uat/ledger", "app"])
@pytest.mark.parametrize("name", ["HEAD", "config", "objects"])
def test_a_damaged_copy_of_the_ledger_or_of_the_code_keeps_no_machine_from_catching_up(behind, which, name):
    (copy,) = (behind.root / "machines/uat" / which).glob("*.git")
    packs = list(copy.glob("objects/pack/*.pack"))
    if name == "objects":
        for file in copy.glob("objects/??/*"):
            file.chmod(0o644)
            file.write_bytes(b"")
        for file in packs:
            file.chmod(0o644)
            file.write_bytes(file.read_bytes()[:40])
    else:
        (copy / name).write_bytes(b"\0" * 20)
    said = looks(behind)
    assert (said.code, "Traceback" in said.err) == (0, False), said.err
    assert behind.serves("uat") == "two"
    if name == "objects":  # the copy is made anew, or git fetches what it misses beside a pack that it cannot read
        for file in packs:
            file.unlink(missing_ok=True)
            file.with_suffix(".idx").unlink(missing_ok=True)


def test_a_check_in_that_may_not_be_written_waits_and_the_next_contact_collects_it(behind):
    hook = behind.root / "remote.git/hooks/update"
    hook.write_text('#!/bin/sh\ncase "$1" in */check-in/*) echo read access alone >&2; exit 1;; esac\n')
    hook.chmod(0o755)
    said = looks(behind)
    assert (said.code, "its check-in waits here" in said.err) == (0, True), said.err
    assert behind.serves("uat") == "two"
    assert (home_of(behind) / "reports/catch-up.json").exists()
    behind.commit("three")
    assert behind.wakeline("deploy").code == 0
    heard = [(r["release"], r["outcome"]) for r in behind.log() if r["kind"] == "outcome" and r["machine"] == "uat"]
    assert (2, "ok") in heard, heard
    assert not (home_of(behind) / "reports/catch-up.json").exists()


@pytest.mark.parametrize("damage", [truncated, zeroed, flipped, newer])
def test_law_4_a_journal_that_was_lost_with_an_open_claim_in_it_lets_nothing_start_again(fleet, damage: Damage):
    fleet.write("migrate.sh", 'echo started >>"$1.starts"\n' + waits(fleet) + "exit 1\n")
    short_lease(fleet)
    fleet.commit("one")
    deploy_until_the_runner_is_killed(fleet)
    home = home_of(fleet, "scheduler")
    os.killpg(int((home / "lock").read_text().split()[0]), signal.SIGKILL)
    journal = home / "journal.jsonl"
    journal.write_bytes(damage(journal.read_bytes()))
    said = fleet.wakeline("deploy")
    assert (said.code, fleet.migrate_starts, "Traceback" in said.err) == (4, 1, False), said.err
    (fleet.root / "gate").touch()
    until(lambda: not fleet.machine("scheduler")["busy"])
    said = fleet.wakeline("deploy")
    assert (said.code in (1, 4), fleet.migrate_starts) == (True, 1), said.err
