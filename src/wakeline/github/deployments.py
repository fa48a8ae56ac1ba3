"""What is said to GitHub's deployments API: a deployment a release, a status a stage. Pure.

Fields and limits are those of GitHub's REST description, operations `repos/create-deployment` and
`repos/create-deployment-status`; the tests hold these bodies against its schemas.
"""

from __future__ import annotations

from typing import Any

from wakeline.github.report import Report

_DESCRIPTION_MAX = 140
TASK = "deploy"


def deployment(*, app: str, environment: str, release: int, commit: str, rollback_to: int) -> dict[str, Any]:
    """The body that creates one. No checks are asked for and nothing is merged: the decision has been made."""
    back = f", going back to release {rollback_to}" if rollback_to else ""
    return {
        "ref": commit,
        "task": "rollback" if rollback_to else TASK,
        "auto_merge": False,
        "required_contexts": [],
        "environment": environment,
        "description": _short(f"{app} release {release}{back}"),
        "payload": {"wakeline": 1, "app": app, "release": release},
    }


def status(state: str, description: str, *, environment: str, url: str, log_url: str) -> dict[str, Any]:
    """The body of one status. Only a release that is everywhere makes those before it inactive."""
    said: dict[str, Any] = {"state": state, "description": _short(description), "environment": environment}
    if url:
        said["environment_url"] = url
    if log_url:
        said["log_url"] = log_url
    return {**said, "auto_inactive": state == "success"}


def _short(text: str) -> str:
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if len(line) <= _DESCRIPTION_MAX else f"{line[: _DESCRIPTION_MAX - 1]}…"


def last_word(report: Report) -> tuple[str, str]:
    """State and description for a rollout, or one stage of it, that has ended."""
    count = f"{len(report.passed)} of {len(report.machines)} machines on release {report.release}"
    asleep = f"; asleep: {', '.join(row.name for row in report.asleep)}" if report.asleep else ""
    if report.ended == "interrupted":
        return "error", f"cancelled: {count}"
    if report.bad:
        row = report.bad[0]
        first = row.cause.splitlines()[0] if row.cause else ""
        return "failure", f"{row.name} {row.outcome.value}: {first}"
    if report.ended != "passed" or report.problems or report.in_doubt:
        return "failure", f"not passed: {count}"
    if report.to_come:
        return "in_progress", f"stage {report.stage} passed; next: {report.to_come[0]}"
    return "success", f"{count}{asleep}"
