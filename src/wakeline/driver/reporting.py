"""Reports a rollout to GitHub while it runs in a run there: a deployment with its statuses, outputs, the summary.

Nothing here decides anything, and nothing here can fail a rollout: what GitHub does not take is said, and left.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wakeline.driver.deploying import Result
from wakeline.driver.gathering import gather
from wakeline.driver.progress import Notice, Tell
from wakeline.driver.project import Project
from wakeline.edges import github
from wakeline.errors import WakelineError
from wakeline.github import deployments, summary
from wakeline.github.report import Bar
from wakeline.github.run import RUN_TOKEN
from wakeline.github.timeline import Timeline

_CLOSE_S = 5.0
_CLOSE_WHEN_STOPPED_S = 1.0


@contextlib.contextmanager
def reporting(project: Project, environment: Mapping[str, str], *, stage: str) -> Iterator[Reporter]:
    """A reporter for as long as a rollout runs, or one stage. An error of ours that ends it is reported too."""
    reporter = Reporter(project, environment, stage=stage)
    try:
        yield reporter
    except WakelineError as error:
        reporter.abandon(error)
        raise


def refused(error: WakelineError, environment: Mapping[str, str]) -> None:
    """Nothing was begun, and why; said where the run's page shows it."""
    said = {"GITHUB_STEP_SUMMARY": summary.refused(error.message, error.hint), "GITHUB_OUTPUT": "outcome=refused\n"}
    for name, text in said.items():
        if place := environment.get(name, ""):
            github.append(place, text)


class Reporter:
    """Hears what a rollout tells, and says it to GitHub. `problems` are what GitHub did not take."""

    def __init__(self, project: Project, environment: Mapping[str, str], *, stage: str) -> None:
        self.problems: list[str] = []
        self._project = project
        self._given = environment
        self._stage = stage
        self._timeline = Timeline()
        self._release: dict[str, Any] = {}
        self._deployment: int | None = None
        self._ended: set[str] = set()
        self._api = self._reach_api()
        self._background = github.Background()

    def beside(self, tell: Tell) -> Tell:
        """Tell both."""

        def both(notice: Notice) -> None:
            tell(notice)
            self._hear(notice)

        return both

    def finish(self, done: Result, *, hint: str) -> None:
        """The rollout has ended: outputs, summary, last status, and notes for the next step of this job."""
        try:
            self._finish(done, hint=hint)
        except Exception as error:  # noqa: BLE001 - a bug in a report does not change what the rollout has come to
            self.problems.append(f"the report to GitHub could not be made: {error!r}")

    def _finish(self, done: Result, *, hint: str) -> None:
        notes = self._notes(done.release.number)
        bars = [*(Bar(*each) for each in notes.get("bars", [])), *self._timeline.bars]
        report = gather(self._project, done, bars=tuple(bars), repository=self._repository, hint=hint)
        asleep = ",".join(row.name for row in report.asleep)
        self._append("GITHUB_OUTPUT", f"release={report.release}\noutcome={report.ended}\nasleep={asleep}\n")
        self._append("GITHUB_STEP_SUMMARY", summary.render(report))
        self._status(*deployments.last_word(report))
        self._close(stopped=report.ended == "interrupted")
        kept: dict[str, Any] = {"release": report.release, "deployment": self._deployment}
        kept["bars"] = [list(dataclasses.astuple(bar)) for bar in bars]
        if place := self._notes_place:
            github.write_notes(place, kept)

    def abandon(self, error: WakelineError) -> None:
        """It did not come to an end of its own."""
        refused(error, self._given)
        if self._release:
            self._status("error", error.message)
        self._close(stopped=False)

    def _hear(self, notice: Notice) -> None:
        self._timeline.hear(notice.kind, notice.machine, notice.data, now_s=time.time())
        if notice.kind == "release":
            self._release = dict(notice.data)
            self._background.do(self._begin)
        elif notice.kind == "outcome" and not self._stage:
            self._ended.add(notice.machine)
            for stage in self._release.get("stages", ()):
                if (
                    stage["machines"][-1:]
                    and set(stage["machines"]) <= self._ended
                    and notice.machine in stage["machines"]
                ):
                    self._status("in_progress", f"stage {stage['name']} has ended")

    def _begin(self) -> None:
        """The deployment that an earlier step of this job has begun, or a new one."""
        if self._api is None:
            return
        file, number = self._project.file, int(self._release["number"])
        self._deployment = self._notes(number).get("deployment")
        if self._deployment is None:
            body = deployments.deployment(
                app=file.fleet.app,
                environment=file.fleet.environment,
                release=number,
                commit=str(self._release["commit"]),
                rollback_to=int(self._release["rollback_to"]),
            )
            found = self._api.post("/deployments", body).get("id")
            if not isinstance(found, int):
                raise github.ApiFailed("the deployment that it made has no number")
            self._deployment = found
        self._post_status(
            "in_progress", f"{f'stage {self._stage} of ' if self._stage else ''}release {number} has begun"
        )

    def _status(self, state: str, description: str) -> None:
        self._background.do(lambda: self._post_status(state, description))

    def _post_status(self, state: str, description: str) -> None:
        if self._api is None or self._deployment is None:
            return
        file = self._project.file
        run = f"{self._repository}/actions/runs/{self._given.get('GITHUB_RUN_ID', '')}" if self._repository else ""
        body = deployments.status(state, description, environment=file.fleet.environment, url=file.url, log_url=run)
        self._api.post(f"/deployments/{self._deployment}/statuses", body)

    def _reach_api(self) -> github.Api | None:
        base, repository, token = (
            self._given.get(name, "") for name in ("GITHUB_API_URL", "GITHUB_REPOSITORY", RUN_TOKEN)
        )
        return github.Api(base, repository, token=token) if base and repository and token else None

    @property
    def _repository(self) -> str:
        server, name = self._given.get("GITHUB_SERVER_URL", ""), self._given.get("GITHUB_REPOSITORY", "")
        return f"{server}/{name}" if server and name else ""

    def _append(self, name: str, text: str) -> None:
        place = self._given.get(name, "")
        if place and (problem := github.append(place, text)):
            self.problems.append(f"{name}: {problem}")

    def _close(self, *, stopped: bool) -> None:
        if problem := self._background.close(limit_s=_CLOSE_WHEN_STOPPED_S if stopped else _CLOSE_S):
            self.problems.append(f"GitHub's deployments: {problem}; the rollout is as it is")

    @property
    def _notes_place(self) -> Path | None:
        folder = self._given.get("RUNNER_TEMP", "")
        fleet = self._project.file.fleet
        return Path(folder, f"wakeline-{fleet.app}-{fleet.environment}.json") if folder else None

    def _notes(self, release: int) -> dict[str, Any]:
        place = self._notes_place
        notes = github.read_notes(place) if place else {}
        return notes if notes.get("release") == release else {}
