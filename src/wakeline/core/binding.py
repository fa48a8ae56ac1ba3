"""A name is bound to a machine-id when it is set up: a clone does not become the machine that it was copied from."""

from __future__ import annotations

from collections.abc import Collection

from wakeline.core.state import State


def refused(
    state: State, *, name: str, machine_id: str, names: Collection[str], renamed_from: str = "", replace: bool = False
) -> str:
    """Why `name` may not be set up on this machine, or nothing. `names` are the machines of the fleet now."""
    known = state.machines.get(name)
    if known and known != machine_id and not replace:
        return f"{name} was set up as {known[:12]}, and this is {machine_id[:12]}: if it was built anew, --replace"
    for other, bound in state.machines.items():
        if bound == machine_id and other not in (name, renamed_from) and other in names:
            return f"this machine is {other} already ({machine_id[:12]}): a clone that kept its machine-id?"
    return ""


def name_before(state: State, *, name: str, machine_id: str, names: Collection[str], renamed_from: str = "") -> str:
    """What a machine that is set up as `name` was called before, or nothing.

    The fleet file says so (`renamed_from`), and may say a name that never got on record: it was changed again before
    the machine could be set up by it. The ledger has the machine by its id.
    """
    if renamed_from and state.has_heard_of(renamed_from):
        return renamed_from
    known = (other for other, bound in state.machines.items() if bound == machine_id)
    return next((other for other in known if other != name and other not in names), renamed_from)
