"""Story 13: fleets grow, are renamed, share machines and take in further repositories."""

from __future__ import annotations

import subprocess
import sys

from wakeline.driver.project import open_project

THIRD = """
[[stage]]
name = "extra"
[[stage.machine]]
name = "extra"
address = "local:{root}/machines/extra"
presence = "on-demand"
roles = ["web"]
"""


def change(fleet, old: str, new: str) -> None:
    text = (fleet.app / "wakeline.toml").read_text()
    assert old in text
    fleet.write("wakeline.toml", text.replace(old, new))


def append(fleet, text: str) -> None:
    fleet.write("wakeline.toml", (fleet.app / "wakeline.toml").read_text() + text)


def test_the_first_release_ever_fails_and_nothing_is_left_half_done(fleet):
    fleet.commit("one", health_sh="exit 1")
    said = fleet.wakeline("deploy")
    assert said.code == 1
    assert "there is no earlier release" in said.err
    assert fleet.serves("uat") == ""
    fleet.commit("two", health_sh="exit 0")
    assert fleet.wakeline("deploy").code == 0
    assert fleet.serves("uat") == "two"


def approvals(fleet, machine: str) -> list[tuple[int, str]]:
    """The approvals that are for this machine alone."""
    return [(r["release"], r["stage"]) for r in fleet.log() if r["kind"] == "approved" and r.get("machine") == machine]


def test_setup_lets_a_third_machine_join_the_present_release_at_once(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    append(fleet, THIRD.format(root=fleet.root))
    fleet.commit("two")
    said = fleet.wakeline("setup", "extra", "--unsigned")
    assert said.code == 0, said.err
    assert "extra: release 1 is approved for it, and it looks now" in said.out
    assert (fleet.serves("extra"), fleet.migrate_starts) == ("one", 1)
    assert approvals(fleet, "extra") == [(1, "extra")]
    assert fleet.wakeline("setup", "extra", "--unsigned").code == 0
    assert len(approvals(fleet, "extra")) == 1, "setup is safe twice"
    assert fleet.wakeline("deploy").code == 0
    assert (fleet.serves("uat"), fleet.serves("extra")) == ("two", "two")


def test_law_6_a_machine_that_joins_takes_nothing_that_has_not_passed_its_gates(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    fleet.commit("two", migrate_sh="exit 1", schema="0002")
    assert fleet.wakeline("deploy").code == 1
    append(fleet, THIRD.format(root=fleet.root))
    fleet.commit("three")
    assert fleet.wakeline("setup", "extra", "--unsigned").code == 0
    assert fleet.serves("extra") == "one"


def test_a_machine_joins_under_a_signature_and_without_a_key_it_waits_for_the_next_deploy(fleet):
    key = fleet.root / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    fleet.environment["WAKELINE_SIGNING_KEY"] = str(key)
    assert fleet.wakeline("setup").code == 0
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    append(fleet, THIRD.format(root=fleet.root))
    fleet.commit("two")
    del fleet.environment["WAKELINE_SIGNING_KEY"]
    said = fleet.wakeline("setup", "extra")
    assert (said.code, "no key to sign with" in said.err) == (0, True), said
    assert (fleet.serves("extra"), approvals(fleet, "extra")) == ("", [])
    fleet.environment["WAKELINE_SIGNING_KEY"] = str(key)
    said = fleet.wakeline("setup", "extra")
    assert said.code == 0, said.err
    assert fleet.serves("extra") == "one"
    record = next(r for r in fleet.log() if r.get("machine") == "extra" and r["kind"] == "approved")
    assert record["signature"].startswith("-----BEGIN SSH SIGNATURE-----")


def test_a_machine_that_joins_and_fails_is_red_and_nothing_is_half_done_there(fleet):
    fleet.commit("one", pages_sh='[ "$WAKELINE_MACHINE" != extra ] || { echo "no such tool"; exit 7; }')
    assert fleet.wakeline("deploy").code == 0
    append(fleet, THIRD.format(root=fleet.root))
    fleet.commit("two")
    said = fleet.wakeline("setup", "extra", "--unsigned")
    assert said.code == 1
    assert "extra: release 1: failed pages: exit 7" in said.err
    assert "no such tool" in said.err
    assert (fleet.serves("extra"), fleet.current("extra")) == ("", "")
    said = fleet.wakeline("catch-up", "extra")
    assert (said.code, "wakeline explain extra" in said.err) == (1, True), said


def test_a_machine_that_is_taken_out_keeps_what_it_runs_or_stops_where_the_file_says_so(fleet):
    text = (fleet.app / "wakeline.toml").read_text()
    text = text.replace('restart = "cat', f'stop = "rm {fleet.root}/serves-$WAKELINE_MACHINE"\nrestart = "cat')
    fleet.write("wakeline.toml", text)
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    front = text[text.index('[[stage]]\nname = "frontend"') : text.index("[[step]]")]
    fleet.write("wakeline.toml", text.replace(front, ""))
    fleet.commit("two")
    assert fleet.wakeline("deploy").code == 0
    assert "uat is retired: release 2, the newest approved, has no order for it" in catch_up_by_itself(fleet, "uat")
    assert fleet.serves("uat") == "one"
    fleet.write("wakeline.toml", text.replace(front, "").replace("[deploy]\n", '[deploy]\non_retire = "stop"\n'))
    fleet.commit("three")
    assert fleet.wakeline("deploy").code == 0
    assert "stopped, as `on_retire` says: web" in catch_up_by_itself(fleet, "uat")
    assert fleet.serves("uat") == ""


def test_a_rollback_approves_no_stage_that_is_gone_and_its_machine_stops_where_the_file_says_so(fleet):
    """Seen by the simulation: the approval of a stage that nobody has any more had no order that could say so."""
    text = (fleet.app / "wakeline.toml").read_text()
    text = text.replace('restart = "cat', f'stop = "rm {fleet.root}/serves-$WAKELINE_MACHINE"\nrestart = "cat')
    text = text.replace("[deploy]\n", '[deploy]\non_retire = "stop"\n')
    fleet.write("wakeline.toml", text)
    for version in ("one", "two"):
        fleet.commit(version)
        assert fleet.wakeline("deploy").code == 0
    front = text[text.index('[[stage]]\nname = "frontend"') : text.index("[[step]]")]
    fleet.write("wakeline.toml", text.replace(front, ""))
    fleet.commit("three")
    said = fleet.wakeline("rollback", "--to", "1")
    assert said.code == 0, said.err
    assert [r["stage"] for r in fleet.log() if r["kind"] == "approved" and r["release"] == 3] == ["scheduler"]
    assert "stopped, as `on_retire` says: web" in catch_up_by_itself(fleet, "uat")
    assert fleet.serves("uat") == ""


def test_a_stage_that_the_release_does_not_have_is_told_and_not_waited_for(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    append(fleet, THIRD.format(root=fleet.root))
    fleet.commit("two")
    first = fleet.git("rev-parse", "HEAD~1")
    said = fleet.wakeline("deploy", first, "--stage", "extra")
    assert (said.code, "release 1 of this commit was made before the fleet changed" in said.err) == (2, True), said
    assert fleet.log()[-1]["kind"] == "lease-freed"


def test_the_same_commit_again_after_a_machine_was_taken_out_walks_those_that_are_left(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    text = (fleet.app / "wakeline.toml").read_text()
    front = text[text.index('[[stage]]\nname = "frontend"') : text.index("[[step]]")]
    fleet.write("wakeline.toml", text.replace(front, ""))
    fleet.commit("two")
    said = fleet.wakeline("deploy", fleet.git("rev-parse", "HEAD~1"))
    assert said.code == 0, said.err
    assert "scheduler" in said.out
    assert "uat" not in said.out


def catch_up_by_itself(fleet, machine: str) -> str:
    """What the machine's own timer starts; its words are for its journal."""
    home = fleet.root / "machines" / machine / "home"
    argv = [sys.executable, str(home / "agent.pyz"), "--home", str(home), "catch-up"]
    done = subprocess.run(argv, env=fleet.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_a_machine_that_was_never_set_up_is_told_and_joins_after_setup(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    (fleet.root / "machines/extra").mkdir()
    append(fleet, THIRD.format(root=fleet.root))
    fleet.commit("two")
    early = fleet.wakeline("deploy")
    assert early.code == 1  # it was never set up: the deploy says so, and goes on for nobody behind it
    assert "extra" in early.err
    assert fleet.wakeline("setup", "extra", "--unsigned").code == 0
    assert fleet.wakeline("retry").code == 0
    assert fleet.serves("extra") == "two"


def test_a_run_knows_when_the_fleet_file_has_changed_since_it_began(fleet, monkeypatch):
    for name, value in fleet.environment.items():
        monkeypatch.setenv(name, value)
    fleet.commit("one")
    begun = open_project(fleet.app)
    fleet.commit("two")
    assert not begun.is_outdated(), "a commit that changes no fleet file"
    append(fleet, THIRD.format(root=fleet.root))
    fleet.commit("three")
    assert begun.is_outdated()
    assert fleet.wakeline("deploy").code == 1, "extra was never set up"
    made = next(r for r in fleet.log() if r["kind"] == "release-made")
    assert made["fleet"] == fleet.git("rev-parse", "HEAD")


def test_a_renamed_machine_keeps_its_place(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    change(fleet, 'name = "uat"\n', 'name = "web"\nrenamed_from = "uat"\n')
    fleet.commit("two")
    said = fleet.wakeline("setup", "web", "--unsigned")
    assert said.code == 0, said.err
    fleet.power("uat", on=False)
    said = fleet.wakeline("deploy")
    assert said.code == 0, said.err
    assert "web is asleep" in said.err
    fleet.power("uat", on=True)
    assert fleet.wakeline("catch-up", "web").code == 0
    assert fleet.serves("web") == "two"


def test_law_1_renaming_the_machine_that_failed_lets_nobody_by_who_waits_behind_it(fleet):
    first = fleet.commit("one", health_sh="exit 1")
    assert fleet.wakeline("deploy", "--stage", "scheduler").code == 1
    change(fleet, 'name = "scheduler"\naddress', 'name = "main"\nrenamed_from = "scheduler"\naddress')
    fleet.commit("two")
    said = fleet.wakeline("deploy", first, "--stage", "frontend")
    assert (said.code, "was made before scheduler was renamed to main" in said.err) == (2, True), said
    assert [r["machines"] for r in fleet.log() if r["kind"] == "sent"] == [["scheduler"]]


def test_a_renamed_machine_that_nobody_set_up_again_follows_at_its_own_look(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    fleet.wakeline("hold", "uat", "--why", "demo")
    change(fleet, 'name = "uat"\n', 'name = "web"\nrenamed_from = "uat"\n')
    fleet.commit("two")
    said = fleet.wakeline("deploy")
    assert (said.code, "web is on hold: demo" in said.err) == (0, True), said
    assert fleet.wakeline("unhold", "web").code == 0
    assert "release 2: ok" in catch_up_by_itself(fleet, "uat")
    assert fleet.serves("web") == "two"
    assert fleet.machine("web")["release"] == 2
    fleet.commit("three")
    assert fleet.wakeline("deploy").code == 0
    assert fleet.serves("web") == "three"


def test_a_hold_by_a_new_name_stops_a_machine_that_wakes_before_anything_was_deployed_under_it(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    fleet.power("uat", on=False)
    fleet.commit("two")
    assert fleet.wakeline("deploy").code == 0
    change(fleet, 'name = "uat"\n', 'name = "web"\nrenamed_from = "uat"\n')
    fleet.commit("three")
    assert fleet.wakeline("hold", "web", "--why", "demo").code == 0
    fleet.power("uat", on=True)
    assert "on hold: demo" in catch_up_by_itself(fleet, "uat")
    assert fleet.serves("uat") == "one"


def test_a_hold_by_names_that_were_never_set_up_says_what_it_does_not_stop(fleet):
    """Seed 451380: renamed twice, and what was under way knew neither name; nor could anybody but people."""
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    change(fleet, 'name = "uat"\n', 'name = "web"\nrenamed_from = "uat"\n')
    fleet.commit("two")
    assert "nothing was set up" not in fleet.wakeline("hold", "web").err, "uat was, and the hold says that web is uat"
    change(fleet, 'name = "web"\nrenamed_from = "uat"\n', 'name = "third"\nrenamed_from = "second"\n')
    fleet.commit("three")
    said = fleet.wakeline("hold", "third")
    assert said.code == 0
    assert "nothing was set up as third, nor as second: what is under way there by another name goes on" in said.err
    assert "wakeline setup third, or hold all of them: wakeline hold" in said.err
    said = fleet.wakeline("deploy")
    assert (said.code, "third was called second, and the ledger has never heard of either" in said.err) == (2, True)
    assert "it knows web, which the fleet file does not" in said.err
    planned = fleet.wakeline("plan")
    assert (planned.code, planned.err) == (2, said.err)
    said = fleet.wakeline("retry", "third")
    assert (said.code, "nothing was set up or deployed as third, nor as second" in said.err) == (2, True), said
    assert fleet.wakeline("setup", "third", "--unsigned").code == 0, "the ledger has it by its machine-id"
    said = fleet.wakeline("deploy")
    assert (said.code, "third is on hold" in said.err, fleet.serves("uat")) == (0, True, "one"), said


def test_a_copied_machine_is_not_the_one_that_it_was_copied_from(fleet):
    (fleet.root / "machines/copy").mkdir()
    append(fleet, THIRD.format(root=fleet.root).replace('"extra"', '"copy"').replace("machines/extra", "machines/uat"))
    fleet.commit("one")
    said = fleet.wakeline("setup", "copy", "--unsigned")
    assert said.code == 1
    assert "is uat already" in said.err


def further(fleet, text: str) -> str:
    """A commit in the second repository."""
    place = fleet.root / "front"
    if not place.exists():
        fleet.git("init", "-q", "--initial-branch=main", "front", at=fleet.root)
        fleet.git("config", "user.name", "Ann", at=place)
        fleet.git("config", "user.email", "ann@localhost", at=place)
    (place / "page.html").write_text(text)
    fleet.git("add", "-A", at=place)
    fleet.git("commit", "-qm", text, at=place)
    return fleet.git("rev-parse", "HEAD", at=place)


def page(fleet, machine: str) -> str:
    return (fleet.root / "machines" / machine / "app/current/front/page.html").read_text()


def test_a_second_repository_is_pinned_to_the_release_and_goes_back_with_it(fleet):
    first = further(fleet, "first")
    append(fleet, f'\n[[repository]]\npath = "front"\ngit = "{fleet.root}/front"\n')
    fleet.commit("one")
    said = fleet.wakeline("deploy")
    assert said.code == 0, said.err
    assert page(fleet, "uat") == "first"
    assert [r["pins"] for r in fleet.log() if r["kind"] == "release-made"] == [{"front": first}]
    further(fleet, "second")
    assert fleet.wakeline("plan", "--exit-code").code == 8
    assert fleet.wakeline("deploy").code == 0  # the main repository has not moved
    assert page(fleet, "uat") == "second"
    assert fleet.wakeline("deploy").code == 0
    assert fleet.machine("uat")["release"] == 2  # nothing moved, so there is no third release
    assert fleet.wakeline("rollback", "--to", "1").code == 0
    assert page(fleet, "uat") == "first"


def test_a_second_repository_never_covers_what_the_first_one_has(fleet):
    further(fleet, "first")
    append(fleet, f'\n[[repository]]\npath = "pages.sh"\ngit = "{fleet.root}/front"\n')
    fleet.commit("one")
    said = fleet.wakeline("deploy")
    assert said.code == 1
    assert "has something there already" in said.err


def test_two_apps_on_one_machine_know_nothing_of_each_other(fleet, tmp_path):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    (tmp_path / "other").mkdir()
    other = type(fleet)(tmp_path / "other")
    for name in ("scheduler", "uat"):
        home = other.root / "machines" / name
        subprocess.run(["rm", "-rf", str(home)], check=True)
        home.symlink_to(fleet.root / "machines" / name)
    change(other, 'app = "shop"', 'app = "blog"')
    change(other, 'path = "./app"', 'path = "./blog"')
    other.commit("hello")
    assert other.wakeline("setup", "--unsigned").code == 0
    said = other.wakeline("deploy")
    assert said.code == 0, said.err
    assert (fleet.serves("uat"), other.serves("uat")) == ("one", "hello")
    assert fleet.wakeline("rollback").code == 2  # blog's release is nothing that shop could go back to
    assert fleet.machine("uat")["release"] == 1
