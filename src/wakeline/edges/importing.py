"""Imports beside other work: git's answers are waited for meanwhile, and are heard when they come."""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from collections.abc import Callable, Iterator

_TURN_S = 0.0005


def begin(module: str) -> None:
    """Import it while something else is done. Whoever imports it then waits for it, and is told why not."""
    beside(lambda: importlib.import_module(module))


def beside(work: Callable[[], object]) -> None:
    """Do in a thread what is mostly importing."""

    def give_way() -> None:
        with _giving_way():
            work()

    threading.Thread(target=give_way, daemon=True).start()


@contextlib.contextmanager
def _giving_way() -> Iterator[None]:
    """An import holds the interpreter for 5 ms at a time, longer than git takes to answer: sys.setswitchinterval()."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_TURN_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
