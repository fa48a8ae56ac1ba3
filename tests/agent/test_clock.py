"""A clock that is a day off, jumps back, or says 1970: order is that of the numbers, and waits end all the same."""

from __future__ import annotations

import datetime
import subprocess
import sys
import time

import pytest
from one_machine import healthy, service, step

from wrong_clock import wrong_clock

pytestmark = pytest.mark.slow

WRONG = ["a-day-behind", "a-day-ahead", "1970", "an-hour-back-at-each-look"]


@pytest.fixture(params=WRONG)
def clock(request, tmp_path) -> dict[str, str]:
    return wrong_clock(tmp_path, request.param)


def test_the_clock_of_these_tests_is_wrong(tmp_path):
    says = "import time, datetime; print(time.gmtime().tm_year, datetime.datetime.now(datetime.timezone.utc).year)"
    said = subprocess.run(
        [sys.executable, "-c", says], env=wrong_clock(tmp_path, "1970"), capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == ["1970", "1970"]


def test_releases_go_by_their_numbers_whatever_the_clock_said_at_each(box, clock):
    first, second, third = (box.commit(text) for text in ("one", "two", "three"))
    assert box.run(box.order(1, first)).events[-1]["outcome"] == "ok"
    assert box.run(box.order(2, second), **clock).events[-1]["outcome"] == "ok"
    assert "release 2 already" in box.run(box.order(1, first)).events[-1]["cause"]
    assert "release 2 already" in box.run(box.order(1, first), **clock).events[-1]["cause"]
    bad = service("web", restart="true", health=healthy("false", within_s=0.3))
    talk = box.run(box.order(3, third, services=(bad,)), **clock)
    assert talk.of("switched_back")[0]["to"] == 2
    assert box.run(box.order(4, third, keep=2)).events[-1]["outcome"] == "ok"
    assert not (box.path / "releases/1").exists(), "the lowest number is the oldest, whenever it was made"
    assert (box.path / "releases/2").exists()


def test_the_journal_has_its_order_from_its_lines_and_not_from_their_times(box, clock):
    box.run(box.order(1, box.commit("one")))
    box.run(box.order(2, box.commit("two")), **clock)
    ended = [(entry["release"], entry["at"]) for entry in box.journal() if entry["what"] == "ended"]
    assert [release for release, _ in ended] == [1, 2]
    (_, right), (_, wrong) = ended
    off = datetime.datetime.fromisoformat(wrong) - datetime.datetime.fromisoformat(right)
    assert abs(off.total_seconds()) > 3000, "the fault was there"
    assert box.run(box.order(2, box.commit("two again"))).events[-1]["outcome"] in ("failed", "unchanged")
    assert box.current() == 2


def test_a_step_a_health_and_a_lock_are_waited_for_by_a_clock_that_does_not_jump(box, clock):
    began = time.monotonic()
    box.run(box.order(1, box.commit("one")))
    slow = box.run(box.order(2, box.commit("two"), steps=(step("slow", "sleep 300", timeout_s=0.5),)), **clock)
    assert slow.events[-1]["outcome"] == "failed"
    flaps = service("web", restart="true", health=healthy("false", within_s=0.5))
    sick = box.run(box.order(3, box.commit("three"), services=(flaps,)), **clock)
    assert "is not healthy" in sick.events[-1]["cause"]
    gate = box.root / "gate"
    holds = box.start(
        box.order(4, box.commit("four"), steps=(step("s", f"until test -e {gate}; do sleep 0.02; done"),))
    )
    holds.wait_for("step_started")
    waits = box.start(box.order(5, box.commit("five")), **clock)
    waits.wait_for("waiting")
    gate.touch()
    assert (holds.end()["outcome"], waits.end()["outcome"]) == ("ok", "ok")
    assert time.monotonic() - began < 60
