"""How long the command itself takes to say something, beside Python and click alone.

`status` asks every machine, and starts a Python there. Its bar is about what it does itself, so it is measured with its
machine off; beside it stands what it takes with the machine on.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import tempfile
from pathlib import Path
from typing import Any

from bench import bars, figures
from bench.modes.local import LocalFleet

LIMIT = 2.0
_NOTE = """\
#!/bin/sh
{{ printf '%s\\0' "$@"; printf '\\n\\0'; }} >>{noted}
exec {git} "$@"
"""


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """`--help`, and `status --json` of a git ledger on disk; git's own time is that of the same calls again."""
    status = ["status", "--json"]
    with tempfile.TemporaryDirectory(prefix="wakeline-bench-") as folder:
        fleet = LocalFleet(Path(folder))
        fleet.switch(off=True)
        gits = _calls_of_git(fleet)
        wakeline, python = str(fleet.bin / "wakeline"), str(fleet.bin / "python")
        commands = {
            "click": [python, "-c", "import click"],
            "help": [wakeline, "--help"],
            "status": [wakeline, *status],
            "status, its machine on": [wakeline, *status],
            "git": ["/bin/sh", str(gits)],
        }
        walls: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(max(asked.rounds, 9)):
            for name, command in commands.items():
                fleet.switch(off="machine on" not in name)
                walls[name].append(fleet.seconds(command))
    middle = {name: statistics.median(each) for name, each in walls.items()}
    return {
        "wall_s": {name: figures.spread(each) for name, each in walls.items()},
        "bars": [
            bars.at_most("wakeline --help, to python -c 'import click'", middle["help"] / middle["click"], LIMIT),
            bars.at_most(
                "wakeline status --json, to the same and git's own time",
                middle["status"] / (middle["click"] + middle["git"]),
                LIMIT,
            ),
        ],
    }


def _calls_of_git(fleet: LocalFleet) -> Path:
    """A script of every call of git that one `status` makes, noted by a stand-in before the real one."""
    real = fleet.run(["/bin/sh", "-c", "command -v git"]).strip()
    shim, noted = fleet.root / "shim", fleet.root / "noted"
    shim.mkdir()
    (shim / "git").write_text(_NOTE.format(git=real, noted=noted))
    (shim / "git").chmod(0o755)
    fleet.wakeline("status", "--json", env={"PATH": f"{shim}:{os.environ['PATH']}"})
    calls = noted.read_text().split("\n\0") if noted.exists() else []
    lines = [
        shlex.join([real, *call.strip("\0").split("\0")]) + " </dev/null >/dev/null 2>&1 || true"
        for call in calls
        if call
    ]
    script = fleet.root / "git.sh"
    script.write_text("\n".join(lines) + "\n")
    return script
