"""`./dev bench`: see what it costs. The last line is one JSON object. Needs root, for it boots machines."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import bars, figures, page, table
from bench.machines import bed_of_machines
from bench.modes import application, asleep, catch_up, command_line, ledger, links, many, profile, without_a_gap
from bench.rounds import Rounds
from bench.tools import Tool
from bench.tools.ansible import AnsibleMitogen, AnsibleSteps, AnsibleTask
from bench.tools.capistrano import Capistrano
from bench.tools.fabric import FabricCommand, FabricSteps
from bench.tools.pyinfra import Pyinfra
from bench.tools.raw import Raw
from bench.tools.wakeline import Wakeline

_KINDS: tuple[type[Tool], ...] = (
    *(Raw, Wakeline, Pyinfra, FabricCommand, FabricSteps),
    *(Capistrano, AnsibleTask, AnsibleMitogen, AnsibleSteps),
)
TOOLS = {kind.name: kind for kind in _KINDS}
QUICK = ("raw", "wakeline", "pyinfra")
MODES = {
    "application": application.measure,
    "asleep": asleep.measure,
    "catch-up": catch_up.measure,
    "links": links.measure,
    "many": many.measure,
    "profile": profile.measure,
    "ledger": ledger.measure,
    "command-line": command_line.measure,
    "without-a-gap": without_a_gap.measure,
}
NEED_NO_ROOT = ("ledger", "command-line")


def main() -> int:
    """Measure, check, print."""
    asked = arguments(sys.argv[1:])
    if asked.what == "page":
        page.write()
        return 0
    if asked.what == "everything":
        return _everything()
    if os.geteuid() != 0 and asked.what not in NEED_NO_ROOT:
        sys.stderr.write("./dev bench boots machines, which needs root\n")
        return 2
    found = MODES.get(asked.what, _compare)(asked)
    if asked.keep:
        page.keep({**found, "bars": [each.to_json() for each in found["bars"]]}, asked.keep, command=_command(asked))
    if not asked.json:
        sys.stdout.write(table.render(found) + "\n" if "jobs" in found else "")
        sys.stdout.write(bars.render(found["bars"]) + "\n" if found["bars"] else "")
    sys.stdout.write(json.dumps({**found, "bars": [each.to_json() for each in found["bars"]]}) + "\n")
    return 0


def arguments(words: list[str]) -> argparse.Namespace:
    """What was asked for. Ends with exit code 2 for what cannot be."""
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument(
        "what",
        nargs="?",
        default="tools",
        choices=["tools", *MODES, "page", "everything"],
        help="what to measure (tools)",
    )
    parser.add_argument("--machines", type=int, default=10, metavar="N", help="how many (10)")
    parser.add_argument("--stages", type=int, default=1, metavar="K", help="dealt out to so many stages, in order (1)")
    parser.add_argument("--asleep", type=int, default=0, metavar="P", help="so many per cent of them are off (0)")
    parser.add_argument("--rounds", type=int, default=2, metavar="R", help="how often everything is measured (2)")
    parser.add_argument("--warm", type=int, default=0, metavar="W", help="code-only rounds before that are not (0)")
    parser.add_argument("--tools", default=",".join(QUICK), metavar="A,B", help=f"of {', '.join(TOOLS)}; or all")
    parser.add_argument("--keep", choices=page.SECTIONS, metavar="NAME", help="keep the figures for the page")
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    asked = parser.parse_args(words)
    asked.tools = list(TOOLS) if asked.tools == "all" else asked.tools.split(",")
    unknown = [name for name in asked.tools if name not in TOOLS]
    if unknown:
        parser.error(f"no such tool: {', '.join(unknown)}")
    return asked


def _everything() -> int:
    """Every measurement of the page in turn, and then the page. One that fails does not stop the others."""
    failed = []
    for name, (_, words) in page.SECTIONS.items():
        command = [sys.executable, "-m", "bench", *words.split(), "--keep", name]
        if subprocess.run(command, check=False).returncode:
            failed.append(f"./dev bench {words} --keep {name}")
    page.write()
    sys.stderr.write("".join(f"failed, its figures are those of before: {command}\n" for command in failed))
    return 1 if failed else 0


def _command(asked: argparse.Namespace) -> str:
    """What was asked for, as it is asked again."""
    words = ["./dev bench", *([] if asked.what == "tools" else [asked.what])]
    given = {"machines": 10, "stages": 1, "asleep": 0, "rounds": 2, "warm": 0}
    words += [f"--{name} {getattr(asked, name)}" for name, usual in given.items() if getattr(asked, name) != usual]
    if asked.what == "tools" and tuple(asked.tools) != QUICK:
        words.append("--tools all" if asked.tools == list(TOOLS) else f"--tools {','.join(asked.tools)}")
    return " ".join([*words, f"--keep {asked.keep}"])


def _compare(asked: argparse.Namespace) -> dict[str, Any]:
    asleep = round(asked.machines * asked.asleep / 100)
    tools = [TOOLS[name]() for name in asked.tools]
    with (
        bed_of_machines(count=asked.machines, stages=asked.stages, asleep=asleep) as machines,
        tempfile.TemporaryDirectory(prefix="wakeline-bench-") as folder,
    ):
        rounds = Rounds(machines, tools, folder=Path(folder))
        try:
            rounds.run(rounds=asked.rounds, warm=asked.warm)
        finally:
            rounds.close()
    setting = {
        "machines": asked.machines,
        "stages": asked.stages,
        "asleep": asleep,
        "rounds": asked.rounds,
        "kind": "booted" if machines.booted else "sshd in namespaces",
    }
    found = figures.report(rounds.taken, setting=setting, versions=rounds.versions, not_run=rounds.not_run)
    return {**found, "bars": bars.of_comparison(found)}


if __name__ == "__main__":
    sys.exit(main())
