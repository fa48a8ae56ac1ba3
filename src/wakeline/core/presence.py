"""Asleep or failed: what a knock that was not answered means (law 3).

Only the TCP phase to the machine itself can mean asleep, and only on an on-demand machine: no route, no answer in time,
or still refused after a short retry. In every other phase something did answer, or something of ours is wrong.
"""

from __future__ import annotations

import enum

from wakeline.core.model import Presence
from wakeline.core.rollout import Answer


class Phase(str, enum.Enum):
    """The steps of reaching a machine, in order. A cause names its phase."""

    ADDRESS = "address"
    NAME = "name"
    JUMP = "jump host"
    TCP = "tcp"
    BANNER = "banner"
    HOST_KEY = "host key"
    LOGIN = "login"
    AGENT = "agent"


def judge(phase: Phase, presence: Presence) -> Answer:
    """What it means that a machine was not reached in this phase."""
    if phase is Phase.TCP and presence is Presence.ON_DEMAND:
        return Answer.ASLEEP
    return Answer.REFUSED
