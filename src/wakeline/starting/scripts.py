"""What stands in the way in deploy scripts, workflows and units that people have, with the lines to change. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from wakeline.starting.facts import Unit

_MOVES_CODE = re.compile(r"\bgit\s+(?:-\S+\s+\S+\s+)*(?:pull|merge|checkout|switch|reset\s+--hard)\b")
_MIGRATES = re.compile(
    r"""manage(?:\.py)?["']?\s+migrate\b(?!.*--check)|django-admin\s+migrate\b|\balembic\b.*\bupgrade\b|\bdb\s+upgrade\b"""
)
_COLLECTS = re.compile(r"(?m)^(?!\s*#).*\bcollectstatic\b")
_COMMENT = re.compile(r"\s+#[^\"']*\Z")
_BEGINS = re.compile(r"(?:if|elif|case)\b.*WAKELINE_ONCE")
_ENDS = re.compile(r"(?:fi|esac|else)\b")


def collects(text: str) -> bool:
    """Whether a script or a workflow puts Django's static files where they are served from."""
    return bool(_COLLECTS.search(text))


def in_workflow(file: str, text: str) -> Iterator[str]:
    """Lines of a workflow that do by hand what a rollout does."""
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line.startswith("#") and (_MOVES_CODE.search(line) or _MIGRATES.search(line)):
            yield f"{file}:{number}: {line}   → `wakeline deploy` takes the place of this"


def in_script(file: str, text: str) -> Iterator[str]:
    """Lines that move the code, and migrations that every machine would run."""
    guarded = False
    for number, raw in enumerate(text.splitlines(), 1):
        line = _COMMENT.sub("", raw.strip())
        guarded = bool(_BEGINS.match(line)) or (guarded and not _ENDS.match(line))
        if line.startswith("#"):
            continue
        if _MOVES_CODE.search(line):
            yield f"{file}:{number}: {line}   → take it out: the commit is checked out before anything runs"
        if _MIGRATES.search(line) and not guarded and "WAKELINE_ONCE" not in line:
            yield f'{file}:{number}: {line}   → [ "$WAKELINE_ONCE" != run ] || {line}'


def at_boot(units: Iterable[Unit]) -> Iterator[str]:
    """Units that deploy when a machine boots: wakeline brings its own."""
    for unit in units:
        if unit.oneshot and re.search(r"deploy|git\s+pull|update", f"{unit.name} {unit.command}"):
            yield (
                f"{unit.file}: runs {unit.command or 'a deploy'} at boot   → systemctl disable {unit.name} on every "
                "machine: wakeline's own unit takes its place"
            )
