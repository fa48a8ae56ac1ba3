"""Law 9: what somebody changed on a server is told, and saved before it is replaced or pruned; in both layouts."""

from __future__ import annotations

import stat

import pytest

WARNING = "uat: files were changed by hand; they are saved before they are replaced"
PACKAGES = '[[step]]\nname = "packages"'


def change(fleet, old: str, new: str) -> None:
    text = (fleet.app / "wakeline.toml").read_text()
    assert old in text
    fleet.write("wakeline.toml", text.replace(old, new))


def saved(fleet) -> list:
    return sorted((fleet.root / "machines/uat/home/shop/uat/saved").glob("*/changes.patch"))


def test_in_a_release_folder_it_is_told_and_saved_before_that_folder_is_pruned(fleet):
    change(fleet, "[deploy]\n", "[deploy]\nkeep = 2\n")
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    assert "by hand" not in fleet.wakeline("status").err
    current = fleet.root / "machines/uat/app/current"
    (current / "pages.sh").write_text("# hotfix at night\n")
    (current / "notes.txt").write_text("why I did it\n")
    said = fleet.wakeline("status")
    assert WARNING in said.err
    assert [row["edited"] for row in fleet.wakeline("status", "--json").data["machines"]] == [False, True]
    for version in ("two", "three"):
        fleet.commit(version)
        said = fleet.wakeline("deploy", "-v")
        assert said.code == 0, said.err
    assert fleet.releases("uat") == ["2", "3"]
    (patch,) = saved(fleet)
    assert f"changes made by hand were saved in {patch.parent}" in said.err
    assert "+# hotfix at night" in patch.read_text()
    assert b"why I did it" in (patch.parent / "untracked.tar").read_bytes()
    assert stat.S_IMODE(patch.parent.stat().st_mode) == 0o700
    assert "by hand" not in fleet.wakeline("status").err


def test_what_python_leaves_beside_its_modules_is_nobodys_hand(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    for folder in ("__pycache__", "orders/__pycache__"):
        place = fleet.root / "machines/uat/app/current" / folder
        place.mkdir(parents=True)
        (place / "models.cpython-311.pyc").write_bytes(b"\0")
    assert "by hand" not in fleet.wakeline("status").err
    (fleet.root / "machines/uat/app/current/orders/models.py").write_text("# by night\n")
    assert WARNING in fleet.wakeline("status").err


@pytest.fixture
def in_place(fleet):
    """The same fleet in checkouts that stay where they are."""
    text = (fleet.app / "wakeline.toml").read_text()
    before, _, after = text.partition(PACKAGES)
    text = before + '[[step]]\nname = "migrate"' + after.partition('[[step]]\nname = "migrate"')[2]
    fleet.write("wakeline.toml", text.replace("[deploy]\n", '[deploy]\nlayout = "in-place"\n'))
    fleet.commit("adopted")
    for name in ("scheduler", "uat"):
        fleet.git("clone", "-q", str(fleet.root / "remote.git"), str(fleet.root / "machines" / name / "app"))
    assert fleet.wakeline("setup", "--unsigned").code == 0
    return fleet


def test_in_a_checkout_in_place_it_is_told_and_saved_before_it_is_replaced(in_place):
    in_place.commit("one")
    assert in_place.wakeline("deploy").code == 0
    checkout = in_place.root / "machines/uat/app"
    (checkout / "pages.sh").write_text("# hotfix at night\n")
    assert WARNING in in_place.wakeline("status").err
    in_place.commit("two", pages_sh="exit 0 # theirs")
    said = in_place.wakeline("deploy")
    assert said.code == 0, said.err
    assert in_place.serves("uat") == "two"
    assert (checkout / "pages.sh").read_text() == "exit 0 # theirs\n"
    (patch,) = saved(in_place)
    assert "+# hotfix at night" in patch.read_text()
    assert "by hand" not in in_place.wakeline("status").err
