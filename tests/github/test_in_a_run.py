"""The generated workflow, run step by step on a small fleet: what the run's page shows, and what GitHub is told."""

from __future__ import annotations

import re

import pytest
from markdown_it import MarkdownIt

from github.conftest import named

pytestmark = pytest.mark.slow

EVIL = "::error::boo%0A::stop-commands::x ##[error]y <script>alert(1)</script> | [link](http://evil) ![i](http://evil)"


def test_both_awake_each_stage_is_a_green_step_and_the_page_shows_who_is_where(repository):
    github_has_one_deployment_a_release_with_a_status_for_each_stage(repository)
    commit = repository.commit("two")
    steps = repository.run()
    assert {name: step.conclusion for name, step in steps.items()} == {
        "actions/checkout": "success",
        "Install wakeline": "success",
        "scheduler": "success",
        "frontend": "success",
    }, steps["scheduler"].log
    assert (repository.serves("scheduler"), repository.serves("uat")) == ("two", "two")
    assert [each.text for each in steps["scheduler"].annotations("group")] == ["scheduler"]
    assert [each.text for each in steps["frontend"].annotations("group")] == ["uat"]
    assert steps["frontend"].outputs == {"release": "2", "outcome": "passed", "asleep": ""}
    assert steps["scheduler"].summary == "✅ **scheduler** passed release 2 · next: frontend\n\n"
    summary = steps["frontend"].summary
    assert summary.startswith("## ✅ Deployed: 2 of 2 machines on release 2\n")
    assert re.search(r"\| scheduler \| 1 \| \*\*2\*\* \| ✅ ok \| [\d.]+ s \|", summary)
    assert re.search(r"\| uat \(frontend\) \| 1 \| \*\*2\*\* \| ✅ ok \| [\d.]+ s \|", summary)
    assert "### 1 commit since release 1" in summary
    assert f"[`{commit[:7]}`](https://github.com/example/shop/commit/{commit}) Version two · Ann" in summary
    assert "section scheduler" in summary
    assert "section uat" in summary, "the timeline has the stage of the step before"


def test_asleep_is_a_green_step_with_a_warning_and_a_promise(repository):
    repository.power("uat", on=False)
    steps = repository.run(repository.commit("one"))
    step = steps["frontend"]
    assert (step.conclusion, step.outputs["asleep"], step.annotations("error")) == ("success", "uat", [])
    (warning,) = step.annotations("warning")
    assert warning.properties["title"] == "uat is asleep"
    assert warning.text == "when it wakes, it brings itself to release 1"
    assert step.summary.startswith("## 💤 Deployed: 1 of 2 machines on release 1, asleep: uat\n")
    assert (
        "- **uat**: when it wakes, it brings itself to release 1; further behind than 14d is an error" in step.summary
    )
    assert repository.api.words[-1] == "1 of 2 machines on release 1; asleep: uat"


def test_a_broken_frontend_is_a_red_step_with_the_first_cause(repository):
    broken = 'test "$WAKELINE_MACHINE" = scheduler || { echo "npm ERR! code 1"; exit 1; }'
    steps = repository.run(repository.commit("one", pages_sh=broken))
    step = steps["frontend"]
    assert (steps["scheduler"].conclusion, step.conclusion, step.code) == ("success", "failure", 1)
    (error,) = step.annotations("error")
    assert error.properties["title"] == "uat failed"
    assert "npm ERR! code 1" in error.text
    assert step.annotations("warning") == []
    assert step.outputs["outcome"] == "failed"
    assert step.summary.startswith("## ❌ Failed on uat: 1 of 2 machines on release 1\n")
    assert "<pre>npm ERR! code 1</pre>" in step.summary
    assert (repository.api.states[-1], repository.api.words[-1].startswith("uat failed:")) == ("failure", True)


def test_a_failed_scheduler_is_red_and_the_frontends_step_is_not_run(repository):
    steps = repository.run(repository.commit("one", migrate_sh="echo 'no such column'; exit 1"))
    assert (steps["scheduler"].conclusion, steps["frontend"].conclusion) == ("failure", "skipped")
    assert "no such column" in steps["scheduler"].annotations("error")[0].text
    assert "failed: migrate: exit 1" in steps["scheduler"].summary.partition("### Once-steps")[2].replace("\\", "")
    assert repository.serves("uat") == ""


def test_a_run_that_somebody_presses_again_tries_a_failed_release_again(repository):
    commit = repository.commit("one", pages_sh=f"test ! -e {repository.root}/broken")
    (repository.root / "broken").touch()
    assert repository.run(commit)["scheduler"].conclusion == "failure"
    (repository.root / "broken").unlink()
    steps = repository.run(commit, attempt=2)
    assert steps["frontend"].conclusion == "success", steps["scheduler"].log
    assert repository.serves("uat") == "one"


def test_going_back_by_hand_is_a_release_of_its_own_and_says_what_it_takes_back(repository):
    for version in ("one", "two"):
        repository.run(repository.commit(version))
    steps = repository.run(rollback_to="0")
    assert steps["frontend"].conclusion == "success", steps["scheduler"].log
    assert (repository.serves("scheduler"), repository.serves("uat")) == ("one", "one")
    assert "going back to release 1" in steps["frontend"].summary
    assert "### Taken back: 1 commit" in steps["frontend"].summary
    assert repository.api.deployments[max(repository.api.deployments)]["task"] == "rollback"


def github_has_one_deployment_a_release_with_a_status_for_each_stage(repository):
    """Deploys once, and holds what GitHub was told."""
    commit = repository.commit("one")
    repository.run(commit)
    api = repository.api
    assert api.wrong == []
    (body,) = api.deployments.values()
    assert (body["ref"], body["environment"], body["payload"]) == (
        commit,
        "uat",
        {"wakeline": 1, "app": "shop", "release": 1},
    )
    assert {number for number, _ in api.statuses} == set(api.deployments)
    assert api.states == ["in_progress", "in_progress", "in_progress", "success"]
    assert api.words == [
        "stage scheduler of release 1 has begun",
        "stage scheduler passed; next: frontend",
        "stage frontend of release 1 has begun",
        "2 of 2 machines on release 1",
    ]
    assert api.statuses[-1][1]["log_url"] == "https://github.com/example/shop/actions/runs/77"


@pytest.mark.parametrize("mood", ["down", "silent"])
def test_an_api_that_is_down_or_says_nothing_changes_no_outcome(repository, mood):
    repository.api.mood = mood
    steps = repository.run(repository.commit("one"))
    assert (steps["scheduler"].conclusion, steps["frontend"].conclusion) == ("success", "success")
    assert "GitHub's deployments:" in steps["frontend"].log
    assert steps["frontend"].annotations("error") == []


def test_words_of_commits_and_machines_start_no_command_draw_nothing_and_tell_no_secret(repository):
    said = f"printf '%s\\n' '{EVIL}' '##[error]z' 'the key is ssh-secret'; printf '\\r::warning::w\\n'; exit 1\n"
    repository.write("pages.sh", said)
    repository.write("version", "one\n")
    repository.git("add", "-A")
    repository.git("config", "user.name", "::error::Ann ##[error] <b>")
    repository.git("commit", "-qm", EVIL)
    repository.git("push", "-qf", str(repository.root / "remote.git"), "HEAD:main")
    job = repository.job()
    step = named(job.run())["scheduler"]
    kinds = {each.name for each in step.commands}
    assert kinds <= {"add-mask", "group", "endgroup", "error"}
    assert len(step.annotations("error")) == 1
    page = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(step.summary)
    assert "<script" not in page
    assert 'href="http://evil' not in page
    assert 'src="http://evil' not in page
    assert "ssh-secret" not in step.log + step.summary
    assert {"ssh-secret", "run-token-1234"} <= set(job.masked)


def test_an_empty_secret_is_said_before_anything_is_done(repository):
    repository.commit("one")
    steps = repository.run(secrets={"WAKELINE_SIGNING_KEY": "unused"})
    step = steps["scheduler"]
    assert (step.code, "WAKELINE_SSH_KEY is empty" in step.annotations("error")[0].text) == (2, True)
    assert "gh secret set" in step.summary
    assert step.outputs == {"outcome": "refused"}
    assert repository.serves("scheduler") == ""
