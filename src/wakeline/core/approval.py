"""What an approval says, which words of it are signed, and why a machine would not act on one.

A machine that wakes alone has nobody to ask: it acts on an approval only when someone whom `wakeline setup` named has
signed for exactly this fleet, release, stage, orders, agent and place in the log, and not too long ago. The place in
the log (`after`, the hash of the record that the signer saw last) keeps an approval from being put into another log.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Container, Mapping
from typing import Any

from wakeline.core.times import seconds_of

NAMESPACE = "wakeline-approval"
LASTS_S = 90 * 86400.0
_SIGNED = ("release", "stage", "orders", "agent", "after", "expires")


def payload(body: Mapping[str, Any], *, app: str, environment: str) -> bytes:
    """The words that are signed, in one canonical form."""
    words = {"fleet": f"{app}/{environment}", **{key: body.get(key) for key in _SIGNED}}
    return json.dumps(words, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def expiry(now_s: float, *, lasts_s: float = LASTS_S) -> str:
    """When an approval that is written now ends. `now_s` in seconds since 1970."""
    return datetime.datetime.fromtimestamp(now_s + lasts_s, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def problem(body: Mapping[str, Any], *, now_s: float, known: Container[str]) -> str:
    """Why an approval whose signature is good is still not to be acted on, or nothing. `known` has the log's hashes."""
    if body.get("after") not in known:
        return "it was signed for another place in the log"
    ends_s = seconds_of(str(body.get("expires")))
    if ends_s is None:
        return "it does not say when it ends"
    return f"it ended at {body['expires']}; `wakeline deploy` approves anew" if now_s > ends_s else ""
