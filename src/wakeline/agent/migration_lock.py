"""The migration lock in the target database itself, and a look for sessions that have outlived their command.

A second lock beside the claim, never the only one: the claim is what a person sees and what survives a lost connection.
The agent puts this file beside verify_migrations.py and names it in $WAKELINE_LOCK; the application's own Python runs
it, with the application's own driver and settings:

    lock = ".venv/bin/python $WAKELINE_LOCK django manage.py"          (another database: manage.py ALIAS)
    lock = ".venv/bin/python $WAKELINE_LOCK alembic alembic.ini"
    lock = ".venv/bin/python $WAKELINE_LOCK flask"
    lock = ".venv/bin/python $WAKELINE_LOCK url"                       (the database of $DATABASE_URL)

$WAKELINE_ONCE says what is wanted. `lock`: take it, say `locked`, keep the connection alive until stdin ends, release;
exit 11 when another session has it. `session`: exit 0 when no session of the claims in $WAKELINE_CLAIMS is in the
database any more, 10 when there is one, anything else: cannot tell.

PostgreSQL knows a session by its application_name (`wakeline:CLAIM`, from $PGAPPNAME). MariaDB and MySQL have no such
name that another session may read, so there a session is known by a lock of its own of that name, which ends with it:

    run = ".venv/bin/python $WAKELINE_LOCK tagged manage.py migrate --noinput"     (or: tagged -m alembic upgrade head)
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import re
import runpy
import select
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

FREE, THERE, TAKEN, CANNOT_TELL = 0, 10, 11, 1
KEY = int.from_bytes(b"wakeline", "big")  # one for a database, whichever fleet migrates it
_WAIT_S, _LOOK_S, _PING_S = 30.0, 0.5, 5.0
_CLAIM = re.compile(r"[A-Za-z0-9._-]{1,50}\Z")

Ask = Callable[[str], "list[Any]"]


class Refused(Exception):
    """The lock cannot be had, or would be none. `code` is the exit code."""

    def __init__(self, words: str, code: int = CANNOT_TELL) -> None:
        super().__init__(words)
        self.code = code


class PostgreSQL:
    """An advisory lock, and sessions by their application_name."""

    def __init__(self, connect: Callable[[], Ask]) -> None:
        self._connect = connect
        self._ask = connect()

    def take(self) -> bool:
        """True when the lock is ours now. Raises Refused where it would keep nobody out."""
        if not _first(self._ask(f"select pg_try_advisory_lock({KEY})")):
            return False
        second = self._connect()
        if _first(second(f"select pg_try_advisory_lock({KEY})")):
            text = (
                "a second connection got the same lock: a pooler in transaction mode is in between, and it is no lock"
            )
            raise Refused(f"{text}; let `lock` connect to the database itself{self._given_back(second)}")
        return True

    def _given_back(self, second: Ask) -> str:
        """Take back what was taken of sessions that are the pooler's, and outlive ours. Says whose lock is left."""
        for ask in (second, self._ask):
            ask("select pg_advisory_unlock_all()")
        left = self.holder()
        return f". The pooler's session still has it, until that ends: {left}" if left else ""

    def holder(self) -> str:
        """Who has it."""
        where = f"classid = {KEY >> 32} and objid = {KEY & 0xFFFFFFFF} and objsubid = 1 and granted"
        query = "select pid, application_name from pg_locks join pg_stat_activity using (pid)"
        rows = self._ask(f"{query} where locktype = 'advisory' and {where}")
        return ", ".join(f"process {row[0]} {row[1]}".strip() for row in rows)

    def ping(self) -> None:
        """Keep the connection from being taken for an idle one."""
        self._ask("select 1")

    def sessions(self, claims: list[str]) -> list[str]:
        """Sessions of once-steps: of any claim, also of one that this machine does not know."""
        del claims
        rows = self._ask(
            "select application_name, pid, state from pg_stat_activity where application_name like 'wakeline:%'"
            " and datname = current_database() and pid <> pg_backend_pid()"
        )
        return [f"{row[0]} (process {row[1]} of the server, {row[2]})" for row in rows]


class MariaDB:
    """A named lock, and sessions by the lock of their claim's name. MySQL is the same."""

    def __init__(self, connect: Callable[[], Ask]) -> None:
        self._ask = connect()
        database = str(_first(self._ask("select database()")))
        self._name = f"wakeline/{hashlib.sha256(database.encode()).hexdigest()[:40]}"

    def take(self) -> bool:
        """True when the lock is ours now."""
        return bool(_first(self._ask(f"select get_lock('{self._name}', 0)")) == 1)

    def holder(self) -> str:
        """Who has it."""
        return f"connection {_first(self._ask(_used(self._name)))}"

    def ping(self) -> None:
        """Keep the connection from being taken for an idle one."""
        self._ask("select 1")

    def sessions(self, claims: list[str]) -> list[str]:
        """Sessions of these claims."""
        found = {claim: _first(self._ask(_used(f"wakeline:{claim}"))) for claim in claims}
        return [f"wakeline:{claim} (connection {owner})" for claim, owner in found.items() if owner is not None]


def _used(name: str) -> str:
    return f"select is_used_lock('{name}')"


def _first(rows: list[Any]) -> Any:
    return rows[0][0] if rows else None


# --- the database, as the application knows it ---


def django(manage: str = "manage.py", alias: str = "default") -> Any:
    """Through manage.py and its settings."""
    found: list[Any] = []

    def reach(*_words: object) -> int:
        importlib.import_module("django").setup()
        known = importlib.import_module("django.db").connections[alias]
        found.append(_of_vendor(known.vendor, lambda: _django_asker(known.copy())))
        return 0

    _sibling("verify_migrations").through_django(manage, reach)
    return found[0]


def _django_asker(connection: Any) -> Ask:
    connection.ensure_connection()
    connection.set_autocommit(True)
    return lambda query: _ask(connection.cursor(), query)


def alembic(ini: str = "alembic.ini") -> Any:
    """Through env.py, on a connection of its own: the one of env.py would hold a transaction open."""
    return _alembic(_sibling("verify_migrations").alembic_config(ini))


def flask(application: str = "") -> Any:
    """Through the application's Flask-Migrate."""
    found: list[Any] = []
    _sibling("verify_migrations").through_flask(application, lambda config: found.append(_alembic(config)))
    return found[0]


def _alembic(config: Any) -> Any:
    engines: list[Any] = []
    _sibling("verify_migrations").through_alembic(
        config, lambda _present, context: engines.append(context.connection.engine)
    )
    if not engines:
        raise Refused("env.py did not connect to any database")
    engine = engines[0]

    def asker() -> Ask:
        raw = engine.connect().execution_options(isolation_level="AUTOCOMMIT").connection
        return lambda query: _ask(raw.cursor(), query)

    return _of_vendor(engine.dialect.name, asker)


def url() -> Any:
    """Through $DATABASE_URL, with whichever driver is there."""
    parts = urlsplit(os.environ.get("DATABASE_URL", ""))
    vendor = parts.scheme.partition("+")[0]
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    place: dict[str, Any] = {"host": parts.hostname, "port": parts.port, "user": user, "password": password}
    if vendor.startswith("postgres"):
        given = {key: value for key, value in {**place, "dbname": parts.path.lstrip("/")}.items() if value}
        return PostgreSQL(lambda: _driver_asker(_driver("psycopg", "psycopg2"), given))
    given = {key: value for key, value in {**place, "database": parts.path.lstrip("/")}.items() if value}
    return _of_vendor(vendor, lambda: _driver_asker(_driver("pymysql", "MySQLdb", "mysql.connector"), given))


def _driver(*names: str) -> Any:
    for name in names:
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    raise Refused(f"none of {', '.join(names)} is installed here")


def _driver_asker(driver: Any, given: dict[str, Any]) -> Ask:
    connection = driver.connect(**given)
    if hasattr(type(connection), "autocommit") and not callable(getattr(connection, "autocommit", None)):
        connection.autocommit = True
    else:
        connection.autocommit(True)
    return lambda query: _ask(connection.cursor(), query)


def _ask(cursor: Any, query: str) -> list[Any]:
    cursor.execute(query)
    rows = list(cursor.fetchall())
    cursor.close()
    return rows


def _of_vendor(vendor: str, connect: Callable[[], Ask]) -> Any:
    if vendor.startswith("postgres"):
        return PostgreSQL(connect)
    if vendor in ("mysql", "mariadb"):
        return MariaDB(connect)
    raise Refused(f"{vendor or 'no'} database: there is a lock for PostgreSQL, MariaDB and MySQL")


def _sibling(name: str) -> Any:
    return importlib.import_module(name)  # the folder of this file is the first place where Python looks


# --- what is wanted ---


def hold(database: Any, *, wait_s: float = _WAIT_S) -> int:
    """Take the lock, say so, and keep it until nobody holds the other end of stdin."""
    ends = time.monotonic() + wait_s
    while not database.take():
        if time.monotonic() >= ends:
            raise Refused(f"the migration lock is held by another session: {database.holder()}", TAKEN)
        time.sleep(_LOOK_S)
    sys.stdout.write("locked\n")
    sys.stdout.flush()
    while True:
        if select.select([sys.stdin], [], [], _PING_S)[0]:
            if not os.read(sys.stdin.fileno(), 4096):
                return FREE
        else:
            database.ping()


def look(database: Any, claims: list[str]) -> int:
    """Whether a session of an earlier once-step is still there."""
    there = database.sessions([claim for claim in claims if _CLAIM.match(claim)])
    for each in there:
        sys.stdout.write(f"{each}\n")
    return THERE if there else FREE


def tagged(*command: str) -> int:
    """Run a Python program whose MariaDB and MySQL sessions are known by the name of the claim."""
    claim = os.environ.get("WAKELINE_CLAIM", "")
    if _CLAIM.match(claim):
        for name in ("MySQLdb", "pymysql", "mysql.connector"):
            with contextlib.suppress(ImportError):
                _tag(importlib.import_module(name), claim)
    module = command[:1] == ("-m",)
    words = command[1:] if module else command
    sys.argv = list(words)
    if module:
        sys.path[0] = str(Path.cwd())
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(words[0]).resolve().parent)
        runpy.run_path(words[0], run_name="__main__")
    return FREE


def _tag(driver: Any, claim: str) -> None:
    connect = driver.connect

    def connect_and_tag(*words: Any, **named: Any) -> Any:
        connection = connect(*words, **named)
        _ask(connection.cursor(), f"select get_lock('wakeline:{claim}', 0)")
        return connection

    for name in ("connect", "Connect", "Connection"):
        if getattr(driver, name, None) is connect:
            setattr(driver, name, connect_and_tag)


@contextlib.contextmanager
def _in_words() -> Iterator[list[int]]:
    """Whatever goes wrong, the answer is `cannot tell`, with its words."""
    code = [CANNOT_TELL]
    try:
        yield code
    except Refused as error:
        code[0] = error.code
        sys.stderr.write(f"{error}\n")
    except BaseException as error:  # noqa: BLE001 - a dead database, settings that exit: it cannot tell
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        sys.stderr.write(f"{type(error).__name__}: {' '.join(lines)[:500]}\n")


def main(arguments: list[str]) -> int:
    """See the text on top."""
    ways: dict[str, Callable[..., Any]] = {"django": django, "alembic": alembic, "flask": flask, "url": url}
    wanted = os.environ.get("WAKELINE_ONCE", "")
    if arguments[:1] == ["tagged"] and len(arguments) > 1:
        return tagged(*arguments[1:])
    if not arguments or arguments[0] not in ways or wanted not in ("lock", "session"):
        sys.stderr.write(f"usage: WAKELINE_ONCE=lock|session {sys.argv[0]} {'|'.join(ways)} [FILE]\n")
        return CANNOT_TELL
    with _in_words() as code:
        database = ways[arguments[0]](*arguments[1:])
        claims = os.environ.get("WAKELINE_CLAIMS", "").split()
        code[0] = hold(database) if wanted == "lock" else look(database, claims)
    return code[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
