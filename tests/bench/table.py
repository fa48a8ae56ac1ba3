"""Figures as a table that a terminal and a page of Markdown show alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

TITLES = {"first": "first deploy", "code_only": "code-only change", "no_change": "no change"}


def render(found: Mapping[str, Any]) -> str:
    """One table a job, fastest first."""
    return "\n\n".join(_job(found, job) for job in found["jobs"] if found["jobs"][job]) + "\n"


def _job(found: Mapping[str, Any], job: str) -> str:
    tools = sorted(found["jobs"][job].items(), key=lambda each: each[1]["wall_s"][1])
    raw = found["jobs"][job].get("raw", {}).get("wall_s", [0, 0, 0])[1]
    head = [
        TITLES.get(job, job),
        "wall s, median",
        "min to max",
        "to raw",
        "CPU s here",
        "CPU s there",
        "kB on the wire",
    ]
    rows = [_row(name, each, raw) for name, each in tools]
    return grid([head, *rows])


def _row(name: str, each: Mapping[str, Any], raw: float) -> list[str]:
    least, median, most = each["wall_s"]
    times = f"{median / raw:.2f}" if raw else ""
    others = [f"{each[measure][1]:.{digits}f}" for measure, digits in _OTHERS]
    runs = "" if each["runs"] > 1 else " (one run)"
    return [f"{name}{runs}", f"{median:.2f}", f"{least:.2f} to {most:.2f}", times, *others]


_OTHERS = (("client_cpu_s", 2), ("machines_cpu_s", 2), ("wire_kb", 0))


def grid(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a table, the first of them its head; columns are as wide as their widest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])
