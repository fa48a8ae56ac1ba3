"""The page of figures says what the kept figures say, and keeps what was written by hand."""

from __future__ import annotations

import json

import pytest

from bench import __main__, page


def test_the_page_says_what_the_kept_figures_say():
    assert page.is_current(), "docs/performance.md is not what its figures say: ./dev bench page"


def test_every_kept_run_has_a_place_on_the_page():
    assert {each.stem for each in page.KEPT.glob("*.json")} <= set(page.SECTIONS)


@pytest.fixture
def docs(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "KEPT", tmp_path / "performance")
    monkeypatch.setattr(page, "PAGE", tmp_path / "performance.md")
    (tmp_path / "performance.md").write_text(f"# Before\n\n{page.BEGIN}\nold\n{page.END}\n\nafter\n")
    return tmp_path


def test_figures_go_between_the_marks_and_words_around_them_stay(docs):
    bar = {"what": "a bar", "wanted": "at most 1 x", "found": "2.00 x", "met": False}
    summed = {
        "wall_s": [1, 2, 3],
        "client_cpu_s": [1, 1, 1],
        "machines_cpu_s": [1, 1, 1],
        "wire_kb": [9, 9, 9],
        "runs": 3,
    }
    found = {
        "jobs": {"first": {"raw": summed}},
        "versions": {"raw": "9.2"},
        "not_run": {"cap": "no\nnever"},
        "bars": [],
    }
    page.keep(found, "ten", command="./dev bench")
    page.keep({"wall_s": {"10": [1, 2, 3]}, "bars": [bar]}, "ledger", command="./dev bench ledger")
    assert not page.is_current()
    page.write()
    text = (docs / "performance.md").read_text()
    assert text.startswith("# Before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "**not met**" in text
    assert "Not run: cap, because no." in text
    assert "Not measured yet: Slow links (`./dev bench links --rounds 5`)." in text
    assert (docs / "performance/ten.svg").exists()
    assert json.loads((docs / "performance/ten.json").read_text())["command"] == "./dev bench"
    assert page.is_current()


def test_every_measurement_of_the_page_can_be_asked_for():
    for _, words in page.SECTIONS.values():
        asked = __main__.arguments(words.split())
        assert asked.what in ("tools", *__main__.MODES)
        assert set(asked.tools) <= set(__main__.TOOLS)


def test_what_has_a_smallest_a_median_and_a_largest_is_a_table():
    found = {"command": "c", "bars": [], "machines": 2, "legs_s": {"start": [0.1, 0.2, 0.3]}}
    lines, grid = page._figures(found)
    assert lines == "- machines: `2`"
    assert "| start" in grid
    assert "| 0.1" in grid
