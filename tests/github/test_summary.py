"""A job's summary: what stands in it for each kind of end, and that nobody else's words become markup."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from markdown_it import MarkdownIt

from wakeline.core.order import Outcome
from wakeline.github import deployments, summary
from wakeline.github.report import Bar, Commit, MachineRow, OnceRow, Report

PROMISE = "when it wakes, it brings itself to release 12; further behind than 14d is an error"
T = 1_790_000_000.0
PAGE = MarkdownIt("gfm-like", {"html": True, "linkify": False})


def report(**more) -> Report:
    """A rollout of two stages that went well, changed by `more`."""
    machines = (
        MachineRow("scheduler", "scheduler", 11, 12, Outcome.OK, seconds=41.2),
        MachineRow("uat", "frontend", 11, 12, Outcome.OK, seconds=63.0),
    )
    base = Report(
        app="jobs_manager",
        environment="uat",
        url="https://uat.example.org",
        repository="https://github.com/example/jobs_manager",
        release=12,
        commit="4fe997a77c" + "0" * 30,
        ended="passed",
        machines=machines,
        stages=("scheduler", "frontend"),
        stage="frontend",
        since=11,
        commits=(Commit("4fe997a77c" + "0" * 30, "Corrin Lakeland", "Show the price with GST"),),
        once=(OnceRow("migrate", "scheduler", "ran, verified", "dee1095faadcb041", "2026-11-24T21:02:11Z"),),
        bars=(
            Bar("scheduler", "lay out", T, T + 2),
            Bar("scheduler", "migrate, once", T + 2, T + 31, "active"),
            Bar("uat", "pages", T + 45, T + 101),
        ),
    )
    return dataclasses.replace(base, **more)


def asleep() -> Report:
    row = MachineRow("uat", "frontend", 11, 11, Outcome.ASLEEP, "tcp: no answer within 5 s", promise=PROMISE)
    return report(machines=(report().machines[0], row))


def broken() -> Report:
    cause = "pages: exit 1\nnpm ERR! code ELIFECYCLE\nnpm ERR! errno 1"
    row = MachineRow("uat", "frontend", 11, 11, Outcome.FAILED, cause, seconds=12.0)
    hint = "wakeline status; then fix it and deploy, or: wakeline rollback"
    return report(machines=(report().machines[0], row), ended="failed", hint=hint)


@pytest.mark.parametrize(
    ("told", "title", "state"),
    [
        (report(), "✅ Deployed: 2 of 2 machines on release 12", "success"),
        (asleep(), "💤 Deployed: 1 of 2 machines on release 12, asleep: uat", "success"),
        (broken(), "❌ Failed on uat: 1 of 2 machines on release 12", "failure"),
        (report(ended="interrupted"), "⏹️ Cancelled: 2 of 2 machines on release 12", "error"),
        (report(in_doubt=("migrate on scheduler",)), "❓ In doubt: migrate on scheduler", "failure"),
        (report(problems=("uat is behind since …",)), "❌ Not passed: 2 of 2 machines on release 12", "failure"),
    ],
)
def test_the_outcome_stands_first_and_github_is_told_the_same(told, title, state):
    assert summary.render(told).splitlines()[0] == f"## {title}"
    assert deployments.last_word(told)[0] == state


def test_a_stage_that_passed_says_one_line_and_leaves_the_rest_to_the_next():
    assert summary.render(report(stage="scheduler", to_come=("frontend",))).count("\n") == 2


def test_a_sleeper_has_a_promise_and_a_failure_has_its_cause_and_the_next_step():
    assert f"- **uat**: {PROMISE}" in summary.render(asleep())
    text = summary.render(broken())
    assert "<pre>npm ERR! code ELIFECYCLE\nnpm ERR! errno 1</pre>" in text
    assert "> **Next:** fix it and push; or re\\-run this job" in text
    assert "it carries on" in summary.render(report(ended="interrupted", hint="wakeline deploy carries on"))


foreign = some.text(max_size=60) | some.sampled_from(
    [
        "<img src=x onerror=y>",
        "[a](http://b)",
        "![a](http://b)",
        "| a | b |",
        "```",
        "</pre><b>",
        "@ann",
        "#12",
        "# x",
        "a\n# b",
    ]
)


def tags(text: str) -> list[str]:
    return [token.type for token in PAGE.parse(text) for token in [token, *(token.children or [])]]


@given(foreign, foreign, foreign)
@settings(max_examples=300, deadline=None)
def test_nobody_elses_words_are_markup(subject, author, cause):
    """Whatever they say, the page is built as it is with harmless words in their place."""
    rows = (MachineRow("uat", "frontend", 11, 11, Outcome.FAILED, f"x{cause}\nx{cause}", seconds=1.0),)

    def page(subject: str, author: str, rows: tuple[MachineRow, ...]) -> list[str]:
        told = report(commits=(Commit("a" * 40, author, f"x{subject}"),), machines=rows, ended="failed", once=())
        return [kind for kind in tags(summary.render(told)) if kind not in ("text", "text_special", "entity")]

    plain = (dataclasses.replace(rows[0], cause="x\nx"),)
    assert page(subject, author, rows) == page("x", "x", plain)


def test_it_stays_below_githubs_limit_whatever_happened():
    rows = tuple(MachineRow(f"m{n}", "s", 1, 1, Outcome.FAILED, "é" * 4000) for n in range(3000))
    commits = tuple(Commit("a" * 40, "x" * 5000, "é" * 40000) for _ in range(30))
    text = summary.render(report(machines=rows, commits=commits, ended="failed"))
    assert len(text.encode()) < summary.BYTES_MAX
    assert "and 2500 more" in text


def test_a_description_is_one_line_of_at_most_140_characters():
    body = deployments.status("failure", "a\nb\x1b" + "c" * 300, environment="uat", url="", log_url="")
    assert len(body["description"]) == 140
    assert "\n" not in body["description"]
