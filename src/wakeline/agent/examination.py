"""What `wakeline doctor` finds out on a machine. Looks only: it writes nothing and needs no agent there.

The runner sends this file's own text to `python3 -`, so it stands alone: the standard library, and nothing of ours.
Each finding is [what, state, found, wanted]; states are ok, warning, problem and cannot-tell.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

Finding = tuple[str, str, str, str]
OK, WARNING, PROBLEM, CANNOT_TELL = "ok", "warning", "problem", "cannot-tell"
_SPACE_MB = 512
_CLOCK_S = 60
_LIMIT_S = 20
_STARTS = ("WorkingDirectory", "ExecStartPre", "ExecStart", "EnvironmentFiles")
_ABSOLUTE = re.compile(r"(?<![\w.])/[^\s;:'\"{}=,]+")


def examine(asked: Mapping[str, Any]) -> Iterator[Finding]:
    """Every precondition of an order on this machine, one after the other."""
    yield _at_least("python", ".".join(map(str, sys.version_info[:3])), "3.9")
    yield _git()
    yield _clock(float(asked["now"]))
    yield from _folders(asked)
    yield from _shared(asked)
    yield from _commands(asked)
    yield from _repositories(asked)
    yield from _units(asked)
    yield from _database(asked)


def _git() -> Finding:
    said = _run(["git", "--version"])
    words = said[1].split()
    if said[0] or len(words) < 3:
        return "git", PROBLEM, "not installed", "git 2.30 or newer: apt-get install git"
    return _at_least("git", words[2], "2.30")


def _at_least(what: str, found: str, wanted: str) -> Finding:
    numbers = [tuple(int(part) for part in text.split(".")[:2] if part.isdigit()) for text in (found, wanted)]
    return what, OK if numbers[0] >= numbers[1] else PROBLEM, found, f"{wanted} or newer"


def _clock(now_s: float) -> Finding:
    off_s = time.time() - now_s
    fine = abs(off_s) <= _CLOCK_S
    return "clock", OK if fine else WARNING, f"{off_s:+.0f} s from the runner's", f"at most {_CLOCK_S} s: timedatectl"


def _folders(asked: Mapping[str, Any]) -> Iterator[Finding]:
    user = pwd.getpwuid(os.getuid()).pw_name
    for what, path in (("agent's folder", asked["home"]), ("deploy path", asked["path"])):
        place = Path(path)
        while not place.exists() and place != place.parent:
            place = place.parent  # the first rollout makes what is missing below
        writable = place.is_dir() and os.access(place, os.W_OK | os.X_OK)
        found = f"{path} is writable" if writable else f"{path} is not a folder that {user} may write"
        yield what, OK if writable else PROBLEM, found, f"wakeline setup {asked['machine']}"
        if writable:
            free = shutil.disk_usage(place).free >> 20
            yield f"space in {path}", OK if free >= _SPACE_MB else PROBLEM, f"{free} MB free", f"{_SPACE_MB} MB"
    agent = Path(asked["home"], "agent.pyz").exists()
    yield (
        "agent",
        OK if agent else PROBLEM,
        "is there" if agent else "is not there",
        f"wakeline setup {asked['machine']}",
    )


def _shared(asked: Mapping[str, Any]) -> Iterator[Finding]:
    for path in asked["shared"]:
        there = Path(path).exists()
        yield f"shared {path}", OK if there else PROBLEM, "is there" if there else "is missing", "put it there"


def _commands(asked: Mapping[str, Any]) -> Iterator[Finding]:
    path = os.pathsep.join(str(Path(each).expanduser()) for each in asked["search_path"])
    for step, names in asked["commands"].items():
        for name in names:
            found = shutil.which(name, path=path)
            wanted = f"looked in {path}; add its folder to path_for_steps, or install it"
            yield f"{step}: {name}", OK if found else PROBLEM, found or "not found", wanted


def _repositories(asked: Mapping[str, Any]) -> Iterator[Finding]:
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -o BatchMode=yes"}
    for what, url, ref in asked["repositories"]:
        code, said = _run(["git", "ls-remote", "--exit-code", "--", url, ref], env=environment)
        if code == 0:
            yield what, OK, f"{ref} can be read", ""
        else:
            wanted = "the deploy user needs a key that may read it (a deploy key opens one repository only)"
            yield what, PROBLEM, f"{ref} cannot be read: {_last(said)}", wanted


def _units(asked: Mapping[str, Any]) -> Iterator[Finding]:
    setup = f"wakeline setup {asked['machine']}"
    for unit in asked["units"]:
        _, said = _run(["systemctl", "show", "--no-pager", "--property=LoadState", "--value", unit])
        state = said.strip() or "unknown"
        yield f"unit {unit}", OK if state == "loaded" else PROBLEM, state, "a unit that systemd knows and may start"
        if state == "loaded" and not asked["in_place"]:
            yield from _where_it_runs(unit, path=asked["path"], setup=setup)
    for command in asked["as_root"]:
        code, said = _run(["sudo", "-n", "-l", *command])
        found = "allowed" if code == 0 else _last(said) or "not allowed"
        yield f"sudo {' '.join(command)}", OK if code == 0 else PROBLEM, found, f"an exact sudoers line: {setup}"
    for unit in asked["own_units"]:
        code, said = _run(["systemctl", "is-enabled", unit])
        yield f"unit {unit}", OK if code == 0 else PROBLEM, said.strip() or "not there", setup


def _where_it_runs(unit: str, *, path: str, setup: str) -> Iterator[Finding]:
    """Whether a unit starts in the release. One that setup could not move wholly runs on with what was there before."""
    if not os.path.lexists(f"{path}/current"):
        return  # nothing was moved yet
    asked = [f"--property={name}" for name in _STARTS]
    _, said = _run(["systemctl", "show", "--no-pager", *asked, unit])
    left = left_behind(said, path=path, first=os.path.realpath(f"{path}/releases/0"))
    if not left:
        yield f"where {unit} runs", OK, "nothing that starts it lies in the folder from before", ""
        return
    wanted = f"{path}/current instead: {setup}, and what it says of {unit}; systemctl cat {unit} shows where it stands"
    yield f"where {unit} runs", WARNING, f"{', '.join(left)}: from before wakeline, whatever release is current", wanted


def left_behind(said: str, *, path: str, first: str) -> list[str]:
    """What `systemctl show` says of a unit that lies in `first`, the folder of release 0, or in another checkout."""
    found: dict[str, None] = {}
    for line in said.splitlines():
        key, _, value = line.partition("=")
        for each in _ABSOLUTE.findall(value):
            ours = any(_lies_in(each, f"{path}/{folder}") for folder in ("current", "releases", "shared"))
            if not ours and (_lies_in(each, first) or _checkout_of(each)):
                found[f"{key}={each}"] = None
    return list(found)


def _lies_in(place: str, folder: str) -> bool:
    return place == folder or place.startswith(f"{folder}/")


def _checkout_of(place: str) -> bool:
    """Whether a path is in a git checkout; /etc may be one of etckeeper's."""
    if place.startswith(("/etc/", "/usr/")):
        return False
    return any((folder / ".git").exists() for folder in (Path(place), *Path(place).parents))


def _database(asked: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the database of `env_file` answers, and whether something stands in between."""
    values = _env_file(asked["env_file"])
    found = database_of(values)
    if isinstance(found, str):
        yield "database", CANNOT_TELL, found, f"host and port in {asked['env_file']}"
        return
    host, port, url = found
    if not host or host.startswith("/"):
        return
    try:
        with socket.create_connection((host, port), timeout=5) as connection:
            address = str(connection.getpeername()[0])
    except OSError as error:
        yield "database", PROBLEM, f"{host} port {port}: {error}", "reachable as the deploy user"
        return
    yield "database", OK, f"{host} port {port} answers", ""
    if url:
        yield _pooler(url, address, port)
    elif "PGHOST" in values or port == _POSTGRESQL:
        yield "pooler", CANNOT_TELL, f"there is no DATABASE_URL in {asked['env_file']} to ask with", _NO_POOLER


_POSTGRESQL = 5432
_NO_POOLER = "a direct connection: behind a pooler in transaction mode an advisory lock is no lock"
_WHO_ANSWERS = "select coalesce(host(inet_server_addr()), ''), coalesce(inet_server_port(), 0)"


def database_of(values: Mapping[str, str]) -> tuple[str, int, str] | str:
    """Host, port and (for PostgreSQL) URL of the settings of an application, or why they cannot be read."""
    try:
        url = urlsplit(values.get("DATABASE_URL", ""))
        host = url.hostname or values.get("DATABASE_HOST") or values.get("PGHOST") or values.get("DB_HOST") or ""
        port = url.port or values.get("PGPORT") or values.get("DATABASE_PORT") or values.get("DB_PORT") or _POSTGRESQL
        return host, int(port), values["DATABASE_URL"] if url.scheme.startswith("postgres") else ""
    except ValueError:
        return "the database's address cannot be read"  # its text may hold the password


def _pooler(url: str, address: str, port: int) -> Finding:
    if not shutil.which("psql"):
        return "pooler", CANNOT_TELL, "psql is not installed here", _NO_POOLER
    env = {**os.environ, **libpq(url)}
    code, said = _run(["psql", "-XAtw", "-F", " ", "-c", _WHO_ANSWERS], env=env)
    if code:
        return "pooler", CANNOT_TELL, _last(said), _NO_POOLER
    if _two_at_once_share_a_server_process(env):
        return (
            "pooler",
            PROBLEM,
            "two connections at once got one process of the server: a pooler in transaction mode",
            (_NO_POOLER),
        )
    return judge_pooler(said, address=address, port=port)


def _two_at_once_share_a_server_process(env: Mapping[str, str]) -> bool:
    """Only a pooler in transaction or statement mode lets two clients that are both connected use one server process.

    That they do not proves nothing: somebody else may have used the process in between.
    """
    ask = "select pg_backend_pid();\n"
    first = subprocess.Popen(  # noqa: S603 - argv, never a shell
        [shutil.which("psql") or "psql", "-XAtwq"],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert first.stdin is not None and first.stdout is not None  # noqa: S101 - they were asked for as pipes
        first.stdin.write(ask.encode())
        first.stdin.flush()
        ready = select.select([first.stdout], [], [], _LIMIT_S)[0]
        process = os.read(first.stdout.fileno(), 64).decode("ascii", "replace").strip() if ready else ""
        code, said = _run(["psql", "-XAtw", "-c", ask], env=env)
        return code == 0 and bool(process) and process == said.strip()
    except OSError:
        return False
    finally:
        first.kill()
        first.communicate()


def judge_pooler(said: str, *, address: str, port: int) -> Finding:
    """What it means that the server says this of its own end of the connection, and we asked that one.

    No two listeners have one address and port, so the same pair means that nothing is in between. A pooler on the same
    port of another machine is why the port alone says nothing. Which mode a pooler has, none says to a plain user.
    """
    words = said.split()
    if len(words) != 2 or not words[1].isdigit():
        if words == ["0"]:
            return "pooler", WARNING, f"asked {address} port {port}, and a server on a Unix socket answered", _NO_POOLER
        return "pooler", CANNOT_TELL, f"not an answer: {_last(said)}", _NO_POOLER
    if (words[0], int(words[1])) == (address, port):
        return "pooler", OK, "the server that answers has the very address and port that are asked", ""
    found = f"asked {address} port {port}, and a server at {words[0]} port {words[1]} answered: a pooler, or NAT"
    return "pooler", WARNING, f"{found}; its mode cannot be told from here", _NO_POOLER


def libpq(url: str) -> dict[str, str]:
    """The connection as libpq's variables: a password must not stand in an argv."""
    parts = urlsplit(url)
    known = {"PGHOST": parts.hostname, "PGPORT": str(parts.port or _POSTGRESQL), "PGUSER": parts.username}
    known.update(PGPASSWORD=parts.password, PGDATABASE=parts.path.lstrip("/"), PGCONNECT_TIMEOUT="5")
    return {key: unquote(value) for key, value in known.items() if value}


def _env_file(path: str) -> dict[str, str]:
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as file:
            lines = [line.strip().partition("=") for line in file]
    except OSError:
        return {}
    return {name.replace("export ", "").strip(): value.strip().strip("'\"") for name, equals, value in lines if equals}


def _run(argv: list[str], *, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    try:
        done = subprocess.run(  # noqa: S603 - argv, never a shell; this file stands alone on the machine
            argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, str(error)
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")


def _last(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no answer"


def main(asked: Mapping[str, Any]) -> None:
    """Say it all, one JSON array a line."""
    for finding in examine(asked):
        sys.stdout.write(json.dumps(finding) + "\n")
