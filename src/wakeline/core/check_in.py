"""Check-ins: a machine's last word, and what it settles on the ledger.

A check-in needs no order: it is the machine's own word about itself, and only a newer word replaces it. A late or
doubled one changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from wakeline.core.order import Outcome
from wakeline.core.records import Draft
from wakeline.core.state import State

HEARD = (Outcome.OK.value, Outcome.UNCHANGED.value, Outcome.FAILED.value)


def settled(state: State, check_ins: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Draft]:
    """Outcome records for what machines have said of themselves since; nothing for what is on record already.

    A machine that was renamed since a release was made is on record there by its older name.
    """
    drafts = []
    for machine, body in check_ins:
        if not isinstance(body, Mapping):
            continue
        release = state.releases.get(_number(body.get("release")))
        if release is None or body.get("outcome") not in HEARD:
            continue
        name = next((each for each in state.names_of(machine) if release.stage_of(each)), "")
        if not name:
            continue
        before = release.results.get(name)
        said = Outcome(str(body["outcome"]))
        if before is not None and (before.outcome is said or before.outcome.passed):
            continue
        fields = {"release": release.number, "machine": name, "outcome": said.value, "catch_up": True}
        drafts.append(Draft("outcome", {**fields, "cause": str(body.get("cause", ""))[:2000]}))
    return drafts


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
