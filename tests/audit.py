"""Asks pip-audit, once a day, whether a library that we use has a known weakness. `./dev check` runs it.

It needs a vulnerability service. Where none can be reached, or one that knows nothing of any package (a mirror), it
says so in one line and does not fail: the answer is missing, not bad.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

STAMP = Path(sys.prefix) / ".audited"
DAY_S = 86400.0


def main() -> int:
    """Exit 1 for a known weakness."""
    made_from = Path(sys.prefix) / ".made-from"
    newest = made_from.stat().st_mtime if made_from.exists() else 0.0
    if STAMP.exists() and STAMP.stat().st_mtime > max(newest, time.time() - DAY_S):
        return 0
    try:
        found = _asked(ours())
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return _say("pip-audit: no vulnerability service can be reached from here; not asked")
    asked = [each for each in found if "skip_reason" not in each]
    weak = [f"{each['name']} {each['version']}: {each['vulns'][0]['id']}" for each in asked if each["vulns"]]
    if weak:
        _say("pip-audit: " + "; ".join(weak))
        return 1
    if not asked:
        return _say(f"pip-audit: the service knows none of {len(found)} packages (a mirror?); not asked")
    return _say(f"pip-audit: {len(asked)} packages, no known weakness")


def ours() -> list[str]:
    """What a user gets with wakeline: its libraries and theirs, in the versions that are installed here."""
    names, pinned = ["wakeline"], {}
    while names:
        name = names.pop()
        with contextlib.suppress(metadata.PackageNotFoundError):  # of another system or Python
            found = metadata.distribution(name)
            wanted = [each for each in found.requires or [] if "extra ==" not in each]
            news = [re.split(r"[^A-Za-z0-9._-]", each, maxsplit=1)[0].lower() for each in wanted]
            names += [each for each in news if each not in pinned]
            pinned[name] = found.version
    del pinned["wakeline"]
    return [f"{name}=={version}" for name, version in sorted(pinned.items())]


def _asked(pinned: list[str]) -> list[dict[str, Any]]:
    """What the service says of each. Raises TimeoutExpired, ValueError and KeyError where it says nothing."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(pinned) + "\n")
        file.flush()
        how = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
        command = [sys.executable, "-m", "pip_audit", "--requirement", file.name, *how]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    return found


def _say(text: str) -> int:
    STAMP.touch()
    print(text, file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
