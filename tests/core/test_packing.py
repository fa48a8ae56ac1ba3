"""What was folded and packed goes on as if the log had been folded from its beginning, wherever it is cut."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from core.test_state import approved, claimed, made, outcome, state, taken
from sim.chaos import run
from wakeline.core import messages, packing
from wakeline.core.fold import fold
from wakeline.core.order import Outcome
from wakeline.core.records import GENESIS, BadLog, Draft, Record, chain, verify
from wakeline.core.state import Release, State

SEEDS = range(1, 41)
NOT_ASKED = (Outcome.WITHHELD, Outcome.SUPERSEDED)
IN_ITS_OWN_TIME = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # also on a busy machine


@functools.cache
def log(seed: int) -> tuple[Record, ...]:
    """The log of a simulated fleet, as somebody reads it."""
    return verify(record.line for record in run(seed).store.log.records)


def there_and_back(now: State) -> State:
    head, shelves = packing.pack(now)
    return packing.unpack(json.loads(json.dumps(head)), shelves)


def states(records: Sequence[Record]) -> list[State]:
    """What the log says at each of its records, the beginning first."""
    found = [State()]
    for record in records:
        found.append(fold([record], start=found[-1]))
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_a_state_comes_back_equal_at_every_record_of_a_log(seed):
    for now in states(log(seed)):
        assert there_and_back(now) == now


@pytest.mark.parametrize("seed", SEEDS)
def test_on_top_of_what_was_packed_at_any_record_the_rest_means_the_same(seed):
    records = log(seed)
    each, whole = states(records), fold(records)
    assert each[-1] == whole
    for position in range(0, len(records) + 1, 1 + len(records) // 40):
        assert fold(records[position:], start=there_and_back(each[position])) == whole, position


@IN_ITS_OWN_TIME
@given(some.sampled_from(SEEDS), some.lists(some.floats(0, 1), max_size=8))
def test_packed_again_and_again_it_is_still_the_same(seed, cuts):
    records, now = log(seed), State()
    for cut in sorted({round(cut * len(records)) for cut in cuts}):
        now = there_and_back(fold(records[now.position : cut], start=now))
    assert fold(records[now.position :], start=now) == fold(records)


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | some.text(),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(), inner, max_size=3),
    max_leaves=6,
)
WORDS = (
    "machine",
    "commit",
    "stage",
    "step",
    "claim",
    "request",
    "lead",
    "what",
    "why",
    "renamed_from",
    "pins",
    "commits",
)


@IN_ITS_OWN_TIME
@given(some.lists(some.tuples(some.integers(0, 30), some.sampled_from(WORDS), JSON), max_size=6), some.integers(0, 30))
def test_whatever_json_somebody_has_written_comes_back_as_it_was(changes, cut):
    """Who may write to the ledger may write anything; what the fold takes, it takes there and back."""
    drafts = [
        *(taken(), made(1), *approved(1, "scheduler"), outcome(1, "scheduler", "ok"), claimed()),
        ("receipt", {"fence": 1, "release": 1, "step": "migrate", "claim": "c"}),
        ("claimed", {"fence": 1, "claim": "d", "release": 1, "step": "seed", "machine": "scheduler"}),
        ("requested", {"request": "r", "what": "deploy", "commit": "c2"}),
        ("held", {"machine": "uat", "why": "a fair"}),
        ("set-up", {"machine": "uat", "machine_id": "m", "unsigned": True}),
        ("left", {"machine": "web"}),
        ("commits-refused", {"fence": 1, "commits": ["c1"], "pins": {"front": "f1"}}),
        ("retried", {"release": 1, "machine": "uat"}),
    ]
    for at, word, value in changes:
        kind, body = drafts[at % len(drafts)]
        drafts[at % len(drafts)] = (kind, {**body, word: value})
    ids = (f"i{number}" for number in range(len(drafts)))
    records = chain([Draft(*each) for each in drafts], ids=ids, previous=GENESIS, at="t", by="ann")
    try:
        whole = fold(verify(record.line for record in records))
    except BadLog:
        return
    read = verify(record.line for record in records)
    cut = min(cut, len(read))
    assert fold(read[cut:], start=there_and_back(fold(read[:cut]))) == whole


@pytest.mark.parametrize("spoil", [lambda shelves: shelves + b"x", lambda shelves: shelves[:-1]])
def test_shelves_of_another_length_are_not_those_of_the_state(spoil):
    head, shelves = packing.pack(state(taken(), made(1)))
    with pytest.raises(ValueError, match="more than its shelves"):
        packing.unpack(json.loads(json.dumps(head)), spoil(shelves))


# What is looked up must be what looking through everything finds.


def all_of(now: State) -> list[Release]:
    return [now.releases[number] for number in sorted(now.releases, reverse=True)]


def names(now: State) -> set[str]:
    spoken = {name for release in all_of(now) for stage in release.stages for name in stage.machines}
    return (
        spoken | {name for release in all_of(now) for name in release.results} | {*now.machines, *now.renamed, "nobody"}
    )


def newest_word(now: State, name: str) -> tuple[int, Any] | None:
    found = ((release.number, release.results[name]) for release in all_of(now) if name in release.results)
    return next((each for each in found if each[1].outcome not in NOT_ASKED), None)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_looked_up_is_what_looking_through_everything_finds(seed):
    chance = random.Random(seed)
    each = states(log(seed))
    for now in chance.sample(each, k=min(12, len(each))):
        now = there_and_back(now)  # noqa: PLW2901 - the same, packed
        assert now.highest == max(now.releases, default=0)
        may_run = [release for release in all_of(now) if release.approved - release.held_stages]
        assert list(now.approved()) == may_run
        assert now.present == (may_run[0] if may_run else None)
        owed = set()
        for name in names(now):
            called = now.names_of(name)
            passed = [r.number for r in all_of(now) if any(r.passed_on(each) for each in called)]
            assert now.runs(name) == max(passed, default=0)
            placed = [r for r in all_of(now) if any(r.stage_of(each) for each in called)]
            assert [r for r in now.approved(called) if r in placed] == [r for r in may_run if r in placed]
            word = now.last_word(name)
            assert (word and (word[0].number, word[1])) == newest_word(now, name)
            if word and word[1].outcome in (Outcome.ASLEEP, Outcome.UNKNOWN):
                owed.add(name)
        assert messages.owed(now) == owed


TIMES = [
    "2026-11-25T04:00:00Z",
    "2026-11-20T04:00:00Z",
    "1970-01-01T00:00:00Z",
    "soon",
    "",
    "2026-11-25T04:00:00+01:00",
]


@IN_ITS_OWN_TIME
@given(some.lists(some.sampled_from(TIMES), max_size=80), some.sampled_from([1.7952e9, 0.0, 1.0, 4e9]))
def test_every_release_that_may_be_news_is_found_whatever_the_clocks_said(times, now_s):
    """By the clocks of those who ended them: one may be wrong, jump back, or write nothing that is a time."""
    drafts = [("lease-taken", {"fence": 1, "holder": "ann", "length_s": 180})]
    drafts += [made(number) for number in range(1, len(times) + 1)]
    records = list(chain([Draft(*each) for each in drafts], ids=map(str, range(100)), previous=GENESIS, at="", by=""))
    for number, at in enumerate(times, 1):
        ended = Draft("release-ended", {"fence": 1, "release": number, "outcome": "failed"})
        records += chain([ended], ids=[f"e{number}"], previous=records[-1].hash, at=at, by="")
    now = fold(records)
    news = [r.number for r in now.releases.values() if r.ended and messages._is_news(r.ended_at, now_s)]
    found = [r.number for r in messages.recently_ended(now, now_s)]
    assert [number for number in found if number in news] == news


class Counting(dict[int, Release]):
    """Releases, and how often one was looked at."""

    looked = 0

    def __getitem__(self, number: int) -> Release:
        Counting.looked += 1
        return super().__getitem__(number)


def test_what_is_to_be_told_does_not_compare_every_release_with_every_other():
    """Found on a ledger of ten thousand: the time for it grew with the square of the releases, a minute there."""
    old = fold(
        chain(
            [Draft(*taken()), *(Draft(*made(n)) for n in range(1, 2001))],
            ids=map(str, range(2001)),
            previous=GENESIS,
            at="",
            by="",
        )
    )
    Counting.looked = 0
    now = State(**{**vars(old), "releases": Counting(old.releases)})
    assert messages.before(now, 2000) is None
    walked, Counting.looked = Counting.looked, 0
    assert list(messages.recently_ended(now, 1.7e9)) == []
    assert (walked, Counting.looked) == (1999, 0)
