"""`./dev fuzz [TARGET] [--seconds N]`: atheris looks for bytes that end in a trace, a hang or much memory.

Each target gets a process of its own, because atheris ends the one that it runs in.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"


def main() -> int:
    """Exit 1 when a target broke; atheris prints the bytes."""
    parser = argparse.ArgumentParser(prog="./dev fuzz")
    parser.add_argument("target", nargs="?", default="")
    parser.add_argument("--seconds", type=int, default=30, help="how long each target is looked at")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.here:
        return look(asked.target, seconds=asked.seconds)
    from fuzz.targets import TARGETS  # noqa: PLC0415 - atheris instruments what is imported after it

    names = [asked.target] if asked.target else sorted(TARGETS)
    broken = []
    for name in names:
        command = [sys.executable, "-m", "fuzz", name, "--seconds", str(asked.seconds), "--here"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        runs = [line for line in done.stderr.splitlines() if line.startswith("Done ")]
        print(f"{name:<20} {runs[-1] if runs else 'broke'}", flush=True)
        if done.returncode:
            broken.append(name)
            print(done.stderr[-4000:] + done.stdout[-2000:])
    print(f"targets: {len(names)} broken: {len(broken)}")
    return 1 if broken else 0


def look(name: str, *, seconds: int) -> int:
    """One target in this process, which atheris ends."""
    try:
        import atheris  # noqa: PLC0415 - wanted by `./dev fuzz` alone
    except ImportError:
        print("missing: atheris (./dev fuzz installs it where a wheel for this Python is to be had)", file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=["wakeline", "fuzz"]):
        from fuzz.targets import TARGETS  # noqa: PLC0415 - same
    arguments = [sys.argv[0], f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048", "-max_len=65536"]
    atheris.Setup(arguments, TARGETS[name])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
