"""What a machine decides while it carries an order out. It says what it has; here is what that means.

Laws that live here:

- Law 5: no switch-back goes below the barrier.
- Law 6: never below what this machine runs.
- Law 7: a release that nobody confirmed is confirmed or gone back from at the next chance.
- Law 8: a rollout that has been overtaken may not start anything here.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from wakeline.core.order import Order, Outcome

if TYPE_CHECKING:
    from wakeline.core.state import State  # the agent pays for it when it has a ledger to read


class Begin(enum.Enum):
    """What an order asks of a machine, given what runs there."""

    TOO_OLD = "too old"
    UNCHANGED = "unchanged"
    MAKE_READY = "make ready"
    CONFIRM = "confirm"


def begin(release: int, *, runs: int | None, confirmed: bool) -> Begin:
    """How to begin on `release` where `runs` is what `current` says, None before the first."""
    if runs is not None and runs > release:
        return Begin.TOO_OLD
    if runs == release:
        return Begin.UNCHANGED if confirmed else Begin.CONFIRM
    return Begin.MAKE_READY


class WayBack(NamedTuple):
    """Where a release that is not healthy is gone back to. `to` None: nowhere, its services are stopped.

    With `barred` the way is closed: the release stays, and the machine has failed.
    """

    to: int | None
    barred: bool = False


def way_back(release: int, *, was: int, was_complete: bool, last_good: int | None, barrier: int) -> WayBack:
    """Back to what ran before, or else to the last release that was good here; never below the barrier."""
    target = was if was != release and was_complete else last_good
    return WayBack(target, barred=target is not None and target < barrier)


def barrier(order: Order, *, started: Iterable[Mapping[str, Any]]) -> int:
    """The order's barrier, or this very release where a once-step of it that breaks older ones was started here.

    `started` are the journal's entries of once-steps that were started.
    """
    breaking = {step.name for step in order.steps if step.breaks_older}
    raised = any(entry.get("step") in breaking and entry.get("release") == order.release for entry in started)
    return order.release if raised else order.barrier


def last_good(release: int, *, confirmed: Collection[int], has_adopted: bool) -> int | None:
    """The newest older release that was good on this machine, or release 0, the folder that was adopted."""
    older = [number for number in confirmed if 0 < number < release]
    return max(older, default=0 if has_adopted and release != 0 else None)


def stale(fence: Any, *, seen: Any) -> str:
    """Why an order that came with this fencing number is not begun, or nothing. `seen` is the highest known here."""
    if not isinstance(fence, int):
        return "the order came without a fencing number"
    if isinstance(seen, int) and fence < seen:
        return f"the order came from rollout {fence}, and this machine has seen rollout {seen}"
    return ""


FRESH_S = 3.0
LOOKS = 3  # a ledger that answers later than that every time keeps no order from being carried out


def is_fresh(*, looked_s: float, now_s: float) -> bool:
    """Whether a look at the ledger that began at `looked_s` still counts before a switch; both of one steady clock."""
    return now_s - looked_s <= FRESH_S


def is_young(*, looked_s: float, now_s: float) -> bool:
    """Whether a look will likely still count when it is asked for: then none is begun beside it."""
    return now_s - looked_s <= FRESH_S / 2


def overtaken(state: State, *, machine: str, fence: int) -> str:
    """Why an order of rollout `fence` must not go on, as the ledger has it now; or nothing."""
    if state.lease.number > fence:
        return f"rollout {state.lease.number} has taken over from rollout {fence}"
    for name in ("", *state.names_of(machine)):  # it may be renamed, and put on hold, while it is at work
        if name in state.holds:
            return f"{name or 'the fleet'} is on hold: {state.holds[name]}"
    return ""


def stamp_to_say(stamp: str, *, state: State, machine: str, fence: int) -> str:
    """Where the ledger stands in `state`, to be said with an order: a machine that finds it there need not read it.

    Nothing where that state has something against the order, a hold that came meanwhile: then it must read for itself.
    """
    return "" if overtaken(state, machine=machine, fence=fence) else stamp


def nothing_new(found: str, *, told: str, stamp: str) -> bool:
    """Whether a look that was made before the order came says that nothing stands against it.

    It `found` the ledger where the runner had it then (`told`), or has it now, as the order goes out (`stamp`).
    """
    return bool(told and stamp) and found in (told, stamp)


def attempts(entries: Iterable[Mapping[str, Any]]) -> dict[tuple[int, int], int]:
    """How often each release was begun here by catch-up, from the journal; a crash in the middle counts as well.

    By release and by how many retries of it were known then: each retry begins a count of its own. One that was asked
    to stop before its switch, by a boot's limit or a shutdown, has not failed and does not count.
    """
    counts: dict[tuple[int, int], int] = {}
    begun = (0, 0)
    for entry in entries:
        what, release, retries = entry.get("what"), entry.get("release"), entry.get("retries", 0)
        if what == "attempt" and isinstance(release, int) and isinstance(retries, int):
            begun = (release, retries)
            counts[begun] = counts.get(begun, 0) + 1
        elif what == "ended" and begun[0] and release == begun[0]:
            counts[begun] -= entry.get("outcome") == Outcome.WITHHELD.value
            begun = (0, 0)
    return counts


def switched_from(release: int, *, newest_first: Iterable[Mapping[str, Any]]) -> int:
    """What ran before `release` was switched to, from the journal's switches: it outlives a crash."""
    for entry in newest_first:
        if entry.get("release") == release and isinstance(entry.get("was"), int):
            return int(entry["was"])
    return 0


WENT_BACK = "went-back"


class CutOff(NamedTuple):
    """A run that was cut off after its switch to `release`: services may still run another one.

    With `back` it had given the release up, because of `cause`, and was on its way back.
    """

    release: int
    back: bool = False
    cause: str = ""


def cut_off(runs: int, *, entries: Sequence[Mapping[str, Any]]) -> CutOff | None:
    """The run that was cut off on a machine whose `current` is release `runs`, as the journal has it; or None."""
    for entry in reversed(entries):
        what, release = entry.get("what"), entry.get("was")
        if what in ("switch", WENT_BACK, "confirmed"):
            break
        if what == "switch-back":
            knows = entry.get("ends") == WENT_BACK  # an agent of before did not write when it was back
            if knows and isinstance(release, int) and runs in (release, entry.get("release")):
                return CutOff(release, back=True, cause=str(entry.get("cause", "")))
            break
    return CutOff(runs) if _has_no_end(runs, entries=entries) else None


def _has_no_end(release: int, *, entries: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the journal knows a switch to `release` and no end of it: confirmed, failed, or gone back from."""
    for entry in reversed(entries):
        what, of = entry.get("what"), entry.get("release")
        if what == "switch" and of == release:
            return True
        failed = what == "ended" and entry.get("outcome") == Outcome.FAILED.value
        # A way back counts when it has been gone, or was begun by an agent that did not say when it had.
        went_back = what == WENT_BACK or (what == "switch-back" and entry.get("ends") != WENT_BACK)
        if (of == release and (failed or what == "confirmed")) or (went_back and entry.get("was") == release):
            return False
    return False
