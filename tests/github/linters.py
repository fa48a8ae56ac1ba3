"""actionlint and the strictest zizmor, over every workflow that `init github` writes. `./dev check` runs it.

Nothing is asked of GitHub: zizmor's audits that need its API are left out.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from github.workflows import FLEETS, laid_out

PROGRAMS = Path(sys.executable).parent
STRICTEST = ("--persona=auditor", "--strict-collection", "--no-ignores", "--offline", "--no-progress", "--color=never")


def main() -> int:
    """Exit 1 for whatever one of them finds."""
    found = []
    for name, file in FLEETS.items():
        with tempfile.TemporaryDirectory() as folder:
            places = laid_out(file, Path(folder))
            found += [
                f"the workflows of a fleet {name}:\n{said}" for said in (actionlint(places), zizmor(places)) if said
            ]
    print("".join(found), end="", file=sys.stderr)
    return 1 if found else 0


def actionlint(places: list[Path]) -> str:
    """What it finds; empty when that is nothing."""
    return _said("actionlint", "-no-color", *places)


def zizmor(places: list[Path]) -> str:
    """What it finds; empty when that is nothing."""
    return _said("zizmor", *STRICTEST, "--format=plain", *places)


def _said(program: str, *words: str | Path) -> str:
    done = subprocess.run([PROGRAMS / program, *words], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"{program}: exit {done.returncode}\n{done.stdout}{done.stderr}"


if __name__ == "__main__":
    sys.exit(main())
