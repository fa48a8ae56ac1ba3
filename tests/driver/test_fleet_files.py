"""A fleet file that was judged good is not judged again; one that was changed is."""

import pytest

from wakeline import fleet
from wakeline.driver import fleet_files
from wakeline.fleet import example, file

TEXT = """\
app = "shop"
environment = "uat"
git = "/srv/shop.git"
[deploy]
path = "/opt/shop"
[[stage]]
name = "web"
[[stage.machine]]
name = "web"
address = "web.internal"
presence = "on-demand"
roles = ["web"]
[[service]]
unit = "web.service"
health = { http = "http://127.0.0.1/", within = "5s" }
[[step]]
name = "migrate"
once = true
run = "./migrate"
verify = "./verify"
"""


@pytest.fixture
def judged(monkeypatch):
    """The names that were judged."""
    names: list[str] = []
    load = fleet.load
    monkeypatch.setattr(fleet, "load", lambda text, *, name: (names.append(name), load(text, name=name))[1])
    return names


@pytest.mark.parametrize("text", [TEXT, example.text()], ids=["small", "example"])
def test_what_is_remembered_is_equal_to_what_was_judged(text, tmp_path, judged):
    first = fleet_files.load(text, name="first", workdir=tmp_path)
    again = fleet_files.load(text, name="again", workdir=tmp_path)
    assert judged == ["first"]
    assert again == first == fleet.load(text, name="other")


def test_every_value_of_a_file_survives_the_way_through_json():
    found = fleet.load(example.text(), name="example")
    assert file.from_json(file.to_json(found)) == found


def test_another_text_is_judged_anew(tmp_path, judged):
    fleet_files.load(TEXT, name="first", workdir=tmp_path)
    assert fleet_files.load(TEXT.replace("5s", "6s"), name="second", workdir=tmp_path).services[0].health.within_s == 6
    assert judged == ["first", "second"]


def test_a_memory_that_cannot_be_read_is_judged_anew(tmp_path, judged):
    fleet_files.load(TEXT, name="first", workdir=tmp_path)
    (kept,) = (tmp_path / "fleet-files").iterdir()
    for damage in ("", "{}", "[]", '{"fleet": 1}'):
        kept.write_text(damage)
        assert fleet_files.load(TEXT, name="again", workdir=tmp_path).fleet.app == "shop"
    assert judged == ["first", *["again"] * 4]


def test_a_bad_file_is_never_remembered(tmp_path, judged):
    for _ in range(2):
        with pytest.raises(fleet.FleetFileError):
            fleet_files.load(TEXT.replace("presence", "presents"), name="bad", workdir=tmp_path)
    assert judged == ["bad", "bad"]


def test_a_cache_that_cannot_be_written_costs_time_and_nothing_else(tmp_path):
    (tmp_path / "fleet-files").write_text("in the way")
    assert fleet_files.load(TEXT, name="first", workdir=tmp_path).fleet.app == "shop"
