"""Figures as an SVG: a bar a tool, from nothing to its median, with a line from the smallest to the largest."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from bench.table import TITLES

_ROW, _LEFT, _WIDE, _RIGHT, _HEAD, _GAP = 22, 130, 480, 70, 34, 14
_OURS, _RAW, _OTHERS = "#1d6f42", "#555555", "#9db4c8"


def render(found: Mapping[str, Any], *, title: str) -> str:
    """One picture of all jobs, on one scale of seconds."""
    jobs = {job: tools for job, tools in found["jobs"].items() if tools}
    most = max(each["wall_s"][2] for tools in jobs.values() for each in tools.values())
    body, y = [f'<text x="8" y="20" font-weight="bold">{escape(title)}</text>'], _HEAD
    for job, tools in jobs.items():
        body.append(f'<text x="8" y="{y + 14}" fill="#333333">{escape(TITLES.get(job, job))}</text>')
        y += _ROW
        for name, each in sorted(tools.items(), key=lambda pair: pair[1]["wall_s"][1]):
            body += _bar(name, each["wall_s"], y=y, scale=_WIDE / most)
            y += _ROW
        y += _GAP
    width = _LEFT + _WIDE + _RIGHT
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" viewBox="0 0 {width} {y}"'
    ground = f'<rect width="{width}" height="{y}" fill="#ffffff"/>'
    return "\n".join([f'{head} font-family="sans-serif" font-size="12">', ground, *body, "</svg>", ""])


def _bar(name: str, wall: list[float], *, y: int, scale: float) -> list[str]:
    least, median, most = wall
    colour = _OURS if name.startswith("wakeline") else _RAW if name == "raw" else _OTHERS
    start, end, middle = _LEFT + least * scale, _LEFT + most * scale, y + _ROW / 2 - 2
    return [
        f'<text x="{_LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>',
        f'<rect x="{_LEFT}" y="{y + 2}" width="{median * scale:.1f}" height="{_ROW - 8}" fill="{colour}"/>',
        f'<line x1="{start:.1f}" y1="{middle}" x2="{end:.1f}" y2="{middle}" stroke="#222222"/>',
        f'<text x="{end + 6:.1f}" y="{y + 13}">{median:.2f} s</text>',
    ]
