"""What the bench prints, on figures that were made up."""

from __future__ import annotations

import json

from bench import figures, table
from bench.measure import Sample


def sample(wall_s: float) -> Sample:
    return Sample(wall_s=wall_s, client_cpu_s=0.1, machines_cpu_s=0.2, wire_kb=30.0, client_mb=40.0)


TAKEN = {
    "first": {"raw": [sample(2.0)]},
    "code_only": {"raw": [sample(1.0), sample(3.0), sample(2.0)], "wakeline": [sample(2.5)] * 3, "fabric": []},
    "no_change": {},
}
FOUND = figures.report(
    TAKEN,
    setting={"machines": 10, "stages": 1},
    versions={"raw": "OpenSSH_9.2p1"},
    not_run={"capistrano": "is not installed"},
)


def test_a_measure_is_smallest_median_and_largest_whatever_the_order_of_rounds():
    assert FOUND["jobs"]["code_only"]["raw"]["wall_s"] == [1.0, 2.0, 3.0]
    assert FOUND["jobs"]["code_only"]["raw"]["runs"] == 3


def test_the_object_is_one_line_of_json_with_machines_jobs_tools_and_measures():
    said = json.dumps(FOUND)
    assert "\n" not in said
    again = json.loads(said)
    assert again["machines"] == 10
    assert list(again["jobs"]) == list(figures.JOBS)
    assert set(again["jobs"]["first"]["raw"]) == {*figures.MEASURES, "runs"}


def test_a_tool_that_did_not_run_has_its_reason_and_no_figure():
    assert FOUND["not_run"] == {"capistrano": "is not installed"}
    assert "fabric" not in FOUND["jobs"]["code_only"]


def test_a_ratio_is_of_medians_and_of_nothing_where_one_was_not_run():
    assert figures.ratio(FOUND, "code_only", "wakeline", "raw") == 1.25
    assert figures.ratio(FOUND, "first", "wakeline", "raw") is None
    assert figures.ratio(FOUND, "no_change", "raw", "raw") is None


def test_the_table_has_the_fastest_on_top_and_says_how_many_times_raw():
    text = table.render(FOUND)
    first, code_only = text.split("\n\n")
    assert "raw (one run)" in first
    rows = [line.split("|")[1].strip() for line in code_only.strip().splitlines()[2:]]
    assert rows == ["raw", "wakeline"]
    assert " 1.25 " in code_only
    assert "1.00 to 3.00" in code_only


def test_every_row_of_a_table_is_as_wide_as_its_head():
    lines = table.grid([["tool", "wall"], ["a longer name", "1"]]).splitlines()
    assert {len(line) for line in lines} == {len(lines[0])}
