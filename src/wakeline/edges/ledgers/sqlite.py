"""A ledger in one SQLite file: for one machine, for tests and for the demo. The primary key is the compare."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from wakeline.core.records import GENESIS, BadLog, Record, verify
from wakeline.edges.ledgers import CheckIn, From, Log
from wakeline.errors import LedgerError

_SCHEMA = """
create table if not exists records (
    fleet text not null, position integer not null, line text not null, hash text not null,
    primary key (fleet, position));
create table if not exists check_ins (
    fleet text not null, machine text not null, body text not null, primary key (fleet, machine));
"""
# Made when the first agent is kept, also in a file that an older wakeline made: a reader may not be allowed to.
_AGENTS = """
create table if not exists agents (
    fleet text not null, digest text not null, data blob not null, primary key (fleet, digest))
"""
_APPLICATION_ID = 0x77616B65  # "wake", so that another program's database is told apart
_BUSY_S = 30.0


class SqliteLedger:
    """One fleet's log in a SQLite file that other fleets may share."""

    def __init__(self, path: Path, *, app: str, environment: str) -> None:
        self._path = path
        self._fleet = f"{app}/{environment}"

    def read(self, *, start: From | None = None) -> Log:
        """See Ledger.read. All of it, each time: nothing but its hash would tell that a row of before was changed."""
        del start
        with self._connected() as database:
            query = "select line from records where fleet = ? order by position"
            lines = [row[0] for row in database.execute(query, (self._fleet,))]
        try:
            records = verify(lines)
        except BadLog as error:
            raise LedgerError(f"{self._path}: {error}", hint="wakeline history --verify") from error
        return Log(records[-1].hash if records else GENESIS, records)

    def stamp(self) -> str:
        """See Ledger.stamp: the hash of the last record."""
        with self._connected() as database:
            query = "select hash from records where fleet = ? order by position desc limit 1"
            return str((database.execute(query, (self._fleet,)).fetchone() or (GENESIS,))[0])

    def stamp_of(self, tip: str) -> str:
        """See Ledger.stamp_of."""
        return tip

    def read_unless(self, known: Callable[[str], bool], *, start: From | None = None) -> Log | None:
        """See Ledger.read_unless."""
        del start
        return None if known(self.stamp()) else self.read()

    def append(
        self,
        records: Sequence[Record],
        *,
        pins: Mapping[str, str] | None = None,
        agents: Mapping[str, bytes] | None = None,
    ) -> bool:
        """See Ledger.append. There is no code here, so `pins` has nothing to hold."""
        del pins
        with self._connected() as database:
            database.execute("begin immediate")
            query = "select position, hash from records where fleet = ? order by position desc limit 1"
            position, tip = database.execute(query, (self._fleet,)).fetchone() or (0, GENESIS)
            if tip != records[0].previous:
                lines = database.execute("select line from records where fleet = ?", (self._fleet,)).fetchall()
                database.execute("rollback")
                return {record.line for record in records} <= {line for (line,) in lines}
            rows = [(self._fleet, at, each.line, each.hash) for at, each in enumerate(records, position + 1)]
            database.executemany("insert into records values (?, ?, ?, ?)", rows)
            if agents:
                database.execute(_AGENTS)
                kept = [(self._fleet, digest, data) for digest, data in agents.items()]
                database.executemany("insert or ignore into agents values (?, ?, ?)", kept)
            database.execute("commit")
        return True

    def agent(self, digest: str) -> bytes:
        """See Ledger.agent."""
        with self._connected() as database:
            known = database.execute("select count(*) from sqlite_master where name = 'agents'").fetchone()[0]
            query = "select data from agents where fleet = ? and digest = ?"
            row = database.execute(query, (self._fleet, digest)).fetchone() if known else None
        if row is None:
            raise LedgerError(f"ledger {self._path} does not have the agent {digest[:12]}", hint="wakeline deploy")
        return bytes(row[0])

    def may_write(self) -> str:
        """See Ledger.may_write."""
        place = self._path if self._path.exists() else self._path.parent
        return "" if os.access(place, os.W_OK) else f"{place} may not be written"

    def check_in(self, machine: str, body: CheckIn) -> None:
        """See Ledger.check_in."""
        row = (self._fleet, machine, json.dumps(body, sort_keys=True))
        with self._connected() as database:
            database.execute("insert or replace into check_ins values (?, ?, ?)", row)

    def check_ins(self) -> Mapping[str, CheckIn]:
        """See Ledger.check_ins."""
        with self._connected() as database:
            rows = database.execute("select machine, body from check_ins where fleet = ?", (self._fleet,)).fetchall()
        return {machine: json.loads(body) for machine, body in rows}

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with contextlib.closing(sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None)) as database:
                database.execute(
                    "pragma synchronous = extra"
                )  # full does not sync the journal's removal: an acknowledged record went back
                self._ensure_ours(database)
                yield database
        except (sqlite3.Error, OSError) as error:
            raise LedgerError(
                f"ledger {self._path}: {error}", hint="is the path right, and may you write there?"
            ) from error

    def _ensure_ours(self, database: sqlite3.Connection) -> None:
        application = database.execute("pragma application_id").fetchone()[0]
        if application == _APPLICATION_ID:
            return
        tables = database.execute("select count(*) from sqlite_master").fetchone()[0]
        if application or tables:
            raise LedgerError(f"{self._path} is some other program's database", hint="choose another path for `ledger`")
        database.executescript(f"begin immediate; {_SCHEMA} pragma application_id = {_APPLICATION_ID}; commit;")
