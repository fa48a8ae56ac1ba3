"""What a step sees: the same clean, documented environment on a push and at boot. And which parts of it are secret.

| name | value |
|---|---|
| HOME, USER, LOGNAME, SHELL | the deploy user's own, from the password file |
| LANG | C.UTF-8 |
| PATH | the fleet file's `path_for_steps`, then the system's folders |
| XDG_CACHE_HOME, npm_config_cache, POETRY_CACHE_DIR, UV_CACHE_DIR, PIP_CACHE_DIR | folders below the app's path |
| UV_COMPILE_BYTECODE | 1: outputs are read-only once complete, so bytecode must be made at once |
| everything in `env_file` | as it stands there |
| WAKELINE_RELEASE, _COMMIT, _ROLE, _MACHINE, _APP, _ENVIRONMENT, _ONCE | what, where, and `run`, `verify` or `skip` |
| WAKELINE_VERIFY | a program that asks Django, Alembic or Flask for pending migrations; see verify_migrations.py |
| WAKELINE_LOCK | a program that takes the migration lock in the database, for a step's `lock`; see migration_lock.py |
| WAKELINE_OUTPUT, WAKELINE_OUTPUTS | where a step's outputs stay: make a virtual environment there |
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from wakeline.core.order import Layout, Order
from wakeline.errors import RolloutFailed

DEFAULT_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_SECRET_NAME = re.compile(r"SECRET|TOKEN|PASS|PWD|KEY|CREDENTIAL|DSN", re.IGNORECASE)
_LOOKED_FOR = (".local/bin", ".cargo/bin", ".poetry/bin", ".pyenv/shims", ".volta/bin", "bin")


class Environment(NamedTuple):
    """What every step of an order sees, and the values that must not be shown."""

    values: Mapping[str, str]
    secrets: tuple[str, ...]

    def plus(self, **more: str) -> dict[str, str]:
        """The environment of one step."""
        return {**self.values, **more}

    def mask(self, text: str) -> str:
        """The text with every secret replaced by ***."""
        for secret in self.secrets:
            if secret in text:
                text = text.replace(secret, "***")
        return text


def build(order: Order, *, folder: Path) -> Environment:
    """The environment of an order's steps, `folder` being the release. Raises RolloutFailed for a bad `env_file`."""
    user = pwd.getpwuid(os.getuid())
    cache = Path(order.path) / (".git/wakeline-cache" if order.layout is Layout.IN_PLACE else "cache/.tools")
    values = {
        "HOME": user.pw_dir,
        "USER": user.pw_name,
        "LOGNAME": user.pw_name,
        "SHELL": "/bin/sh",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "PATH": os.pathsep.join(_search_path(order, folder=folder, home=user.pw_dir)),
        "XDG_CACHE_HOME": str(cache),
        "npm_config_cache": str(cache / "npm"),
        "POETRY_CACHE_DIR": str(cache / "pypoetry"),
        "PIP_CACHE_DIR": str(cache / "pip"),
        "UV_CACHE_DIR": str(cache / "uv"),
        "UV_COMPILE_BYTECODE": "1",
    }
    given = _read_env_file(order, folder=folder)
    values.update(given)
    values.update(
        WAKELINE_APP=order.app,
        WAKELINE_ENVIRONMENT=order.environment,
        WAKELINE_RELEASE=str(order.release),
        WAKELINE_COMMIT=order.commit,
        WAKELINE_MACHINE=order.machine,
        WAKELINE_ROLE=order.roles[0] if order.roles else "",
        WAKELINE_ROLES=" ".join(order.roles),
        WAKELINE_ONCE="skip",
    )
    return Environment(values, _secrets(given))


def parse_env_file(text: str) -> dict[str, str]:
    """NAME=value lines as systemd and docker read them: comments, `export`, quotes; nothing is expanded."""
    found = {}
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        name, equals, value = line.removeprefix("export ").partition("=")
        name = name.strip()
        if equals and _NAME.match(name):
            found[name] = _unquote(value.strip())
    return found


def _unquote(value: str) -> str:
    if value[:1] in ("'", '"'):
        try:
            parts = shlex.split(value, comments=True)
        except ValueError:
            return value
        return parts[0] if parts else ""
    return re.sub(r"\s+#.*\Z", "", value)


def _read_env_file(order: Order, *, folder: Path) -> dict[str, str]:
    if not order.env_file:
        return {}
    path = folder / order.env_file
    try:
        return parse_env_file(path.read_text("utf-8", "replace"))
    except OSError as error:
        hint = "add it to `shared`, or correct `env_file`"
        raise RolloutFailed(f"env_file {order.env_file} cannot be read: {error}", hint=hint) from error


def _search_path(order: Order, *, folder: Path, home: str) -> list[str]:
    asked = [home + each[1:] if each.startswith("~/") else str(folder / each) for each in order.search_path]
    return [*asked, *(each for each in DEFAULT_PATH if each not in asked)]


def _secrets(given: Mapping[str, str]) -> tuple[str, ...]:
    """Values that must not be shown, longest first; short ordinary words stay readable."""
    found = set()
    for name, value in given.items():
        passwords = _passwords_in(value)
        for part in (value, *value.splitlines(), *passwords):
            if len(part) >= 8 or (len(part) >= 4 and (part in passwords or _SECRET_NAME.search(name))):
                found |= _spellings(part)
    return tuple(sorted(found, key=len, reverse=True))


def _passwords_in(value: str) -> tuple[str, ...]:
    """The password of an address: as it stands there, and as who reads it gets it."""
    try:
        from urllib.parse import unquote, urlsplit  # noqa: PLC0415 - for an address alone

        password = urlsplit(value).password or ""
    except ValueError:
        return ()
    return password, unquote(password)


def _spellings(secret: str) -> set[str]:
    """A secret as it stands, and as programs write it: in JSON, in Python, in an address, quoted for a shell."""
    from urllib.parse import quote  # noqa: PLC0415 - same

    in_json = (json.dumps(secret, ensure_ascii=each)[1:-1] for each in (True, False))
    in_python = (repr(secret)[1:-1], ascii(secret)[1:-1], repr(secret.encode("utf-8", "replace"))[2:-1])
    in_an_address = (quote(secret, safe=each, errors="replace") for each in ("", "/"))
    in_a_shell = (secret.replace("'", each) for each in ("'\\''", "'\"'\"'"))
    return {secret, *in_json, *in_python, *in_an_address, *in_a_shell}


def explain_not_found(command: str, *, values: Mapping[str, str]) -> str:
    """Where a missing command was looked for, and where it is if a usual place has it."""
    looked = values.get("PATH", "").split(os.pathsep)
    text = f"looked in {', '.join(looked)}"
    for name in _words(command):
        if not any((Path(folder) / name).exists() for folder in looked):
            for place in _LOOKED_FOR:
                found = Path(values.get("HOME", "/")) / place / name
                if found.exists():
                    return f"{text}; {name} is in {found.parent}: add that to `path_for_steps`"
    return text


def _words(command: str) -> list[str]:
    return re.findall(r"(?:^|[;&|(]\s*)([A-Za-z0-9_.+-]+)", command)
