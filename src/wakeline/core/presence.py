"""Asleep or failed: what a knock that was not answered means (law 3).

Only the TCP phase to the machine itself can mean asleep, and only on an on-demand machine: no route, no answer in time,
or still refused after a short retry. In every other phase something did answer, or something of ours is wrong.
"""

from __future__ import annotations

import enum

from wakeline.core.model import Presence


class Answer(str, enum.Enum):
    """What a knock found."""

    AWAKE = "awake"
    ASLEEP = "asleep"
    REFUSED = "refused"


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


def heard(phase: Phase) -> Answer:
    """What a knock heard when it came to this phase and no further: nothing at all, or something that is wrong."""
    return Answer.ASLEEP if phase is Phase.TCP else Answer.REFUSED


def judge(phase: Phase, presence: Presence) -> Answer:
    """What that means for a machine: silence is sleep on an on-demand machine alone."""
    return heard(phase) if presence is Presence.ON_DEMAND else Answer.REFUSED
