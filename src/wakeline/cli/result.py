"""What a verb returns: the renderer turns it into text, or into one JSON envelope with a version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from wakeline.errors import ExitCode

ENVELOPE_VERSION = 1


class Result(NamedTuple):
    """`data` is for programs, `lines` for people; `warnings` need somebody's attention, but not now.

    `errors` are titles and causes, where there is more than one thing to say of what went wrong.
    """

    verb: str
    data: Mapping[str, Any]
    lines: Sequence[str] = ()
    warnings: Sequence[str] = ()
    exit_code: ExitCode = ExitCode.DONE
    error: str = ""
    hint: str = ""
    errors: Sequence[tuple[str, str]] = ()

    @property
    def status(self) -> str:
        """Derived, never said: success, partial (done with warnings) or error."""
        if self.exit_code not in (ExitCode.DONE, ExitCode.SOMETHING_TO_DO):
            return "error"
        return "partial" if self.warnings else "success"

    def envelope(self) -> dict[str, Any]:
        """The JSON that `--json` prints, the same shape for every verb."""
        head = {
            "wakeline": ENVELOPE_VERSION,
            "verb": self.verb,
            "status": self.status,
            "exit_code": int(self.exit_code),
        }
        talk = {"warnings": list(self.warnings), "error": self.error, "hint": self.hint}
        return {**head, **talk, "data": dict(self.data)}
