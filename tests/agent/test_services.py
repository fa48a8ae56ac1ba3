"""A unit is looked at before it is touched, and not twice in the same moment."""

from __future__ import annotations

import pytest
from one_machine import service

from wakeline.agent import services
from wakeline.core.order import Service
from wakeline.edges import process
from wakeline.errors import RolloutFailed

UNIT = Service("web", unit="web.service")


@pytest.fixture
def started(monkeypatch) -> list[list[str]]:
    """What is asked of systemd, which knows `web.service` as a unit that failed."""
    asked: list[list[str]] = []

    def run(argv, **_more):
        asked.append([each for each in argv if each in ("show", "restart", "reset-failed", "reload")])
        said = b"LoadState=loaded\nActiveState=failed\nResult=exit-code\n" if "show" in argv else b""
        return process.Finished(tuple(argv), 0, said, b"")

    monkeypatch.setattr(process, "run", run)
    return asked


def restart(seen: services.Seen | None) -> None:
    services.restart(None, UNIT, way="root", folder=None, seen=seen)  # type: ignore[arg-type] - a unit needs neither


def test_what_was_seen_just_now_counts_for_the_restart(started):
    restart(services.check([UNIT]))
    assert started == [["show"], ["reset-failed"], ["restart"]]


def test_what_was_seen_before_the_steps_does_not(started, monkeypatch):
    seen = services.check([UNIT])
    now_s = services.time.monotonic()
    monkeypatch.setattr(services.time, "monotonic", lambda: now_s + 1)
    restart(seen)
    assert started == [["show"], ["show"], ["reset-failed"], ["restart"]]


def test_a_unit_that_was_never_looked_at_is_looked_at(started):
    restart(services.Seen())
    restart(None)
    assert started == [["show"], ["reset-failed"], ["restart"]] * 2


def test_a_unit_that_is_not_there_stops_it_before_anything_is_switched(monkeypatch):
    monkeypatch.setattr(services, "show", lambda unit: {"LoadState": "masked"} if unit == "web.service" else {})
    with pytest.raises(RolloutFailed, match=r"web\.service is masked; worker\.service is unknown to systemd"):
        services.check([UNIT, Service("worker", unit="worker.service"), service("shell", restart="true")])
