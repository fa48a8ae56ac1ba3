"""What the runner of GitHub Actions makes of a step's output, written from its sources: ActionCommand.cs.

`TryParseV2`: after leading white space the line begins with `::`, a known name, perhaps properties, and `::`.
`TryParse`: `##[`, a known name and `]`, anywhere in it. Lines end at \\n, \\r and \\r\\n, as in .NET.
"""

from __future__ import annotations

import dataclasses
import re

KNOWN = frozenset(
    {"add-mask", "add-matcher", "add-path", "debug", "echo", "endgroup", "error", "group", "internal-set-repo-path"}
    | {"notice", "remove-matcher", "save-state", "set-env", "set-output", "stop-commands", "warning"}
)
_IGNORED = re.compile(
    "[\u00ad\u034f\u200b-\u200f\u2060-\u2064\ufe00-\ufe0f\ufeff]"
)  # what a culture's comparison may skip


@dataclasses.dataclass(frozen=True)
class Command:
    name: str
    text: str
    properties: dict[str, str]


def lines_of(output: str) -> list[str]:
    return re.split(r"\r\n|\r|\n", output)


def command_in(line: str) -> Command | None:
    return _modern(line) or _modern(_IGNORED.sub("", line)) or _legacy(line) or _legacy(_IGNORED.sub("", line))


def commands_in(output: str) -> list[Command]:
    return [found for line in lines_of(output) if (found := command_in(line))]


def _modern(line: str) -> Command | None:
    line = line.lstrip()
    end = line.find("::", 2)
    if not line.startswith("::") or end < 0:
        return None
    name, _, rest = line[2:end].partition(" ")
    if name.lower() not in KNOWN:
        return None
    pairs = [each.partition("=") for each in rest.strip().split(",") if "=" in each]
    data = _unescaped(line[end + 2 :])
    return Command(name.lower(), data, {key: _unescaped(value, more=True) for key, _, value in pairs})


def _legacy(line: str) -> Command | None:
    start = line.find("##[")
    end = line.find("]", start)
    if start < 0 or end < 0:
        return None
    name = line[start + 3 : end].partition(" ")[0]
    return Command(name.lower(), line[end + 1 :], {}) if name.lower() in KNOWN else None


def _unescaped(text: str, *, more: bool = False) -> str:
    text = text.replace("%0D", "\r").replace("%0A", "\n")
    text = text.replace("%3A", ":").replace("%2C", ",") if more else text
    return text.replace("%25", "%")
