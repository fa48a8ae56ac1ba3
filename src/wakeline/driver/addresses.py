"""Addresses of receivers, each found once, however many messages and receivers it is for.

Finding one can cost: `cmd:` may ask a password store that wants a finger on a key, so it is not asked before there is
something to send, and never twice. What is found is a secret: whoever shows our words is told of it first (`hide`).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from wakeline.edges import notify
from wakeline.edges.notify import NotSent
from wakeline.github import run

Hide = Callable[[Iterable[str]], None]


def shown(_secrets: Iterable[str]) -> None:
    """Nobody hides anything here: where there is no runner, what we show never holds an address."""


class Addresses:
    """What the references of a fleet file lead to. `at` is where a relative path begins and a command runs."""

    def __init__(self, *, at: Path, hide: Hide = shown) -> None:
        self._at = at
        self._hide = hide
        self._found: dict[str, str | NotSent] = {}
        self._locks: dict[str, threading.Lock] = {}

    def find(self, reference: str) -> str:
        """The address. Raises NotSent, with the same words each time. May be called from several threads."""
        with self._locks.setdefault(reference, threading.Lock()):
            if reference not in self._found:
                self._found[reference] = self._looked_up(reference)
        found = self._found[reference]
        if isinstance(found, NotSent):
            raise NotSent(found.message, hint=found.hint)
        return found

    def hide_early(self, references: Iterable[str]) -> None:
        """Find what costs nothing to find, before anything is shown. What cannot be found is said when it is used."""
        for reference in references:
            if not reference.startswith("cmd:"):
                with contextlib.suppress(NotSent):
                    self.find(reference)

    def _looked_up(self, reference: str) -> str | NotSent:
        try:
            text = notify.read(reference, at=self._at)
            self._hide(run.secrets_in_address(text))
            return notify.address_in(text, reference=reference)
        except NotSent as error:
            return error
