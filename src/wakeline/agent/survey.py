"""What `wakeline setup` finds out on a machine before it says what it would do. Looks only; runs as root.

The runner sends this file's own text to `python3 -`, so it stands alone: the standard library, and nothing of ours. No
value of a unit's Environment= leaves the machine unless it is a list of paths, and no content of a shared file does.
"""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_PATHS = re.compile(r"(?:/[\w.@+-]+)+(?::(?:/[\w.@+-]+)+)*\Z")
_PATH = re.compile(r"(?<![\w./$}])((?:/[\w.@+-]+)+)")
_LISTS = ("Environment", "EnvironmentFile")  # and all Exec…: an empty value forgets what was said before
_ABOUT_PLACES = ("WorkingDirectory", *_LISTS)


def settings(text: str, *, but: str = "") -> list[list[str]]:
    """The [Service] settings that `systemctl cat` shows, as [key, value, file], `but` those of one file of ours.

    Only what says where a unit runs and what it starts; other keys only where they name a path (systemd.syntax(7)).
    """
    found: list[list[str]] = []
    for file, key, value in _lines(text):
        if file == but:
            continue
        if not value and (key in _LISTS or key.startswith("Exec")):
            found = [each for each in found if each[0] != key]
        elif key == "Environment":
            found += [[key, each, file] for each in _assignments(value)]
        elif key in _ABOUT_PLACES or key.startswith("Exec"):
            found.append([key, value, file])
        elif _PATH.search(value):
            found.append([key, " ".join(_PATH.findall(value)), file])
    return found


def _lines(text: str) -> Iterator[tuple[str, str, str]]:
    file, section, joined = "", "", ""
    for line in text.splitlines():
        if not joined and line.startswith("# /"):
            file, section = line[2:].strip(), ""
        if line.lstrip().startswith(("#", ";")):
            continue
        joined += line.strip()
        if joined.endswith("\\"):
            joined = joined[:-1].rstrip() + " "
            continue
        whole, joined = joined, ""
        if whole.startswith("["):
            section = whole
        key, equals, value = whole.partition("=")
        if equals and section == "[Service]":
            yield file, key.strip(), value.strip()


def _assignments(value: str) -> list[str]:
    """The NAME=/a/path:/another of a line of Environment=; whatever else stands there may be a secret."""
    try:
        words = shlex.split(value)
    except ValueError:
        return []
    return [each for each in words if _PATHS.match(each.partition("=")[2])]


def survey(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that setup must know before it says what it would do."""
    units = {unit: _unit(unit, but=asked["drop_ins"][unit]) for unit in asked["units"]}
    paths = {path for each in units.values() for _, value, _ in each["settings"] for path in _PATH.findall(value)}
    tops = {path: _top(path) for path in sorted(paths)}
    folders = _folders(units, tops, but=asked["path"])
    return {
        "units": units,
        "tops": tops,
        "folders": [each for each in sorted({*paths, *tops.values()}) if Path(each).is_dir()],
        "current": _link(f"{asked['path']}/current"),
        "files": {path: found for path in asked["files"] if (found := _file(path))},
        "missing": [each for each in asked["tools"] if not _which(each)],
        "user": _user_is_there(asked["user"]),
        "shared": [_shared(name, to=f"{asked['shared_in']}/{name}", folders=folders) for name in asked["shared"]],
    }


def _unit(unit: str, *, but: str) -> dict[str, Any]:
    state = _run(["systemctl", "--no-pager", "show", "--property=LoadState", "--value", unit]).strip()
    text = _run(["systemctl", "--no-pager", "cat", unit]) if state == "loaded" else ""
    return {"state": state or "unknown", "settings": settings(text, but=but)}


def _top(path: str) -> str:
    """The checkout that a path is in, or nothing."""
    for place in (Path(path), *Path(path).parents):
        if (place / ".git").exists():
            return str(place)
    return ""


def _folders(units: Mapping[str, Any], tops: Mapping[str, str], *, but: str) -> list[str]:
    """Where a shared file may lie now: the folders that the units start in, and their checkouts."""
    found: dict[str, None] = {}
    for each in units.values():
        for key, value, _ in each["settings"]:
            if key == "WorkingDirectory" and value.lstrip("-").startswith("/"):
                place = value.lstrip("-")
                found.update(dict.fromkeys(filter(None, (place, tops.get(place, "")))))
    inside = (f"{but}/current", f"{but}/releases")
    return [each for each in found if not each.startswith(inside)]


def _shared(name: str, *, to: str, folders: Sequence[str]) -> dict[str, Any]:
    """One shared path: whether it is there, and what of that name lies in the folders that are in use now."""
    found: dict[str, dict[str, Any]] = {}
    for folder in folders:
        place = Path(folder, name)
        if not os.path.lexists(to) and place.exists():
            facts = place.stat()
            kind = "folder" if stat.S_ISDIR(facts.st_mode) else "file"
            owner = f"{_name_of(pwd.getpwuid, facts.st_uid)}:{_name_of(grp.getgrgid, facts.st_gid)}"
            mode = f"{stat.S_IMODE(facts.st_mode):04o}"
            found.setdefault(os.path.realpath(place), {"at": str(place), "kind": kind, "mode": mode, "owner": owner})
    return {"name": name, "to": to, "there": os.path.lexists(to), "found": list(found.values())}


def _name_of(lookup: Any, number: int) -> str:
    try:
        return str(lookup(number)[0])
    except KeyError:
        return str(number)


def _file(path: str) -> dict[str, Any]:
    """Mode and digest of a file of ours, or nothing."""
    try:
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        return {"digest": digest, "mode": stat.S_IMODE(Path(path).stat().st_mode)}
    except OSError:
        return {}


def _user_is_there(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _link(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115 - text as it stands in the link
    except OSError:
        return "something else" if os.path.lexists(path) else ""


def _which(tool: str) -> bool:
    folders = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
    return any(os.access(f"{folder}/{tool}", os.X_OK) for folder in folders)


def _run(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")


def main(asked: Mapping[str, Any]) -> None:
    """Say it all, as one JSON object."""
    sys.stdout.write(json.dumps(survey(asked)) + "\n")
