"""How much more memory this process held at its peak than at the start of a block: what the kernel counts (proc(5))."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

_RESET_PEAK = "5"


@dataclasses.dataclass
class Peak:
    """`mib` is there once the block has ended."""

    mib: float = -1.0


@contextlib.contextmanager
def measured() -> Iterator[Peak]:
    """Measure a block."""
    Path("/proc/self/clear_refs").write_text(_RESET_PEAK)
    before, peak = _kib("VmHWM"), Peak()
    yield peak
    peak.mib = (_kib("VmHWM") - before) / 1024


def peak_mib(pid: int) -> float:
    """The peak of another process; 0 for one that has ended."""
    try:
        return _kib("VmHWM", of=str(pid)) / 1024
    except (OSError, LookupError):
        return 0.0


def _kib(what: str, *, of: str = "self") -> int:
    found = re.search(rf"^{what}:\s+(\d+) kB$", Path(f"/proc/{of}/status").read_text(), re.MULTILINE)
    if found is None:
        raise LookupError(what)
    return int(found[1])
