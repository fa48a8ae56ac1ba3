"""Which agent should carry on, read from a log that the agent which reads it may not understand.

A machine that slept through an upgrade has an old agent, and the log may hold kinds of records that it has never heard
of. It must still find its way to the agent that its newest approval names. So these are settled for ever, whatever
else changes: the head of a record and how records are chained (records.py), that an `approved` record carries
`release`, `orders` by machine and `agent`, and which words of it are signed (approval.py).
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping

from wakeline.core.records import Record

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


def newest_approval(records: Iterable[Record], *, machine: str) -> Record | None:
    """The approval of the highest release that has an order for a machine; of equals the last. Reads nothing else."""
    newest, number = None, 0
    for record in records:
        release, orders = record.body.get("release"), record.body.get("orders")
        if record.kind != "approved" or not isinstance(release, int) or not isinstance(orders, Mapping):
            continue
        if machine in orders and release >= number:
            newest, number = record, release
    return newest


def successor(approved: Record, *, mine: str, came_by: Container[str]) -> str:
    """The digest of the agent that should carry on for this one, or nothing.

    `came_by` are the agents that this look has come by already. One that runs for the second time goes nowhere any
    more: an agent that names another that names the first ends here, after one look at each.
    """
    named = approved.body.get("agent")
    if not isinstance(named, str) or not _DIGEST.match(named) or not mine or mine in came_by:
        return ""
    return "" if named == mine or named in came_by else named
