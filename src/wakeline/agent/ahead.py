"""What may be done of a release before its order has come: its commit is fetched and its folder laid out.

The runner asks for it while an earlier stage is still at work, or while the order is put on record. It is not an order,
and nothing depends on it.

Laws that live here:

- Law 1: nothing of the release runs: no step, no once-step, no script, no hook, and `current` is not touched.
- Law 7: the folder counts only when all of it is on disk, for the very commit that is ordered later, in the same boot.
- It is in nobody's way: it takes the machine's lock only where it is free, lets go of it for whoever waits, and ends
  with the contact. What keeps it from its end is told, and happens again, as an error, when the order comes.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wakeline.agent import durable, lock, repository, wire
from wakeline.agent.home import Home, home_of
from wakeline.agent.layout import SPACE_FLOOR, Releases
from wakeline.agent.overtaken import EarlyLook
from wakeline.core import carrying_out
from wakeline.core.carrying_out import Begin
from wakeline.core.order import BadOrder, Order, order_from_json
from wakeline.errors import RolloutFailed, WakelineError

_LOOK_S = 0.1


def prepare(word: Mapping[str, Any], *, root: Path, channel: wire.Channel) -> EarlyLook | None:
    """Do it, and say `prepared`, with why not. Raises nothing for what happens here: the order will say it.

    Where the order comes next, its word says where the ledger stands: returns a look at it, which goes on meanwhile.
    """
    why, release, look = "", 0, None
    try:
        order = order_from_json(word.get("order") or {})
        release = order.release
        home = home_of(root, order.app, order.environment)
        home.make()
        path = home.folder / "lock"
        with lock.hold(path, wait_s=0, release=release, ahead=True), channel.needed(), _wanted(path) as wanted:
            why = _why_not(order, home, word)
            if not why and isinstance(word.get("stamp"), str) and word["stamp"]:
                look = EarlyLook(home, told=word["stamp"])
            if not why:
                _lay_out(order, word, home=home, stop_fds=(channel.wake_fd, wanted))
    except (BadOrder, WakelineError, OSError, ValueError) as error:
        why = getattr(error, "message", "") or str(error)
    channel.send("prepared", release=release, ok=not why, why=why)
    return look


def _why_not(order: Order, home: Home, word: Mapping[str, Any]) -> str:
    """Why nothing is prepared here, or nothing. The order is admitted on its own merits, whatever was said here."""
    if not order.may_be_prepared:
        return "its fetch would touch what runs"
    problem = home.is_another(word.get("machine_id"))
    seen = durable.read_json(home.folder / "fence.json").get("fence", 0)
    problem = problem or carrying_out.stale(word.get("fence"), seen=seen)
    runs = Releases(order, home=home).current()
    if not problem and carrying_out.begin(order.release, runs=runs, confirmed=True) is not Begin.MAKE_READY:
        problem = f"release {runs} runs here"
    return problem


def _handed(word: Mapping[str, Any]) -> bytes:
    """The pack that came with the word, or nothing."""
    pack = word.get("pack")
    try:
        return base64.b64decode(pack, validate=True) if isinstance(pack, str) else b""
    except ValueError:
        return b""  # it is fetched


def _tree_bytes(word: Mapping[str, Any]) -> int:
    """The size that came with the word, or 0."""
    size = word.get("tree_bytes")
    return size if isinstance(size, int) and size > 0 else 0


def _lay_out(order: Order, word: Mapping[str, Any], *, home: Home, stop_fds: tuple[int, ...]) -> None:
    releases = Releases(order, home=home)
    if releases.is_prepared:
        return
    releases.prepare()
    if shutil.disk_usage(releases.path).free < SPACE_FLOOR:
        raise RolloutFailed(f"no space left on {releases.path}")  # the order makes room, where it can
    try:
        with repository.giving_way(*stop_fds):
            releases.fetch(handed=_handed(word))
            releases.check_space(may_make_room=False, tree_bytes=_tree_bytes(word))
            releases.lay_out_ahead()
    except (WakelineError, OSError):
        releases.take_back()
        raise


@contextlib.contextmanager
def _wanted(path: Path) -> Iterator[int]:
    """A descriptor that has something to read as soon as somebody waits for the machine's lock."""
    read_end, write_end = os.pipe()
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_S):
            if lock.is_wanted(path):
                os.write(write_end, b"!")
                return

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield read_end
    finally:
        over.set()
        watcher.join()
        os.close(read_end)
        os.close(write_end)
