"""The log of a run on GitHub: its commands, and everybody else's words made harmless. Pure.

The runner takes a line of either stream for a command when, after blanks, it begins with `::name` … `::`, and also when
`##[name` … `]` stands anywhere in it (ActionCommand.cs in actions/runner). It ends a line at \\r too. So a line that is
not ours never begins with a colon, and never has `##[` in it; that also keeps the page from drawing groups and colours
that somebody else wrote.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

KIND_MAX = 10  # annotations of one kind that a step's page shows: GitHub's "Limits" of annotations
_SHOWN_MAX = 4000


def harmless(line: str) -> str:
    """One line of somebody else's that no runner takes for a command. What is no letter is not trusted to be seen."""
    clean = "".join(c if c.isprintable() or c == "\t" else "?" for c in line).replace("##[", "## [")
    visible = "".join(c for c in clean if "!" <= c <= "~")
    return f"| {clean}" if visible.startswith(":") else clean


def command(name: str, text: str = "", **properties: str) -> str:
    """A command of ours. Its text may have several lines, and anything in them."""
    said = ",".join(f"{key}={_property(value)}" for key, value in properties.items() if value)
    return f"::{name}{' ' + said if said else ''}::{_data(text[:_SHOWN_MAX])}"


def _data(text: str) -> str:
    clean = "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)
    return clean.replace("%", "%25").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def masks(secrets: Iterable[str]) -> list[str]:
    """Tell the runner what to hide. These lines are not shown in the log."""
    return [command("add-mask", secret) for secret in dict.fromkeys(secrets)]


def annotated(kind: str, told: Iterable[tuple[str, str]]) -> list[str]:
    """Titles and texts as annotations of one kind; past GitHub's limit the last one says how many are left out."""
    rows = list(told)
    if len(rows) > KIND_MAX:
        left = [title for title, _ in rows[KIND_MAX - 1 :]]
        rows = [*rows[: KIND_MAX - 1], (f"and {len(left)} more", ", ".join(left))]
    return [command(kind, text, title=title) for title, text in rows]


@dataclasses.dataclass
class Groups:
    """A group a machine, though GitHub knows one group at a time: the others' lines wait until it is closed.

    The machine that speaks first has the floor, and is heard as it speaks. Lines of nobody in particular go in between.
    """

    floor: str = ""
    waiting: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    ended: dict[str, str] = dataclasses.field(default_factory=dict)

    def say(self, machine: str, line: str) -> list[str]:
        """What is to be printed now."""
        if machine in self.ended or not machine:
            return [harmless(line)]
        if self.floor in ("", machine):
            opened = [] if self.floor else [command("group", machine)]
            self.floor = machine
            return [*opened, harmless(line)]
        self.waiting.setdefault(machine, []).append(line)
        return []

    def end(self, machine: str, word: str) -> list[str]:
        """A machine is done: its group is closed, its last word stands below it, and the next one has the floor."""
        self.ended[machine] = word
        if machine != self.floor:
            return [] if machine in self.waiting else [harmless(word)]
        printed = [command("endgroup"), harmless(word)]
        self.floor = ""
        for name in list(self.waiting):
            printed += [command("group", name), *(harmless(line) for line in self.waiting.pop(name))]
            if name not in self.ended:
                self.floor = name
                break
            printed += [command("endgroup"), harmless(self.ended[name])]
        return printed

    def close(self) -> list[str]:
        """The rollout is over; whoever has said no last word has none."""
        printed = [command("endgroup")] if self.floor else []
        self.floor = ""
        for name in list(self.waiting):
            printed += [command("group", name), *(harmless(line) for line in self.waiting.pop(name))]
            printed += [command("endgroup"), *([harmless(self.ended[name])] if name in self.ended else [])]
        return printed
