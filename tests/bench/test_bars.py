"""What is wanted of the figures, and the pictures that are made of them."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from bench import bars, plot


def tools(**medians: float) -> dict[str, dict[str, object]]:
    return {name: {"wall_s": [each * 0.9, each, each * 1.2], "runs": 3} for name, each in medians.items()}


def found(stages: int = 1, **jobs: dict[str, dict[str, object]]) -> dict[str, object]:
    return {"stages": stages, "jobs": {"first": {}, "code_only": {}, "no_change": {}, **jobs}}


def by_name(made: list[bars.Bar]) -> dict[str, bool | None]:
    return {bar.what: bar.met for bar in made}


def test_one_stage_is_measured_against_raw_and_against_each_peer():
    code_only = tools(raw=1.0, wakeline=1.05, pyinfra=1.6, capistrano=3.0) | {"ansible-steps": {"wall_s": [9, 10, 11]}}
    made = by_name(bars.of_comparison(found(code_only=code_only)))
    assert made["code_only: wakeline to raw"] is True
    assert made["code_only: pyinfra to wakeline"] is True
    assert made["code_only: capistrano to wakeline"] is False
    assert made["code_only: ansible-steps to wakeline"] is False


def test_what_was_not_measured_is_not_met_by_silence():
    made = bars.of_comparison(found(code_only=tools(raw=1.0, wakeline=1.0)))
    assert by_name(made)["first: wakeline to raw"] is None
    assert by_name(made)["code_only: pyinfra to wakeline"] is None
    assert "not run" in bars.render(made)


def test_two_stages_are_measured_against_raw_and_the_fastest_peer():
    code_only = tools(raw=1.0, wakeline=1.25, pyinfra=2.0, capistrano=1.2)
    made = by_name(bars.of_comparison(found(2, code_only=code_only)))
    assert made["code_only: wakeline to raw"] is True
    assert made["code_only: faster than every peer"] is False


def test_a_limit_itself_still_counts():
    assert bars.at_most("x", 1.1, 1.1).met
    assert bars.at_least("x", 3.0, 3.0).met
    assert not bars.at_most("x", 1.11, 1.1).met


def test_a_picture_is_well_formed_and_has_a_bar_a_tool_that_is_as_long_as_its_median():
    text = plot.render(found(code_only=tools(raw=1.0, wakeline=2.0)), title="2 machines <in> stages & so on")
    picture = ET.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    ground, *drawn = picture.findall(f"{space}rect")
    assert [float(each.attrib["width"]) for each in drawn] == [200.0, 400.0]
    assert float(ground.attrib["width"]) >= 130 + 480
    words = [each.text for each in picture.findall(f"{space}text")]
    assert "2.00 s" in words
    assert "2 machines <in> stages & so on" in words
