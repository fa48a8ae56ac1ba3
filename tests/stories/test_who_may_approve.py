"""Who may push to the ledger does not yet own the fleet: a machine acts on signed approvals alone."""

from __future__ import annotations

import json
import subprocess

import pytest

from wakeline.core.records import GENESIS, Draft, chain, verify

LOG = "refs/wakeline/shop/uat/log"


@pytest.fixture
def key(tmp_path):
    place = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place)], check=True)
    return place


@pytest.fixture
def signed(fleet, key):
    fleet.environment["WAKELINE_SIGNING_KEY"] = str(key)
    said = fleet.wakeline("setup")
    assert said.code == 0, said.err
    assert "approvals signed by one of 1" in said.out
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    return fleet


def replace_log(fleet, change) -> None:
    """Write the log anew, as somebody with a stolen token could: all links are good, what it says is theirs."""
    remote = fleet.root / "remote.git"
    lines = fleet.git("log", "--reverse", "--format=%B", LOG, at=remote).splitlines()
    records = verify([line for line in lines if line])
    previous, parent = GENESIS, []
    for record in records:
        draft = Draft(record.kind, change(record))
        (made,) = chain([draft], ids=[record.id], previous=previous, at=record.at, by=record.by)
        previous = made.hash
        tree = fleet.git("mktree", at=remote) if not parent else tree_of(fleet, parent[1])
        commit = subprocess.run(
            ["git", "-c", "user.name=x", "-c", "user.email=x@localhost", "commit-tree", tree, *parent, "-m", made.line],
            cwd=remote,
            capture_output=True,
            text=True,
            check=True,
            stdin=subprocess.DEVNULL,
        ).stdout.strip()
        parent = ["-p", commit]
    fleet.git("update-ref", LOG, parent[1], at=remote)


def tree_of(fleet, commit: str) -> str:
    return fleet.git("rev-parse", f"{commit}^{{tree}}", at=fleet.root / "remote.git")


def sleeps_through(fleet, version: str) -> None:
    fleet.power("uat", on=False)
    fleet.commit(version)
    assert fleet.wakeline("deploy").code == 0


def forget_what_was_seen(fleet) -> None:
    assert fleet.wakeline("ledger", "adopt").code == 0


def test_a_machine_that_wakes_takes_what_was_signed(signed):
    sleeps_through(signed, "two")
    signed.power("uat", on=True)
    assert signed.wakeline("catch-up", "uat").code == 0
    assert signed.serves("uat") == "two"


def forged(record):
    """The order of another command, under the old signature."""
    text = json.dumps(record.body).replace("pages.sh", "evil.sh") if record.kind == "approved" else ""
    return json.loads(text) if text else record.body


def unsigned(record):
    return {key: value for key, value in record.body.items() if key != "signature"}


def long_ago(record):
    return {**record.body, **({"expires": "2001-01-01T00:00:00Z"} if record.kind == "approved" else {})}


def moved(record):
    return {**record.body, **({"after": "0" * 64} if record.kind == "approved" else {})}


@pytest.mark.parametrize(
    ("change", "why"),
    [(forged, "are not those"), (unsigned, "is not signed"), (long_ago, "are not those"), (moved, "are not those")],
)
def test_an_approval_that_was_not_signed_like_this_is_refused(signed, change, why):
    sleeps_through(signed, "two")
    replace_log(signed, change)
    signed.power("uat", on=True)
    forget_what_was_seen(signed)
    said = signed.wakeline("catch-up", "uat")
    assert (said.code, why in said.out) == (1, True), said
    assert signed.serves("uat") == "one"


def test_an_approval_by_a_key_that_may_not_sign_is_refused(signed, tmp_path):
    stranger = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(stranger)], check=True)
    signed.environment["WAKELINE_SIGNING_KEY"] = str(stranger)
    sleeps_through(signed, "two")
    signed.power("uat", on=True)
    said = signed.wakeline("catch-up", "uat")
    assert (said.code, "by somebody who may not" in said.out) == (1, True), said
    assert signed.serves("uat") == "one"


def test_a_log_without_what_was_seen_is_refused_here_and_there_until_a_person_adopts_it(signed):
    sleeps_through(signed, "two")
    replace_log(signed, lambda record: {**record.body, "forged": True})
    signed.power("uat", on=True)
    here = signed.wakeline("deploy")
    assert (here.code, "no longer contains record" in here.err) == (1, True), here
    there = signed.wakeline("status")
    assert "wakeline ledger adopt" in there.err
    assert signed.wakeline("ledger", "adopt").code == 0
    assert signed.wakeline("status").code == 0


def test_without_a_key_nothing_is_begun(signed):
    del signed.environment["WAKELINE_SIGNING_KEY"]
    before = signed.log()
    signed.commit("two")
    said = signed.wakeline("deploy")
    assert (said.code, "WAKELINE_SIGNING_KEY" in said.err) == (2, True), said
    assert signed.log() == before


def test_setup_without_key_or_signers_says_how(fleet):
    said = fleet.wakeline("setup")
    assert said.code == 2
    assert "wakeline setup --unsigned" in said.err
