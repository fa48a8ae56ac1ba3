"""The wheel of this checkout, as `./dev build` makes it; from a copy, because two builds in one place collide."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def build_wheel(into: Path) -> Path:
    """Build it into a folder, beside a copy of what it is built from."""
    copy = into / "built-from"
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(into), str(copy)]
    subprocess.run(command, check=True)
    return next(into.glob("wakeline-*.whl"))
