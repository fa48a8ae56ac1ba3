"""`docs/performance.md` is made of figures that were kept: the JSON of each run, its pictures, words around them."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import bars, plot, table

DOCS = Path(__file__).resolve().parents[2] / "docs"
KEPT = DOCS / "performance"
PAGE = DOCS / "performance.md"
BEGIN, END = "<!-- figures: made by `./dev bench page` -->", "<!-- end of figures -->"
# What is kept under which name, in the order of the page: what it is called there, and what it is asked for by.
SECTIONS = {
    "two-stages": ("Two stages of one booted machine", "--machines 2 --stages 2 --rounds 5 --warm 4 --tools all"),
    "ten": ("Ten machines in one stage", "--rounds 5 --warm 4 --tools all"),
    "fifty": ("Fifty machines in one stage", "--machines 50 --tools raw,wakeline,pyinfra,fabric-command,capistrano"),
    "fifty-slow": (
        "Fifty machines, with Ansible",
        "--machines 50 --rounds 1 --tools raw,wakeline,ansible-task,ansible-steps",
    ),
    "asleep": ("Machines that are off and do not answer", "asleep --rounds 5"),
    "catch-up": ("A catch-up with nothing to do", "catch-up --rounds 9"),
    "links": ("Slow links", "links --rounds 5"),
    "many": ("Hundreds of machines", "many --machines 500"),
    "ledger": ("A long ledger", "ledger --rounds 5"),
    "application": ("A real application", "application --rounds 5"),
    "command-line": ("The command line", "command-line --rounds 15"),
    "profile": ("Where the time goes", "profile --rounds 9"),
    "without-a-gap": ("No request lost", "without-a-gap"),
}


def keep(found: Mapping[str, Any], name: str, *, command: str) -> None:
    """Keep a run's figures, with the command that made them, what it ran on, and a picture where tools are compared."""
    KEPT.mkdir(exist_ok=True)
    kept = {"command": command, "host": host(), **found}
    (KEPT / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n")
    if "jobs" in found:
        (KEPT / f"{name}.svg").write_text(plot.render(found, title=f"{SECTIONS[name][0]}: seconds to the end"))


def host() -> str:
    """What the figures were measured on, without the host's name."""
    return f"{os.cpu_count()} cores, Linux {platform.release().split('-')[0]}, load {os.getloadavg()[0]:.1f} at the end"


def write() -> None:
    """Put what is kept into the page; the words around it stay."""
    PAGE.write_text(_filled(PAGE.read_text()))


def is_current() -> bool:
    """True when the page says what the kept figures say."""
    return _filled(PAGE.read_text()) == PAGE.read_text()


def _filled(text: str) -> str:
    kept = {name: json.loads((KEPT / f"{name}.json").read_text()) for name in SECTIONS if _is_kept(name)}
    body = "\n\n".join([_summary(kept), *(_section(name, found) for name, found in kept.items())])
    return re.sub(
        f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: f"{BEGIN}\n\n{body}\n\n{END}", text, flags=re.DOTALL
    )


def _is_kept(name: str) -> bool:
    return (KEPT / f"{name}.json").exists()


def _summary(kept: Mapping[str, Mapping[str, Any]]) -> str:
    """Every bar with its figure, and what was not measured at all."""
    words = {True: "met", False: "**not met**", None: "not run"}
    rows = [
        [SECTIONS[name][0], bar["what"], bar["wanted"], bar["found"], words[bar["met"]]]
        for name, found in kept.items()
        for bar in found["bars"]
        if bar["met"] is not None or not name.startswith("fifty")
    ]
    lines = ["## Every bar", table.grid([["measured on", "bar", "wanted", "found", ""], *rows])]
    lines += [f"Not measured yet: {title} (`./dev bench {words}`)." for title, words in _missing(kept)]
    return "\n\n".join(lines)


def _missing(kept: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(title, words) for name, (title, words) in SECTIONS.items() if name not in kept]


def _section(name: str, found: Mapping[str, Any]) -> str:
    parts = [f"## {SECTIONS[name][0]}", f"`{found['command']}` ({found['host']})"]
    if "jobs" in found:
        parts += [f"![seconds a tool]({KEPT.name}/{name}.svg)", table.render(found).rstrip("\n"), _versions(found)]
    else:
        parts += [bars.render([bars.Bar(**each) for each in found["bars"]]).rstrip("\n")] if found["bars"] else []
        parts += _figures(found)
    parts += [f"Not run: {tool}, because {why.splitlines()[0]}." for tool, why in found.get("not_run", {}).items()]
    return "\n\n".join(parts)


def _versions(found: Mapping[str, Any]) -> str:
    return "Versions: " + ", ".join(f"{tool} {said}" for tool, said in found["versions"].items()) + "."


def _figures(found: Mapping[str, Any]) -> list[str]:
    """The figures of a measurement as they are: what has a smallest, a median and a largest as a table."""
    shown = {key: value for key, value in found.items() if key not in ("command", "host", "bars", "not_run")}
    tables = {key: value for key, value in shown.items() if _is_table(value)}
    lines = [f"- {key}: `{json.dumps(value)}`" for key, value in shown.items() if key not in tables]
    return [
        *(["\n".join(lines)] if lines else []),
        *(
            table.grid(
                [[key, "smallest", "median", "largest"], *([name, *map(str, row)] for name, row in rows.items())]
            )
            for key, rows in tables.items()
        ),
    ]


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(row, list) and len(row) == 3 for row in value.values())
