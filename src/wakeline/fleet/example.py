"""The annotated example of a fleet file: documentation, `wakeline docs`, and a test, in one file.

What a key means stands behind it, or in a line of its own above it that begins with `# key: `; the first place counts.
"""

from __future__ import annotations

import re
from pathlib import Path

_HEAD = re.compile(r"^# == (?P<topic>[a-z]+) == ", re.MULTILINE)
_TABLE = re.compile(r"\[\[?(?P<table>[\w.]+)\]\]?")
_ABOVE = re.compile(r"# (?P<key>\w+): (?P<prose>.+)")
_KEY = re.compile(r"(?P<key>\w+) = .*?(?:\s#\s(?P<prose>.+))?$")


def text() -> str:
    """The whole file."""
    return Path(__file__).with_name("wakeline.example.toml").read_text(encoding="utf-8")


def topics() -> dict[str, str]:
    """Its parts by topic, in order."""
    whole = text()
    heads = list(_HEAD.finditer(whole))
    ends = [head.start() for head in heads[1:]] + [len(whole)]
    return {head["topic"]: whole[head.start() : end].rstrip() + "\n" for head, end in zip(heads, ends, strict=True)}


def prose() -> dict[str, str]:
    """What each key means, by its path without numbers: `stage.machine.presence`."""
    found: dict[str, str] = {}
    table = ""
    for line in text().splitlines():
        if head := _TABLE.match(line):
            table = f"{head['table']}."
        elif (said := _ABOVE.match(line) or _KEY.match(line)) and said["prose"]:
            found.setdefault(table + said["key"], said["prose"].strip())
    return found
