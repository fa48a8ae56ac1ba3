"""What is told, when, and only once: from records to messages, without a service."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from wakeline.core import behind, diary, messages
from wakeline.core.diary import Diary
from wakeline.core.fold import fold
from wakeline.core.model import Fleet, Machine, Presence, Receiver, Stage
from wakeline.core.records import GENESIS, Draft, Record, chain
from wakeline.core.state import State

NAMES = ("scheduler", "uat", "web2")
FLEET = Fleet(
    "shop",
    "uat",
    (
        Stage("scheduler", (Machine("scheduler", "a"),)),
        Stage("frontend", tuple(Machine(name, "a", Presence.ON_DEMAND) for name in NAMES[1:]), gates=False),
    ),
    "scheduler",
)
STAGES = [
    {"name": "scheduler", "gates": True, "machines": [{"name": "scheduler", "presence": "always"}]},
    {"name": "frontend", "gates": False, "machines": [{"name": n, "presence": "on-demand"} for n in NAMES[1:]]},
]
TEAM = Receiver("team", "env:TEAM", messages.EVENTS)


class Log:
    """Records with a clock of their own: ten minutes pass between two of them."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._count = itertools.count()
        self.now_s = 1795500000.0  # Tue 24 Nov 2026

    def write(self, kind: str, **body: object) -> None:
        self.now_s += 600
        at = messages.datetime.datetime.fromtimestamp(self.now_s, tz=messages.datetime.timezone.utc)
        previous = self.records[-1].hash if self.records else GENESIS
        draft, ids = Draft(kind, body), [f"id{next(self._count)}"]
        self.records += chain([draft], ids=ids, previous=previous, at=at.strftime("%Y-%m-%dT%H:%M:%SZ"), by="ann")

    def release(self, number: int, *, ended: str = "passed", rollback_to: int = 0, **outcomes: str) -> None:
        commit = f"{number:x}" * 40
        self.write(
            "release-made", release=number, commit=commit[:40], lead="scheduler", stages=STAGES, rollback_to=rollback_to
        )
        for name, outcome in outcomes.items():
            word, _, cause = outcome.partition(": ")
            self.write("outcome", release=number, machine=name, outcome=word, cause=cause)
        if ended == "passed":
            for stage in ("scheduler", "frontend"):
                self.write("approved", release=number, stage=stage, orders={})
        self.write("release-ended", release=number, outcome=ended)

    def speaks(self, number: int, machine: str, outcome: str = "ok") -> None:
        self.write("outcome", release=number, machine=machine, outcome=outcome, catch_up=True, cause="web: no answer")

    @property
    def state(self) -> State:
        return fold(self.records)

    def due(self, *, later_s: float = 0.0, **more) -> list[messages.Message]:
        return messages.due(self.state, FLEET, now_s=self.now_s + later_s, **more)


class Told:
    """One receiver's inbox: what it was told so far, contact by contact."""

    def __init__(self, receiver: Receiver = TEAM) -> None:
        self.receiver = receiver
        self.log = Log()

    def contact(self, log: Log, *, current: int = 0, down: bool = False, later_s: float = 0.0) -> list[str]:
        """What one contact of a runner sends. With `down` the service takes nothing."""
        found = log.due(later_s=later_s)
        for draft in diary.first_wanted(self.diary, [self.receiver], found, current=current):
            self.log.write(draft.kind, **draft.body)
        chosen = diary.open_for(self.diary, self.receiver, found, now_s=log.now_s + later_s)
        for message in chosen:
            self.log.write("not-told" if down else "told", receiver=self.receiver.name, keys=list(message.keys))
        return [message.title.removeprefix("shop uat: ") for message in chosen]

    @property
    def diary(self) -> Diary:
        return diary.fold(self.log.records)


ALL_OK = {"scheduler": "ok", "uat": "ok", "web2": "ok"}
UAT_SLEEPS = {"scheduler": "ok", "uat": "asleep: tcp: no route", "web2": "ok"}


def test_the_text_is_that_of_a_person_in_a_hurry():
    log = Log()
    log.release(1, **ALL_OK)
    log.release(2, **UAT_SLEEPS)
    log.write("receipt", release=2, step="migrate", how="ran")
    text = log.due(commits={2: 12})[-1].text
    assert text.splitlines() == [
        "2 of 3 on 2222222222 (12 commits, migrate ran).",
        "Asleep since Tue 07:40 UTC: uat. It catches up when it wakes.",
        "Roll back: wakeline rollback",
    ]


def test_a_sleeper_beside_a_machine_that_failed_is_not_said_to_catch_up():
    """Law 10: the release is held for its stage."""
    log = Log()
    log.write("release-made", release=1, commit="1" * 40, lead="scheduler", stages=STAGES)
    log.write("outcome", release=1, machine="scheduler", outcome="ok", cause="")
    log.write("approved", release=1, stage="frontend", orders={})
    log.write("outcome", release=1, machine="uat", outcome="asleep", cause="tcp: no route")
    log.write("outcome", release=1, machine="web2", outcome="failed", cause="pages: exit 1")
    log.write("release-ended", release=1, outcome="failed")
    assert log.due()[-1].text.splitlines() == [
        "1 of 3 on 1111111111.",
        "web2: pages: exit 1",
        "Asleep since Tue 06:40 UTC: uat. It stays on what it runs.",
        "Look: wakeline status. Then deploy a fix, or roll back: wakeline rollback",
    ]


def test_a_failure_names_machine_step_and_the_way_on():
    log = Log()
    log.release(1, ended="failed", scheduler="failed: migrate: exit 1\ncolumn missing", uat="withheld", web2="withheld")
    (message,) = log.due()
    assert message.title == "shop uat: release 1 failed on scheduler"
    assert message.text.splitlines() == [
        "0 of 3 on 1111111111.",
        "scheduler: migrate: exit 1",
        "Withheld: uat, web2.",
        "Look: wakeline status. Then deploy a fix, or roll back: wakeline rollback",
    ]
    assert message.events == {"failed"}


@pytest.mark.parametrize(
    ("outcomes", "ended", "events"),
    [
        (ALL_OK, "passed", {"approved"}),
        (UAT_SLEEPS, "passed", {"approved", "asleep"}),
        ({**UAT_SLEEPS, "web2": "unknown"}, "failed", {"failed", "asleep"}),
    ],
)
def test_a_rollout_is_one_message_with_all_its_events(outcomes, ended, events):
    log = Log()
    log.release(1, ended=ended, **outcomes)
    (message,) = log.due()
    assert message.events == events


def test_a_release_that_walked_one_stage_waits_for_the_others():
    log = Log()
    log.release(1, scheduler="ok")
    assert log.due() == []
    log.write("outcome", release=1, machine="uat", outcome="ok")
    log.write("outcome", release=1, machine="web2", outcome="ok")
    log.write("release-ended", release=1, outcome="passed")
    assert [message.title for message in log.due()] == ["shop uat: release 1 passed"]


def test_an_interrupted_rollout_is_no_news_and_one_in_doubt_is():
    log = Log()
    log.release(1, ended="interrupted", scheduler="withheld")
    assert log.due() == []
    log.write("lease-taken", fence=1, holder="ann", length_s=180.0)
    log.write("claimed", fence=1, claim="c1", release=1, step="migrate", machine="scheduler")
    log.write("lease-freed", fence=1)
    (message,) = log.due()
    assert message.events == {"in-doubt"}
    assert "wakeline resolve migrate --done | --not-run" in message.text


def test_one_message_a_rollout_and_a_second_when_the_sleeper_has_arrived():
    log, inbox = Log(), Told()
    log.release(1, **UAT_SLEEPS)
    assert inbox.contact(log, current=1) == ["release 1 passed, uat asleep"]
    assert inbox.contact(log) == []
    log.speaks(1, "uat")
    assert inbox.contact(log) == ["uat has caught up: release 1"]
    assert inbox.contact(log) == []


def test_sleepers_that_arrive_together_are_one_message():
    log, inbox = Log(), Told()
    log.release(1, scheduler="ok", uat="asleep", web2="asleep")
    inbox.contact(log, current=1)
    log.speaks(1, "uat")
    log.speaks(1, "web2")
    assert inbox.contact(log) == ["uat, web2 have caught up: release 1"]
    assert inbox.contact(log) == []


def test_a_sleeper_on_which_the_release_failed_is_a_failure():
    log, inbox = Log(), Told()
    log.release(1, **UAT_SLEEPS)
    inbox.contact(log, current=1)
    log.speaks(1, "uat", "failed")
    assert inbox.contact(log) == ["uat woke, and release 1 failed on it"]


def test_an_arrival_that_a_newer_rollout_speaks_of_is_not_told_again():
    log, inbox = Log(), Told()
    log.release(1, **UAT_SLEEPS)
    inbox.contact(log, current=1)
    log.speaks(1, "uat")
    log.release(2, **ALL_OK)
    assert inbox.contact(log, current=2) == ["release 2 passed"]


def test_a_sleeper_past_max_behind_is_told_once():
    log, inbox = Log(), Told()
    log.release(1, **UAT_SLEEPS)
    inbox.contact(log, current=1)
    assert inbox.contact(log, later_s=13 * 86400) == []
    assert inbox.contact(log, later_s=15 * 86400) == ["uat is behind since 24 Nov 07:00 UTC"]
    assert inbox.contact(log, later_s=16 * 86400) == []


def test_a_service_that_is_down_is_told_by_the_next_contact():
    log, inbox = Log(), Told()
    log.release(1, **UAT_SLEEPS)
    for _ in range(3):
        assert inbox.contact(log, current=1, down=True) == ["release 1 passed, uat asleep"]
    assert inbox.contact(log) == ["release 1 passed, uat asleep"]
    assert inbox.contact(log) == []


def test_a_sleeper_that_arrived_while_the_service_was_down_is_in_the_one_message():
    log, inbox = Log(), Told()
    log.release(1, **UAT_SLEEPS)
    inbox.contact(log, current=1, down=True)
    log.speaks(1, "uat")
    assert inbox.contact(log) == ["release 1 passed"]
    assert inbox.contact(log) == []


def test_news_that_nobody_could_be_told_for_days_is_history():
    log, inbox = Log(), Told()
    log.release(1, **ALL_OK)
    inbox.contact(log, current=1, down=True)
    assert inbox.contact(log, later_s=messages.KEPT_S + 7200) == []


def test_a_long_history_sends_nothing_when_telling_is_switched_on():
    log, inbox = Log(), Told()
    for number in range(1, 40):
        log.release(number, **UAT_SLEEPS)
    log.now_s += 15 * 86400
    assert inbox.contact(log) == []
    log.release(40, **ALL_OK)
    assert inbox.contact(log, current=40) == ["release 40 passed"]


def test_the_first_rollout_with_a_new_receiver_is_told_and_what_was_before_is_not():
    log, inbox = Log(), Told()
    log.release(1, **UAT_SLEEPS)
    log.release(2, **UAT_SLEEPS)
    assert inbox.contact(log, current=2) == ["release 2 passed, uat asleep"]


def test_events_that_a_receiver_wants_from_now_on_bring_no_history():
    log, inbox = Log(), Told(dataclasses.replace(TEAM, events=("failed",)))
    log.release(1, **ALL_OK)
    assert inbox.contact(log, current=1) == []
    inbox.receiver = TEAM
    assert inbox.contact(log) == []
    log.release(2, **ALL_OK)
    assert inbox.contact(log, current=2) == ["release 2 passed"]


def test_of_two_contacts_at_once_one_sends():
    log, inbox = Log(), Told()
    log.release(1, **ALL_OK)
    inbox.log.now_s = log.now_s
    inbox.log.write("wanted", receiver="team", events=list(messages.EVENTS), keys=[])
    (message,) = diary.open_for(inbox.diary, TEAM, log.due(), now_s=inbox.log.now_s)
    inbox.log.write("telling", receiver="team", keys=list(message.keys))
    assert diary.open_for(inbox.diary, TEAM, log.due(), now_s=inbox.log.now_s + 5) == []
    later_s = inbox.log.now_s + diary.AGAIN_S + 5
    assert diary.open_for(inbox.diary, TEAM, log.due(), now_s=later_s) == [message]


def test_each_receiver_has_its_own_events_and_memory():
    log = Log()
    calm, team = Told(dataclasses.replace(TEAM, name="calm", events=("failed",))), Told()
    log.release(1, **UAT_SLEEPS)
    assert (calm.contact(log, current=1), team.contact(log, current=1)) == ([], ["release 1 passed, uat asleep"])
    log.release(2, ended="failed", scheduler="failed: it broke", uat="withheld", web2="withheld")
    assert calm.contact(log, current=2) == ["release 2 failed on scheduler"]


def test_a_machine_asleep_through_releases_is_asleep_since_the_first_of_them():
    log = Log()
    for number in (1, 2, 3):
        log.release(number, **UAT_SLEEPS)
    first = log.state.releases[1].results["uat"].at
    assert behind.asleep_since(log.state, "uat") == first
    log.speaks(3, "uat")
    log.release(4, **UAT_SLEEPS)
    assert behind.asleep_since(log.state, "uat") == log.state.releases[4].results["uat"].at


def test_a_rollback_says_where_to():
    log = Log()
    log.release(1, **ALL_OK)
    log.release(2, **ALL_OK, rollback_to=1)
    assert "(back to release 1)" in log.due()[-1].text


@pytest.mark.parametrize(
    "text",
    [
        "<!channel> help",
        "@everyone look",
        "[click](http://evil)",
        "**bold** `code`",
        "\x1b[2Jx\u202ey",
        "a\n::error::b",
    ],
)
def test_text_of_machines_calls_nobody_and_is_nothing_but_text(text):
    log = Log()
    log.release(1, ended="failed", scheduler=f"failed: {text}", uat="withheld", web2="withheld")
    shown = log.due()[0].text.splitlines()[1]
    assert not set("<>[]`*\x1b\u202e") & set(shown)
    assert "@e" not in shown
    assert "::error" not in shown


def test_a_long_cause_is_cut():
    assert len(messages.harmless("x" * 5000)) == 200


def test_a_record_of_tomorrow_in_the_log_of_what_was_told_is_passed_over():
    inbox = Told()
    inbox.log.write("muted", receiver="team", keys=["x"])
    assert inbox.diary.position == 1
