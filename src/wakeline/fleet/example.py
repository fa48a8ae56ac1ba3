"""The annotated example of a fleet file: documentation, `wakeline docs`, and a test, in one file."""

from __future__ import annotations

import re
from pathlib import Path

_HEAD = re.compile(r"^# == (?P<topic>[a-z]+) == ", re.MULTILINE)


def text() -> str:
    """The whole file."""
    return Path(__file__).with_name("wakeline.example.toml").read_text(encoding="utf-8")


def topics() -> dict[str, str]:
    """Its parts by topic, in order."""
    whole = text()
    heads = list(_HEAD.finditer(whole))
    ends = [head.start() for head in heads[1:]] + [len(whole)]
    return {head["topic"]: whole[head.start() : end].rstrip() + "\n" for head, end in zip(heads, ends, strict=True)}
