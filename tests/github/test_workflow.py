"""The workflows that `init github` writes: what they may do, what they never do, and what the linters say of them."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as some

from github.linters import actionlint, zizmor
from github.workflows import FLEETS, FURTHER, NOTIFY, SEED, STRANGE_BRANCH, fleet_file, laid_out, made
from wakeline.github import asking, workflow
from wakeline.github.remote import Remote, remote_of


def steps(file) -> list[dict]:
    return made(file)["jobs"]["deploy"]["steps"]


@pytest.mark.parametrize("linter", [actionlint, zizmor])
@pytest.mark.parametrize("file", FLEETS.values(), ids=FLEETS)
def test_the_linters_at_their_strictest_find_nothing(linter, file, tmp_path):
    assert linter(laid_out(file, tmp_path)) == ""


@pytest.mark.parametrize("linter", [actionlint, zizmor])
def test_a_linter_that_finds_something_says_what(linter, tmp_path):
    place, *_ = laid_out(fleet_file(), tmp_path)
    text = place.read_text()
    place.write_text(text.replace("exec wakeline deploy", "echo ${{ github.event.head_commit.message }}"))
    assert "github.event.head_commit.message" in linter([place])


def test_each_stage_is_a_step_in_its_order_and_its_name_says_who_may_be_asleep():
    names = [step["name"] for step in steps(fleet_file()) if "wakeline deploy" in step.get("run", "")]
    assert names == ["Stage scheduler: scheduler", "Stage frontend: uat (may be asleep)"]


def test_it_runs_on_a_push_to_the_branch_and_by_hand_and_on_nothing_else():
    flow = made(fleet_file(branch=STRANGE_BRANCH))
    assert flow[True] == {
        "push": {"branches": ["release/c\\+\\+"]},
        "workflow_dispatch": {"inputs": {"rollback_to": {**flow[True]["workflow_dispatch"]["inputs"]["rollback_to"]}}},
    }
    assert flow["jobs"]["deploy"]["if"] == "github.ref == 'refs/heads/release/c++'"


def test_a_rollout_that_has_begun_is_never_cancelled_and_a_fleet_has_one_at_a_time():
    assert made(fleet_file())["concurrency"] == {"group": "wakeline-shop-uat", "cancel-in-progress": False}


def test_it_may_write_the_ledger_and_deployments_and_nothing_more():
    flow = made(fleet_file())
    assert (flow["permissions"], flow["jobs"]["deploy"]["permissions"]) == (
        {},
        {"contents": "write", "deployments": "write"},
    )


@pytest.mark.parametrize("file", FLEETS.values(), ids=FLEETS)
def test_no_action_but_checkout_and_that_pinned_by_commit(file):
    used = [step["uses"] for step in steps(file) if "uses" in step]
    assert [re.sub(r"[0-9a-f]{40}", "COMMIT", each) for each in used] == ["actions/checkout@COMMIT"]


@pytest.mark.parametrize("file", FLEETS.values(), ids=FLEETS)
def test_nothing_that_fails_is_let_through_and_nothing_from_outside_is_read_by_the_shell(file):
    text = workflow.deploy(file, install="wakeline==1.2.3")
    assert "continue-on-error" not in text
    assert "keyscan" not in text
    assert [step["run"] for step in steps(file) if "${{" in step.get("run", "")] == []


@pytest.mark.parametrize("file", FLEETS.values(), ids=FLEETS)
def test_secrets_reach_the_steps_that_deploy_and_no_other(file):
    for step in steps(file):
        secret = "secrets." in str(step.get("env", {}))
        assert secret == ("wakeline deploy" in step.get("run", "")), step


@pytest.mark.parametrize("file", FLEETS.values(), ids=FLEETS)
def test_what_deploys_takes_the_place_of_the_shell_so_that_signals_reach_it(file):
    for step in steps(file):
        calls = re.findall(r"(\w*) wakeline (?:deploy|rollback|retry)", step.get("run", ""))
        assert set(calls) <= {"exec"}


def test_a_push_to_a_further_repository_starts_the_deploy_here_with_a_token_of_its_own():
    file = fleet_file(more=FURTHER)
    flow = yaml.safe_load(workflow.trigger(file, app=Remote("github.com", "example/shop"), branch="trunk"))
    (step,) = flow["jobs"]["trigger"]["steps"]
    assert flow[True] == {"push": {"branches": ["trunk"]}}
    assert step["run"] == 'exec gh workflow run deploy.yml --repo example/shop --ref "$REF"'
    assert flow["permissions"] == {}


def told_later(file) -> dict:
    return yaml.safe_load(workflow.notify(file, install="wakeline==1.2.3"))


def test_what_tells_later_runs_by_the_clock_and_by_hand_and_only_where_the_deployed_branch_is_the_default_one():
    flow = told_later(fleet_file(more=NOTIFY, branch=STRANGE_BRANCH))
    assert set(flow[True]) == {"schedule", "workflow_dispatch"}
    (beat,) = flow[True]["schedule"]
    assert re.fullmatch(r"\d+,\d+ \* \* \* \*", beat["cron"])
    assert flow["jobs"]["notify"]["if"] == "github.ref == 'refs/heads/release/c++'"


def test_what_tells_later_may_write_the_ledger_and_has_no_key_that_approves_and_waits_for_no_deploy():
    flow = told_later(fleet_file(more=NOTIFY + FURTHER))
    assert (flow["permissions"], flow["jobs"]["notify"]["permissions"]) == ({}, {"contents": "write"})
    (step,) = [step for step in flow["jobs"]["notify"]["steps"] if "wakeline notify" in step.get("run", "")]
    assert step["run"] == "exec wakeline notify"
    assert set(step["env"]) == {"WAKELINE_GITHUB_TOKEN", "WAKELINE_SSH_KEY", "WAKELINE_NOTIFY_TEAM", "ON_CALL"}
    assert flow["concurrency"]["group"] != made(fleet_file())["concurrency"]["group"]


def test_the_steps_that_deploy_get_the_addresses_of_those_who_are_told():
    for step in steps(fleet_file(more=NOTIFY)):
        if "wakeline deploy" in step.get("run", ""):
            assert step["env"]["WAKELINE_NOTIFY_TEAM"] == "${{ secrets.WAKELINE_NOTIFY_TEAM }}"


def test_an_address_that_is_found_under_a_name_of_ours_takes_nobodys_place():
    more = NOTIFY.replace("ON_CALL", "ROLLBACK_TO").replace("WAKELINE_NOTIFY_TEAM", "WAKELINE_GITHUB_TOKEN")
    for step in steps(fleet_file(more=more)):
        if "wakeline deploy" in step.get("run", ""):
            assert step["env"]["ROLLBACK_TO"] == "${{ inputs.rollback_to }}"
            assert step["env"]["WAKELINE_GITHUB_TOKEN"] == "${{ github.token }}"


def test_every_secret_that_a_workflow_names_is_on_the_list_with_the_command_that_sets_it():
    file = fleet_file(more=FURTHER + NOTIFY)
    app, other = remote_of(file.git), Remote("github.com", "example/front")
    texts = [workflow.deploy(file, install="x"), workflow.notify(file, install="x")]
    texts += [workflow.trigger(file, app=app, branch="trunk")]
    named = set(re.findall(r"secrets\.(\w+)", "".join(texts)))
    asked = asking.secrets(file, app=app, others=[other])
    assert {line.split()[3] for line in asked} == named
    assert all("--env uat" in line for line in asked)


@given(
    some.text(min_size=1, max_size=30).filter(lambda text: text.isprintable()),
    some.lists(some.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True), min_size=1, max_size=4, unique=True),
)
@settings(max_examples=60, deadline=None)
def test_whatever_a_branch_and_stages_are_called_it_is_read_as_meant(branch, names):
    file = fleet_file(branch=json.dumps(branch, ensure_ascii=False), stages=[(name, name, "always") for name in names])
    job = made(file)["jobs"]["deploy"]
    literal = job["if"].removeprefix("github.ref == '").removesuffix("'").replace("''", "'")
    assert literal == f"refs/heads/{branch}"
    assert [step["id"] for step in job["steps"] if "id" in step] == [f"stage-{name}" for name in names]


@pytest.mark.parametrize(
    ("url", "remote"),
    [
        ("git@github.com:example/shop.git", Remote("github.com", "example/shop")),
        ("ssh://git@git.example.org:2222/example/shop.git", Remote("git.example.org", "example/shop")),
        ("https://github.com/example/shop", Remote("github.com", "example/shop")),
        ("https://x:y@github.com/example/shop.git/", Remote("github.com", "example/shop")),
        ("/srv/git/shop.git", None),
        ("../shop.git", None),
        ("git://10.0.0.1/shop.git", None),
        ("git@git.example.org:deep/er/shop.git", None),
    ],
)
def test_a_repository_is_known_by_its_address(url, remote):
    assert remote_of(url) == remote


def test_the_seeds_fleet_asks_for_two_secrets_and_shows_the_branch_rule_first():
    file = fleet_file(stages=SEED)
    app = remote_of(file.git)
    assert [line.split()[3] for line in asking.secrets(file, app=app, others=[])] == [
        "WAKELINE_SSH_KEY",
        "WAKELINE_SIGNING_KEY",
    ]
    assert "deployment-branch-policies -f name=main" in asking.guards(file, app=app)[1]
