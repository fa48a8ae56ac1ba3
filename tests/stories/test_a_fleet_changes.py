"""Story 13: fleets grow, are renamed, share machines and take in further repositories."""

from __future__ import annotations

import subprocess

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


def test_a_third_machine_in_a_stage_of_its_own_joins_between_two_releases(fleet):
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
