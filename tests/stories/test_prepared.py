"""While the scheduler is at work, the frontend gets ready: the folder is there, and nothing of it runs (law 1)."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from stories.conftest import until


def prepared(fleet, release: int) -> bool:
    """Whether the frontend has all of a release that nobody has ordered there."""
    place = fleet.root / f"machines/uat/app/releases/{release}/.wakeline-release.json"
    with contextlib.suppress(OSError, ValueError):
        return json.loads(place.read_text())["state"] == "prepared"
    return False


def agents(fleet) -> list[str]:
    """Processes of the fleet's agents, and what they started."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = place.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            found += [words] if f"{fleet.root}/machines/" in words else []
    return found


def test_the_frontend_has_the_folder_while_the_gate_s_health_still_waits(fleet):
    assert fleet.wakeline("deploy").code == 0
    gate = fleet.root / "gate"
    fleet.write("wakeline.toml", (fleet.app / "wakeline.toml").read_text().replace('within = "1s"', 'within = "100s"'))
    fleet.commit("one", health_sh=f'test "$WAKELINE_MACHINE" = uat || test -e {gate}')
    rollout = fleet.begin("deploy")
    until(lambda: prepared(fleet, 2) and fleet.serves("scheduler") == "one", limit_s=90)
    assert (fleet.serves("scheduler"), fleet.current("scheduler")) == ("one", "releases/2")
    assert (fleet.serves("uat"), fleet.current("uat"), fleet.packages_runs("uat")) == ("zero", "releases/1", 1)
    assert [each["machines"] for each in fleet.log() if each["kind"] == "sent"][-1] == ["scheduler"]
    gate.touch()
    assert rollout.wait(timeout=90) == 0
    rollout.communicate()
    assert (fleet.serves("uat"), fleet.current("uat")) == ("one", "releases/2")


def test_a_failing_migration_leaves_nothing_running_and_the_next_release_prunes_what_was_prepared(fleet):
    assert fleet.wakeline("deploy").code == 0
    gate = fleet.root / "gate"
    wait = f"until test -e {gate}; do sleep 0.02; done; exit 1"
    fleet.commit("bad", migrate_sh=wait, schema="0002")
    rollout = fleet.begin("deploy")
    until(lambda: prepared(fleet, 2), limit_s=90)
    gate.touch()
    assert rollout.wait(timeout=90) == 1
    rollout.communicate()
    until(lambda: agents(fleet) == [], limit_s=90)
    assert (fleet.serves("uat"), fleet.current("uat"), fleet.releases("uat")) == ("zero", "releases/1", ["1", "2"])
    said = {each["machine"]: each["outcome"] for each in fleet.log() if each["kind"] == "outcome"}
    assert said == {"scheduler": "failed", "uat": "withheld"}
    fleet.commit("good", migrate_sh='cat schema >>"$1"')
    assert fleet.wakeline("deploy").code == 0
    assert (fleet.serves("uat"), fleet.releases("uat")) == ("good", ["1", "3"])


def test_a_rollout_that_is_interrupted_ends_what_it_had_asked_for(fleet):
    assert fleet.wakeline("deploy").code == 0
    fleet.commit("slow", pages_sh="sleep 600")
    rollout = fleet.begin("deploy")
    until(lambda: prepared(fleet, 2), limit_s=90)
    rollout.terminate()
    assert rollout.wait(timeout=90) == 130
    rollout.communicate()
    until(lambda: agents(fleet) == [], limit_s=90)
    assert fleet.current("uat") == "releases/1"
