"""Somebody who may write to the ledger, and has no key that may approve: what he puts there, and who acts on it.

Whoever writes to the ledger can keep a fleet from being deployed to, and lie to runners about outcomes. What he cannot
do is to let a machine that looks by itself run what nobody has signed for this fleet, release, orders and place in
the log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim.laws import FORGER, Violation
from wakeline.core import approval
from wakeline.core.records import Draft

if TYPE_CHECKING:
    from sim.world import World

_EVIL = "c0"  # what the adopted folder had: a commit like any other
Body = dict[str, Any]


def nobody_is_taken_in(world: World, everybody_looks: Callable[[int], None]) -> None:
    """A release that nobody has asked for, approved by a forger. Raises Violation for a machine that moves."""
    approvals = [record for record in world.store.log.records if record.kind == "approved"]
    if not world.is_signed or not approvals:
        return
    before = {box.name: box.current for box in world.boxes.values()}
    good = dict(world.random.choice(approvals).body)
    number = max(world.observer.made) + 1
    name, forged = world.random.choice(list(_forgeries(world, good, number).items()))
    world.tell(f"forged: {name}")
    machines = [{"name": each.name, "presence": each.presence.value} for each in world.fleet.machines]
    stages = [{"name": good["stage"], "gates": False, "machines": machines}]
    made = {"release": number, "commit": _EVIL, "lead": world.fleet.lead, "stages": stages}
    world.write(FORGER, lambda _: [Draft("release-made", made), Draft("approved", forged)])
    everybody_looks(1)
    for box in world.boxes.values():
        if box.current != before[box.name]:
            raise Violation(f"{name}: {box.name} runs release {box.current}, which nobody has signed")


def _forgeries(world: World, good: Body, number: int) -> Mapping[str, Body]:
    """Approvals of release `number`, each with something that was never signed for it."""
    from sim.world import KEY, sign  # noqa: PLC0415 - a world and its forger know each other

    def signed(body: Body, key: Path) -> Body:
        words = approval.payload(body, app="shop", environment="sim")
        return {**body, "signature": sign(words, key=key)}

    orders = {each.name: _order(good, each.name, number) for each in world.fleet.machines}
    forged = {key: value for key, value in good.items() if key not in ("fence", "machine")}  # with no rollout's number
    forged.update(release=number, orders=orders)
    tip = {"after": world.store.log.tip}
    return {
        "law 6: an approval without a signature": {key: value for key, value in forged.items() if key != "signature"},
        "law 6: an approval with the signature of another": forged,
        "law 6: an approval signed by a key that may not": signed({**forged, **tip}, Path("a key of mallory")),
        "law 6: an approval of another log": signed({**forged, "after": "f" * 64}, KEY),
        "law 6: an approval that has ended": signed({**forged, **tip, "expires": "1969-01-01T00:00:00Z"}, KEY),
    }


def _order(good: Body, machine: str, number: int) -> Body:
    order = dict(next(iter(good["orders"].values())))
    return {**order, "machine": machine, "stage": good["stage"], "release": number, "commit": _EVIL, "renamed_from": ""}
