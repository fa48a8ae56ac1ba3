"""The ledger as each computer reaches it: one log, many links to it, and answers that get lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wakeline.core.records import GENESIS, Record
from wakeline.edges.ledgers import From, Log
from wakeline.errors import LedgerError


@dataclasses.dataclass
class Store:
    """What truly stands there. `told` hears of every record as it is written."""

    told: Callable[[Record], None]
    log: Log = dataclasses.field(default_factory=Log)
    words: dict[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    old_words: list[tuple[str, Mapping[str, Any]]] = dataclasses.field(default_factory=list)

    def append(self, records: Sequence[Record]) -> bool:
        """Compare and append."""
        if records[0].previous != self.log.tip:
            return False
        self.log = Log(records[-1].hash, self.log.records + tuple(records))
        for record in records:
            self.told(record)
        return True


@dataclasses.dataclass
class Ledger:
    """One computer's way to the store (see wakeline.edges.ledgers.Ledger). `fault` says what goes wrong this time."""

    store: Store
    reached: Callable[[], bool]
    fault: Callable[[str], bool]
    warnings: tuple[str, ...] = ()

    def read(self, *, start: From | None = None) -> Log:
        """See Ledger.read."""
        self._there("read")
        log, begin = self.store.log, start() if start else None
        return log if begin is None else Log(log.tip, log.records[begin.state.position :], start=begin)

    def stamp(self) -> str:
        """See Ledger.stamp."""
        self._there("read")
        return self.store.log.tip

    def stamp_of(self, tip: str) -> str:
        """See Ledger.stamp_of."""
        return tip

    def append(self, records: Sequence[Record], **_held: Any) -> bool:
        """See Ledger.append. An error does not say whether the records have arrived."""
        self._there("push lost")
        written = self.store.append(records)
        if self.fault("answer lost"):
            raise LedgerError("the connection was cut")
        if not written:
            mine = {record.id for record in records}
            return mine <= {record.id for record in self.store.log.records[-200:]}
        return written

    def check_in(self, machine: str, body: Mapping[str, Any]) -> None:
        """See Ledger.check_in."""
        self._there("push lost")
        self.store.old_words.append((machine, dict(body)))
        self.store.words[machine] = dict(body)

    def check_ins(self) -> Mapping[str, Mapping[str, Any]]:
        """See Ledger.check_ins."""
        self._there("read")
        return dict(self.store.words)

    def _there(self, what: str) -> None:
        if not self.reached() or self.fault(what):
            raise LedgerError("the ledger cannot be reached")


__all__ = ["GENESIS", "Ledger", "Store"]
