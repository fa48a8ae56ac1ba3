"""Imports beside other work: git's answers are waited for meanwhile, and are heard when they come."""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from collections.abc import Callable, Iterator

_TURN_S = 0.0005


def begin(module: str) -> None:
    """Import it while something else is done. Whoever imports it then waits for it."""
    beside(lambda: importlib.import_module(module))


def beside(work: Callable[[], object]) -> None:
    """Do in a thread what is mostly importing. A module that cannot be imported is told to whoever imports it then."""

    def give_way() -> None:
        with _turns.short(), contextlib.suppress(ImportError):
            work()

    threading.Thread(target=give_way, daemon=True).start()


class _Turns:
    """How many give way, and how long the interpreter's turns were before the first of them."""

    def __init__(self) -> None:
        self._changes = threading.Lock()
        self._how_many = 0
        self._before_s = 0.0

    @contextlib.contextmanager
    def short(self) -> Iterator[None]:
        """An import holds the interpreter for 5 ms at a time, longer than git takes: sys.setswitchinterval()."""
        with self._changes:
            if not self._how_many:
                self._before_s = sys.getswitchinterval()
                sys.setswitchinterval(_TURN_S)
            self._how_many += 1
        try:
            yield
        finally:
            with self._changes:
                self._how_many -= 1
                if not self._how_many:
                    sys.setswitchinterval(self._before_s)


_turns = _Turns()
