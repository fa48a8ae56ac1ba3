"""What the figures must show, and whether they do. A bar that was not measured says so; it is never met by silence."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from bench.figures import median, ratio
from bench.table import grid

PEERS = (
    *("pyinfra", "fabric-command", "fabric-steps", "capistrano"),
    *("ansible-task", "ansible-mitogen", "ansible-steps"),
)


@dataclasses.dataclass(frozen=True)
class Bar:
    """One claim. `met` is None where nothing was measured."""

    what: str
    wanted: str
    found: str
    met: bool | None

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def at_most(what: str, figure: float | None, limit: float, *, unit: str = "x") -> Bar:
    """Met by a figure that is no more than the limit."""
    return Bar(what, f"at most {limit:g} {unit}", _shown(figure, unit), None if figure is None else figure <= limit)


def at_least(what: str, figure: float | None, limit: float, *, unit: str = "x") -> Bar:
    """Met by a figure that is no less than the limit."""
    return Bar(what, f"at least {limit:g} {unit}", _shown(figure, unit), None if figure is None else figure >= limit)


def of_comparison(found: Mapping[str, Any]) -> list[Bar]:
    """The bars that a comparison of tools can answer, by how many machines and stages it had."""
    if found["stages"] > 1:
        return [_to_raw(found, "code_only", 1.3), _fastest_of_all(found), _to_raw(found, "no_change", 1.3)]
    bars = [_to_raw(found, "code_only", 1.1), _to_raw(found, "first", 1.1)]
    for job in ("code_only", "first"):
        for peer, times in (("pyinfra", 1.5), ("capistrano", 3.0), ("ansible-steps", 10.0)):
            bars.append(at_least(f"{job}: {peer} to wakeline", ratio(found, job, peer, "wakeline"), times))
    return [*bars, _to_raw(found, "no_change", 1.3)]


def render(bars: list[Bar]) -> str:
    """The bars as a table."""
    words = {True: "met", False: "not met", None: "not run"}
    rows = [[bar.what, bar.wanted, bar.found, words[bar.met]] for bar in bars]
    return grid([["bar", "wanted", "found", ""], *rows]) + "\n"


def _to_raw(found: Mapping[str, Any], job: str, limit: float) -> Bar:
    return at_most(f"{job}: wakeline to raw", ratio(found, job, "wakeline", "raw"), limit)


def _fastest_of_all(found: Mapping[str, Any]) -> Bar:
    ours = median(found, "code_only", "wakeline")
    theirs = {peer: each for peer in PEERS if (each := median(found, "code_only", peer)) is not None}
    if ours is None or not theirs:
        return Bar("code_only: faster than every peer", "yes", "-", None)
    fastest = min(theirs, key=theirs.__getitem__)
    shown = f"{ours:.2f} s, {fastest} {theirs[fastest]:.2f} s"
    return Bar("code_only: faster than every peer", "yes", shown, ours < theirs[fastest])


def _shown(figure: float | None, unit: str) -> str:
    return "-" if figure is None else f"{figure:.2f} {unit}"
