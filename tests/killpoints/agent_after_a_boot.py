"""Starts the agent as a machine does (`-S`, nobody's site-packages), and tells it which boot this is.

After a cut the machine boots: the kernel here does not, so the agent is told another boot id than the kernel's.
"""

import os
import pathlib
import sys

_KERNELS = "/proc/sys/kernel/random/boot_id"
_read_text = pathlib.Path.read_text


def read_text(self, *words, **named):
    """As before, but for the one file that says which boot this is."""
    told = os.environ.get("KILLPOINTS_BOOT")
    return told if told and str(self) == _KERNELS else _read_text(self, *words, **named)


pathlib.Path.read_text = read_text
sys.path[0] = os.environ["KILLPOINTS_SOURCE"]

from wakeline.agent.__main__ import main  # noqa: E402 - it is found by the line above

sys.exit(main())
