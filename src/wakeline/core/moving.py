"""How a service's unit is moved from the folder that it runs in to `current`, and what of that cannot be told.

A drop-in that sets WorkingDirectory= alone lets a service run on with the old environment: its ExecStart= names
/opt/app/checkout/.venv/bin/gunicorn. A path is moved when a release is sure to have what it names: a tracked file, an
output of a step, a shared path. Everything else is left as it is, and said in words. An old setting is reset before
the new ones, as systemd.service(5) wants it for lists.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence

LISTS = ("EnvironmentFile", "Environment")  # and every Exec…
_OURS = ("current", "releases", "shared", "cache")


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting of a unit's [Service] section as it holds now, and the file that says it."""

    key: str
    value: str
    file: str = ""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where releases go, and what every release is sure to have: paths relative to it, without a slash at the end."""

    path: str
    tracked: frozenset[str] = frozenset()
    made: frozenset[str] = frozenset()

    @property
    def current(self) -> str:
        """The link that services start in."""
        return f"{self.path}/current"

    def has(self, relative: str) -> bool:
        """Whether a release is sure to have what a relative path names."""
        parts = relative.strip("/").split("/")
        above = {"/".join(parts[: count + 1]) for count in range(len(parts))}
        return not relative.strip("/") or relative.strip("/") in self.tracked or bool(above & self.made)


@dataclasses.dataclass(frozen=True)
class Move:
    """What comes of one unit: the lines of its drop-in's [Service] section, what changes, and what could not be told.

    `old` is the folder that it runs in now, as a whole: its checkout, or where it starts.
    """

    lines: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    old: str = ""


def move(settings: Sequence[Setting], *, place: Place, tops: Mapping[str, str], last_name: str) -> Move:
    """Move one unit. `tops` names the checkout of a path, `last_name` our drop-in: a later file has the last word."""
    starts_in = next((each.value for each in reversed(settings) if each.key == "WorkingDirectory"), "").lstrip("-")
    old, doubts = _old_folder(settings, starts_in, place=place, tops=tops)
    target = _moved_folder(starts_in, old=old, place=place)
    lines = ["WorkingDirectory=", f"WorkingDirectory={target}"]
    changes = [] if starts_in == target else [f"starts in {target} (now: {starts_in or '/'})"]
    if not old:
        doubts += [f"{each.key}={each.value}: {_VARIABLE}" for each in settings if _starts_with_a_variable(each)]
        return Move(tuple(lines), tuple(changes), tuple(doubts), "")
    for key in dict.fromkeys(each.key for each in settings if each.key != "WorkingDirectory"):
        mine = [each for each in settings if each.key == key]
        moved, words = _moved_key(key, mine, old=old, place=place)
        lines += moved
        changes += [line for line in moved if not line.endswith("=") and line not in {_line(each) for each in mine}]
        doubts += words
    later = sorted({each.file for each in settings if _is_later(each.file, last_name) and _is_moved(each.key, lines)})
    doubts += [f"{file} has the last word over our drop-in: move the paths in it yourself" for file in later]
    return Move(tuple(lines), tuple(changes), tuple(doubts), old)


_VARIABLE = "what it starts is in a variable, which may lead to the old folder"


def _old_folder(
    settings: Sequence[Setting], starts_in: str, *, place: Place, tops: Mapping[str, str]
) -> tuple[str, list[str]]:
    """The checkout that a unit runs from, else the folder that it starts in; nothing where it is moved already."""
    if starts_in.startswith("/"):
        return ("" if _is_below(starts_in, place.current) else tops.get(starts_in) or starts_in.rstrip("/")), []
    named = {tops[path] for each in settings if each.key.startswith("Exec") for path in tops if path in each.value}
    named = {each for each in named if each and not _is_below(each, place.current)}
    if len(named) > 1:
        return "", [f"it runs from several checkouts ({', '.join(sorted(named))}): only where it starts is changed"]
    return next(iter(named), ""), []


def _moved_folder(starts_in: str, *, old: str, place: Place) -> str:
    """Where it starts from now on: a folder inside the old checkout stays that folder of the release."""
    if _is_below(starts_in, place.current):
        return starts_in
    return place.current + starts_in[len(old) :] if old and _is_below(starts_in, old) else place.current


def _moved_key(key: str, settings: Sequence[Setting], *, old: str, place: Place) -> tuple[list[str], list[str]]:
    """The lines of one key when anything of it moves, and what stays that names the old folder."""
    values = [_moved_value(each.value, old=old, place=place) for each in settings]
    if key not in LISTS and not key.startswith("Exec"):
        named = [each for each, (value, left) in zip(settings, values) if left or value != each.value]
        return [], [f"{_line(each)} stays as it is" for each in named]
    doubts = [f"{key}= {path} stays: {why}" for _, left in values for path, why in left]
    doubts += [f"{_line(each)}: {_VARIABLE}" for each in settings if _starts_with_a_variable(each)]
    new = [f"{key}={value}" for (value, _), each in zip(values, settings) if value != each.value]
    if not new or key == "Environment":  # of two settings of one variable the later one holds: nothing is reset
        return new, doubts
    return [f"{key}=", *(f"{key}={value}" for value, _ in values)], doubts


def _moved_value(value: str, *, old: str, place: Place) -> tuple[str, list[tuple[str, str]]]:
    """One value with its paths moved, and those that stay, each with why."""
    left: list[tuple[str, str]] = []

    def one(match: re.Match[str]) -> str:
        relative = match[1] or ""
        if any(_is_below(match[0], f"{place.path}/{each}") for each in _OURS):
            return match[0]
        if place.has(relative):
            return place.current + relative
        top = relative.strip("/").split("/")[0]
        left.append((match[0], f"no step says that it makes {top} (outputs), and it is not in the repository"))
        return match[0]

    return re.sub(rf"(?<![\w./]){re.escape(old)}((?:/[^\s\"';:,=)]*)?)(?![\w.-])", one, value), left


def _starts_with_a_variable(setting: Setting) -> bool:
    return setting.key.startswith("Exec") and setting.value.lstrip("@-:+!|").startswith("$")


def _line(setting: Setting) -> str:
    return f"{setting.key}={setting.value}"


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def _is_later(file: str, last_name: str) -> bool:
    return ".d/" in file and file.rpartition("/")[2] > last_name


def _is_moved(key: str, lines: Collection[str]) -> bool:
    return any(line.startswith(f"{key}=") for line in lines)
