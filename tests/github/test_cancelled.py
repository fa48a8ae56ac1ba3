"""Cancelled as GitHub cancels, in each phase: on record, the lease free, nothing half-done, the next run carries on."""

from __future__ import annotations

import threading

import pytest

from github.conftest import named
from github.job import Job
from stories.conftest import until

pytestmark = pytest.mark.slow

WAITS = "touch {root}/began\nwhile ! test -e {root}/gate; do sleep 0.02; done\n"


def waits(repository) -> str:
    return WAITS.format(root=repository.root)


def lease_is_free(repository) -> bool:
    kinds = [r["kind"] for r in repository.log() if r["kind"] in ("lease-taken", "lease-freed")]
    return kinds[-1:] != ["lease-taken"]


def cancelled(repository, job: Job, stage: str, *, when=None):
    """Run the job and cancel that stage's step as soon as `when` holds. Returns the step."""
    began = repository.root / "began"
    holds = when or began.exists
    steps = named(job.run(cancel=lambda name: name.startswith(f"Stage {stage}") and holds()))
    step = steps[stage]
    assert step.conclusion == "cancelled", step.log
    assert step.code in (3, 4, 130), step.log
    return step


def test_in_a_step(repository):
    repository.run(repository.commit("one"))
    repository.write("pages.sh", waits(repository))
    commit = repository.commit("two")
    step = cancelled(repository, repository.job(commit), "scheduler")
    assert step.code == 130
    assert step.summary.startswith("## ⏹️ Cancelled: 0 of 2 machines on release 2\n")
    assert step.outputs["outcome"] == "interrupted"
    assert repository.api.states[-1] == "error"
    assert lease_is_free(repository)
    assert repository.serves("scheduler") == "one"
    (repository.root / "gate").touch()
    assert repository.run(commit)["frontend"].conclusion == "success"
    assert (repository.serves("uat"), repository.migrate_starts) == ("two", 1)


def test_while_a_once_step_runs_it_is_left_running_and_the_next_run_carries_on(repository):
    repository.write("migrate.sh", 'echo started >>"$1.starts"\n' + waits(repository) + 'cat schema >>"$1"\n')
    commit = repository.commit("one")
    cancelled(repository, repository.job(commit), "scheduler")
    assert lease_is_free(repository)
    assert repository.database == []
    (repository.root / "gate").touch()
    until(lambda: repository.database == ["0001"])
    assert repository.run(commit)["frontend"].conclusion == "success"
    assert (repository.migrate_starts, repository.serves("uat")) == (1, "one")


def test_while_it_waits_for_health(repository):
    repository.run(repository.commit("one"))
    text = (repository.app / "wakeline.toml").read_text()
    repository.write("wakeline.toml", text.replace('within = "1s"', 'within = "40s"'))
    repository.write("health.sh", f'test "$WAKELINE_MACHINE" = scheduler || test -e {repository.root}/gate\n')
    commit = repository.commit("two")
    cancelled(repository, repository.job(commit), "frontend", when=lambda: repository.current("uat") == "releases/2")
    assert lease_is_free(repository)
    (repository.root / "gate").touch()
    until(lambda: repository.machine("uat")["busy"] is False, limit_s=60)
    steps = repository.run(commit)
    assert steps["frontend"].conclusion == "success", steps["frontend"].log
    assert repository.serves("uat") == "two"


def test_while_it_waits_for_the_lease_its_request_is_taken_back(repository):
    repository.run(repository.commit("one"))
    repository.write("pages.sh", waits(repository))
    repository.commit("two")
    other = repository.begin("deploy")
    until((repository.root / "began").exists, limit_s=60)
    commit = repository.commit("three")

    def asked() -> bool:
        return any(r["kind"] == "requested" for r in repository.log())

    step = cancelled(repository, repository.job(commit), "scheduler", when=asked)
    assert step.code == 130, step.log
    assert "before anything was begun" in step.annotations("error")[0].text
    kinds = [r["kind"] for r in repository.log()]
    assert (kinds.count("requested"), kinds.count("request-ended")) == (1, 1)
    (repository.root / "gate").touch()
    out, err = other.communicate(timeout=120)
    assert other.returncode == 0, err + out
    assert repository.run(commit)["frontend"].conclusion == "success"


def test_in_the_very_moment_in_which_it_takes_the_lease(repository):
    repository.run(repository.commit("one"))
    hook = repository.root / "remote.git/hooks/pre-receive"
    taken = f"if git log -1 --format=%B $new 2>/dev/null | grep -q lease-taken; then {waits(repository)}fi"
    hook.write_text(f"#!/bin/sh\nwhile read old new ref; do\n{taken}\ndone\n")
    hook.chmod(0o755)
    commit = repository.commit("two")
    job = repository.job(commit)
    opens = threading.Timer(1.0, (repository.root / "gate").touch)

    def taking() -> bool:
        """Cancelled now; and the push, which is under way, goes through a moment later."""
        if not (repository.root / "began").exists():
            return False
        opens.start()
        return True

    cancelled(repository, job, "scheduler", when=taking)
    opens.join()
    assert lease_is_free(repository)
    assert repository.serves("scheduler") == "one"
    assert repository.run(commit)["frontend"].conclusion == "success"
