"""What the driver tells while it works. The renderer shows it; nobody decides by it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Notice:
    """Something that happened: on which machine (empty: in the rollout as a whole), and what it was about."""

    kind: str
    machine: str = ""
    text: str = ""
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)


Tell = Callable[[Notice], None]
