"""What many runs come to: smallest, median and largest of each measure, and the one JSON object at the end."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bench.measure import Sample

MEASURES = tuple(field.name for field in dataclasses.fields(Sample))
JOBS = ("first", "code_only", "no_change")
Figures = Mapping[str, Mapping[str, Mapping[str, Any]]]


def summary(samples: Sequence[Sample]) -> dict[str, Any]:
    """Of each measure the smallest, the median and the largest; `runs` says of how many."""
    shown: dict[str, Any] = {name: spread([getattr(each, name) for each in samples]) for name in MEASURES}
    return {**shown, "runs": len(samples)}


def spread(values: Sequence[float]) -> list[float]:
    """Smallest, median, largest."""
    return [round(each, 3) for each in (min(values), statistics.median(values), max(values))]


def report(
    taken: Mapping[str, Mapping[str, Sequence[Sample]]],
    *,
    setting: Mapping[str, Any],
    versions: Mapping[str, str],
    not_run: Mapping[str, str],
) -> dict[str, Any]:
    """The object: what was measured on what, by job and tool. A tool that did not run has its reason."""
    jobs = {job: {tool: summary(samples) for tool, samples in tools.items() if samples} for job, tools in taken.items()}
    return {**setting, "versions": dict(versions), "not_run": dict(not_run), "jobs": jobs}


def median(found: Mapping[str, Any], job: str, tool: str, measure: str = "wall_s") -> float | None:
    """The median of a measure; None where that was not run."""
    summed = found["jobs"].get(job, {}).get(tool)
    return None if summed is None else float(summed[measure][1])


def ratio(found: Mapping[str, Any], job: str, tool: str, to: str) -> float | None:
    """How many times as long one tool took as another, by their medians; None where one of them was not run."""
    ours, theirs = median(found, job, tool), median(found, job, to)
    return None if ours is None or not theirs else ours / theirs
