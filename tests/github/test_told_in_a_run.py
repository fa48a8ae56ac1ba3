"""Messages from runs: the deploy's own, the one that comes later by the clock, and addresses that no log shows."""

from __future__ import annotations

import pytest

from github.conftest import named
from stories.receivers import http_receiver
from wakeline.github import workflow

pytestmark = pytest.mark.slow

TOKEN, OTHER = "tOkEn4SeCrEt", "0ther-t0ken"
NOTIFY = """
[[notify]]
name = "{name}"
to = "{to}"
"""
KEYS = {"WAKELINE_SSH_KEY": "ssh-secret", "WAKELINE_SIGNING_KEY": "unused"}


def tell(repository, name: str, to: str) -> None:
    file = repository.app / "wakeline.toml"
    file.write_text(file.read_text() + NOTIFY.format(name=name, to=to))


def test_a_sleeper_that_arrived_by_itself_is_told_of_by_the_clock(repository):
    with http_receiver() as team:
        secrets = {**KEYS, "WAKELINE_NOTIFY_TEAM": f"json://127.0.0.1:{team.port}/{TOKEN}?cto=30&rto=30"}
        tell(repository, "team", "env:WAKELINE_NOTIFY_TEAM")
        repository.run(repository.commit("one"), secrets=secrets)
        repository.power("uat", on=False)
        steps = repository.run(repository.commit("two"), secrets=secrets)
        assert steps["frontend"].conclusion == "success", steps["frontend"].log
        step = named(repository.job(made=workflow.notify, secrets=secrets).run())["Send what is due"]
        assert (step.conclusion, "nothing is due" in step.log) == ("success", True), step.log
        repository.power("uat", on=True)
        repository.wakeline("catch-up", "uat")  # as its own units do: nobody here knows an address
        step = named(repository.job(made=workflow.notify, secrets=secrets).run())["Send what is due"]
        assert step.conclusion == "success", step.log
        assert [each["title"] for each in team.taken] == [
            "shop uat: release 1 passed",
            "shop uat: release 2 passed, uat asleep",
            "shop uat: uat has caught up: release 2",
        ]


def test_an_address_from_a_command_is_asked_for_once_and_hidden_with_its_parts_from_all_that_follows(repository):
    with http_receiver() as team:
        ask = repository.root / "ask"
        ask.write_text(f"echo asked >>{ask}ed; echo 'json://127.0.0.1:{team.port}/{OTHER}?cto=30&rto=30'\n")
        for name in ("one", "two"):
            tell(repository, name, f"cmd:sh {ask}")
        job = repository.job(repository.commit("one"), secrets=KEYS)
        steps = named(job.run())
        assert steps["frontend"].conclusion == "success", steps["frontend"].log
        assert [each["title"] for each in team.taken] == ["shop uat: release 1 passed"] * 2
        assert (repository.root / "asked").read_text() == "asked\n", "once in the whole run: only the last stage tells"
        assert OTHER in job.masked
        assert any(each.startswith("json://") for each in job.masked)


def test_addresses_of_the_environment_and_of_files_are_hidden_before_a_step_prints(repository):
    address = f"json://127.0.0.1:1/{TOKEN}"
    (repository.root / "file").write_text(f"{address}\n{OTHER}-of-a-second-line\n")
    tell(repository, "file", f"file:{repository.root}/file")
    said = f"cat {repository.root}/file; exit 1"
    steps = repository.run(repository.commit("one", pages_sh=said), secrets=KEYS)
    assert steps["scheduler"].conclusion == "failure"
    assert "***" in steps["scheduler"].log
    assert not any(secret in steps["scheduler"].log + steps["scheduler"].summary for secret in (TOKEN, OTHER))
