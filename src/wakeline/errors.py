"""All errors of ours, sorted by who must act, each with the exit code that a user sees.

Errors
├─ Usage          you asked for something that cannot be, or the fleet file is wrong        exit 2
├─ Busy           another rollout has the lease, or the release is on hold                  exit 3
├─ InDoubt        a once-step was started and nobody knows how it ended                     exit 4
├─ RolloutFailed  a machine or a gate failed                                                exit 1
│  └─ LedgerError the ledger could not be read or written, or is not ours                   exit 1
└─ Interrupted    somebody pressed Ctrl-C; it is on record                                  exit 130

An asleep machine is not an error: it is a warning and a promise.
"""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """What the process says to its caller when it ends."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    BUSY = 3
    IN_DOUBT = 4
    SOMETHING_TO_DO = 8
    OUR_BUG = 70
    INTERRUPTED = 130


MEANING = {
    ExitCode.DONE: "done; machines asleep are warnings and are listed",
    ExitCode.FAILED: "a machine or a gate failed; the last lines of the cause are on top",
    ExitCode.USAGE: "usage or fleet file",
    ExitCode.BUSY: "busy or held: another rollout has the lease, or the release is on hold",
    ExitCode.IN_DOUBT: "a once-step is in doubt and needs `wakeline resolve`",
    ExitCode.SOMETHING_TO_DO: "`plan --exit-code`: there is something to do",
    ExitCode.OUR_BUG: "a bug of ours",
    ExitCode.INTERRUPTED: "interrupted, recorded, nothing half-done",
}


class WakelineError(Exception):
    """Base of every error that a user may see. `hint` says what to do next, in words or as a command."""

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Usage(WakelineError):
    """Bad arguments or a bad fleet file: nothing was started."""

    exit_code = ExitCode.USAGE


class Busy(WakelineError):
    """Somebody else is at it, or a hold stands in the way."""

    exit_code = ExitCode.BUSY


class InDoubt(WakelineError):
    """A once-step was claimed and has no outcome; a person must look (`wakeline resolve`)."""

    exit_code = ExitCode.IN_DOUBT


class RolloutFailed(WakelineError):
    """A machine or a gate failed."""


class LedgerError(WakelineError):
    """The ledger could not be read or written, or it is not the log that we knew."""


class Interrupted(WakelineError):
    """Somebody asked to stop; what was done is on record."""

    exit_code = ExitCode.INTERRUPTED
