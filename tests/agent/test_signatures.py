"""A machine that wakes alone acts on an approval only as it was signed: every way to bend one is refused, with why."""

from __future__ import annotations

import dataclasses
import subprocess
import time
from pathlib import Path

import pytest

from wakeline.agent import durable
from wakeline.agent.catch_up import _check_signature
from wakeline.agent.home import Home
from wakeline.core import approval
from wakeline.core.fold import fold
from wakeline.core.records import GENESIS, Draft, Record, chain
from wakeline.edges import signing
from wakeline.edges.ledgers import Log, Start
from wakeline.errors import WakelineError

ORDERS = {"uat": {"machine": "uat", "release": 2, "steps": []}, "web": {"machine": "web", "release": 2, "steps": []}}


def key(place: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place)], check=True)
    return place


@dataclasses.dataclass
class Signed:
    """A fleet's log with one approval in it, and a machine that looks at it."""

    folder: Path
    key: Path

    def body(self, *, after: str, key: Path | None = None, namespace: str = approval.NAMESPACE, **more) -> dict:
        fields = {"release": 2, "stage": "web", "orders": ORDERS, "agent": "a" * 64, "after": after}
        fields = {**fields, "expires": approval.expiry(time.time()), **more}
        words = approval.payload(fields, app="shop", environment="uat")
        return {**fields, "signature": signing.sign(words, key=key or self.key, namespace=namespace)}

    def log(self, **change) -> tuple[Record, Log]:
        first = chain([Draft("held", {"machine": "x"})], ids=["1"], previous=GENESIS, at="", by="ann")
        signed = {key: change.pop(key) for key in ("key", "namespace", "after", "expires") if key in change}
        body = {**self.body(**{"after": first[0].hash, **signed}), **change}
        second = chain([Draft("approved", body)], ids=["2"], previous=first[0].hash, at="", by="ann")
        return second[0], Log(second[0].hash, first + second)

    def machine(self, *, app: str = "shop", signers: str = "") -> Home:
        home = Home(self.folder / "home", app, "uat")
        durable.make_folder(home.folder)
        mine = f'wakeline namespaces="{approval.NAMESPACE}" {signing.public_key(self.key)}\n'
        durable.write_json(home.folder / "config.json", {"signers": signers or mine, "machine": "uat"})
        return home


@pytest.fixture
def signed(tmp_path):
    return Signed(tmp_path, key(tmp_path / "key"))


class Whole:
    """A ledger that is asked for all of its log."""

    def __init__(self, log: Log) -> None:
        self.log = log

    def read(self) -> Log:
        return self.log


def checked(home: Home, approved: Record, log: Log, whole: Log | None = None) -> None:
    _check_signature(home, approved, log, ledger=Whole(whole or log))


def refused(home: Home, approved: Record, log: Log, whole: Log | None = None) -> str:
    with pytest.raises(WakelineError) as caught:
        checked(home, approved, log, whole)
    return str(caught.value)


def test_as_it_was_signed_it_is_believed(signed):
    checked(signed.machine(), *signed.log())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"release": 3}, "its words are not those"),
        ({"stage": "db"}, "its words are not those"),
        ({"agent": "b" * 64}, "its words are not those"),
        ({"expires": "2999-01-01T00:00:00Z", "forged": True}, "its words are not those"),
        ({"orders": {**ORDERS, "uat": ORDERS["web"]}}, "its words are not those"),
        ({"signature": ""}, "is not signed"),
        ({"signature": "-----BEGIN SSH SIGNATURE-----\nAAAA"}, "somebody who may not"),
        ({"signature": 5}, "somebody who may not"),
        ({"after": "0" * 64}, "another place in the log"),
        ({"expires": "2001-01-01T00:00:00Z"}, "it ended at 2001"),
        ({"expires": "soon"}, "does not say when it ends"),
        ({"namespace": "git"}, "its words are not those"),
    ],
)
def test_a_bent_approval_is_refused_with_the_reason(signed, change, why):
    forged = change.pop("forged", False)
    if forged:
        approved, log = signed.log()
        approved = approved._replace(body={**approved.body, **change})
        log = Log(log.tip, (log.records[0], approved))
    else:
        approved, log = signed.log(**change)
    assert why in refused(signed.machine(), approved, log)


def test_a_truncated_signature_is_refused(signed):
    approved, _ = signed.log()
    cut = {"signature": approved.body["signature"][:120]}
    assert "somebody who may not" in refused(signed.machine(), *signed.log(**cut))


def test_an_approval_for_another_fleet_is_refused(signed):
    assert "its words are not those" in refused(signed.machine(app="blog"), *signed.log())


def test_an_approval_by_a_key_that_was_removed_is_refused(signed, tmp_path):
    other = signing.public_key(key(tmp_path / "other"))
    only_other = f'wakeline namespaces="{approval.NAMESPACE}" {other}\n'
    assert "somebody who may not" in refused(signed.machine(signers=only_other), *signed.log())


def test_an_approval_that_is_put_into_another_log_is_refused(signed):
    """Replayed: every word and the signature are good, and the place is not the one that was signed for."""
    approved, _ = signed.log()
    elsewhere = chain([Draft("held", {"machine": "y"})], ids=["9"], previous=GENESIS, at="", by="eve")
    again = chain([Draft("approved", approved.body)], ids=["10"], previous=elsewhere[0].hash, at="", by="eve")
    assert "another place in the log" in refused(signed.machine(), again[0], Log(again[0].hash, elsewhere + again))


def test_a_machine_that_was_told_of_nobody_believes_nobody(signed):
    home = signed.machine()
    durable.write_json(home.folder / "config.json", {"machine": "uat"})
    assert "knows nobody who may sign" in refused(home, *signed.log())


def begun_behind(log: Log, count: int) -> Log:
    """The log as it is read on top of what its first records meant."""
    start = Start(fold(log.records[:count]), "a commit")
    return Log(log.tip, log.records[count:], start=start)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_an_approval_is_believed_wherever_the_look_that_found_it_began(signed, count):
    made = [Draft("release-made", {"release": 2, "commit": "c", "lead": "uat", "stages": []})]
    first = chain(made, ids=["1"], previous=GENESIS, at="", by="ann")
    approved = chain(
        [Draft("approved", signed.body(after=first[0].hash))], ids=["2"], previous=first[0].hash, at="", by=""
    )
    log = Log(approved[0].hash, first + approved)
    checked(signed.machine(), approved[0], begun_behind(log, count), log)


def test_an_approval_that_is_remembered_and_not_in_the_log_is_refused(signed):
    approved, log = signed.log()
    other = chain([Draft("held", {"machine": "x"})], ids=["3"], previous=log.records[0].hash, at="", by="ann")
    without = Log(other[0].hash, (log.records[0], *other))
    assert "another place in the log" in refused(signed.machine(), approved, begun_behind(without, 1), without)
