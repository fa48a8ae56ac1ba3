"""A mapping that grows with the log is a dict of the same entries, packed or not, and reads what is asked for."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from wakeline.core.archive import SHELF, Archive, Codec, newest_first, of_release

PLAIN: Codec[Any] = Codec(lambda value: value, lambda value: value)
KEYS = some.tuples(some.integers(1, 5 * SHELF), some.sampled_from(["web", "db", "", "naïve\n\ud800"]))
PUT = some.tuples(KEYS, some.integers())
IN_ITS_OWN_TIME = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # also on a busy machine


@dataclasses.dataclass
class Counted:
    """A codec that says how many values it has made."""

    made: int = 0

    def read(self, said: Any) -> Any:
        self.made += 1
        return said


def counted(releases: int) -> tuple[Archive[int, str], Counted]:
    count = Counted()
    plain = {number: f"release {number}" for number in range(1, releases + 1)}
    return Archive(Codec(str, count.read), fresh=plain).pack(), count


@IN_ITS_OWN_TIME
@given(some.lists(some.one_of(PUT, some.just("pack"), some.just("copy")), max_size=40))
def test_whatever_is_put_in_and_packed_in_between_it_equals_the_dict(acts):
    plain: dict[Any, Any] = {}
    archive: Archive[Any, Any] = Archive(PLAIN)
    for act in acts:
        if act == "pack":
            archive = archive.pack()
        elif act == "copy":
            archive = archive.copy()
        else:
            key, value = act
            plain[key] = archive[key] = value
    assert archive == plain
    assert plain == archive
    assert (len(archive), bool(archive)) == (len(plain), bool(plain))
    assert sorted(archive) == sorted(plain)
    assert set(newest_first(archive)) == set(plain)
    numbers = {key[0] for key in plain}
    assert all(of_release(archive, number) == of_release(plain, number) for number in [*numbers, 0, 10**20])
    assert all(key in archive for key in plain)
    assert (0, "web") not in archive
    assert archive.get((10**20, "web")) is None


@IN_ITS_OWN_TIME
@given(some.sets(some.integers(1, 10 * SHELF)), some.integers(0, 10 * SHELF), some.integers(0, 10 * SHELF))
def test_from_the_newest_down_it_is_as_a_dict_is(numbers, highest, packed_to):
    ordered = sorted(numbers)
    plain = {number: str(number) for number in ordered}
    archive = Archive(PLAIN, fresh={number: str(number) for number in ordered if number <= packed_to}).pack()
    for number in ordered:
        if number > packed_to or number % 7 == 0:
            archive[number] = str(number)
    assert list(newest_first(archive)) == list(newest_first(plain)) == ordered[::-1]
    down = [number for number in ordered[::-1] if number <= highest]
    assert list(newest_first(archive, highest=highest)) == list(newest_first(plain, highest=highest)) == down


def test_a_copy_that_is_put_into_leaves_the_other_as_it_was():
    archive, _ = counted(3)
    other = archive.copy()
    other[2], other[4] = "changed", "new"
    assert (dict(archive), dict(other)) == (
        {1: "release 1", 2: "release 2", 3: "release 3"},
        {1: "release 1", 2: "changed", 3: "release 3", 4: "new"},
    )


def test_only_what_is_asked_for_is_made_into_a_value():
    archive, count = counted(100 * SHELF)
    assert next(newest_first(archive)) == 100 * SHELF
    assert archive[7] == archive[7] == "release 7"
    assert count.made == 1


def test_packing_again_makes_no_value_and_only_the_shelves_that_changed():
    archive, count = counted(100 * SHELF)
    archive[5] = "changed"
    again = archive.pack()
    assert [number for number in again.packed if again.packed[number] is not archive.packed.get(number)] == [0]
    assert count.made == 0
    assert (again[4], again[5], len(again)) == ("release 4", "changed", 100 * SHELF)


def test_a_thousand_releases_that_are_alike_are_a_few_bytes_each():
    plain = {number: {"number": number, "stages": ["web", "db"] * 20} for number in range(1, 1001)}
    packed = Archive(PLAIN, fresh=plain).pack().packed
    assert sum(map(len, packed.values())) < sum(len(json.dumps(each)) for each in plain.values()) / 10
