"""The fleet file as it is being written, with what was taken from where and what could not be told. Pure."""

from __future__ import annotations

import json
import re
import shlex

ASK = "# TODO "


class Page:
    """Lines of the file, and the two lists that go to the screen."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.taken: list[str] = []
        self.asked: list[str] = []

    def add(self, *lines: str) -> None:
        """Lines as they are."""
        self.lines += lines

    def say(self, text: str) -> None:
        """A comment. Text of others may be in it."""
        self.lines.append(f"# {printable(text)}")

    def take(self, what: str, source: str) -> None:
        """Something was found out."""
        self.taken.append(printable(f"{what}, from {source}"))

    def ask(self, question: str) -> None:
        """Something was not: a comment that a person answers."""
        if question not in self.asked:
            self.asked.append(printable(question))
        self.lines.append(ASK + printable(question))


def printable(text: str) -> str:
    """On one line, without control characters: neither a comment nor a screen may be led astray by a file's name."""
    return "".join(char if char.isprintable() else "?" for char in text)


def quoted(text: str) -> str:
    """As a TOML string."""
    clean = text.encode("utf-8", "replace").decode("utf-8")
    return json.dumps(clean, ensure_ascii=False).replace("\x7f", "\\u007f")


def listed(*texts: str) -> str:
    """As a TOML list of strings."""
    return f"[{', '.join(map(quoted, texts))}]"


def plain(text: str, *, otherwise: str) -> str:
    """As a name in the fleet file: small letters, digits, - and _."""
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:60].rstrip("-_") or otherwise


def inside(folder: str, command: str) -> str:
    """A shell command that is run in a folder of the release."""
    return f"cd {shlex.quote(folder)} && {command}" if folder else command
