"""Records are chained by hash, and the first bad one is named."""

import hashlib

import pytest

from wakeline.core.records import GENESIS, BadLog, Draft, chain, record_from_line, verify


def a_log(count: int = 4) -> list[str]:
    drafts = [Draft("note", {"number": number}) for number in range(count)]
    records = chain(drafts, ids=[f"id{n}" for n in range(count)], previous=GENESIS, at="2026-01-01T00:00:00Z", by="ann")
    return [record.line for record in records]


def test_a_record_that_was_read_has_the_hash_of_one_that_was_written():
    (made,) = chain([Draft("held", {"machine": "ü\u2028"})], ids=["a"], previous=GENESIS, at="t", by="ann")
    (found,) = verify([made.line + "\n"])
    assert found.hash == made.hash == hashlib.sha256(made.line.encode()).hexdigest()


def test_a_chain_reads_back_as_it_was_written():
    assert [record.body["number"] for record in verify(a_log())] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("position", "spoil", "reason"),
    [
        (2, lambda line: line.replace('"number":1', '"number":7'), "record 3: its `previous`"),
        (3, lambda line: line.replace('"by":"ann"', '"by":"eve"'), "record 4: its `previous`"),
        (1, lambda line: line.replace(",", ", ", 1), "record 1: its text is not canonical"),
        (2, lambda line: line[:-9], "record 2: not JSON"),
        (2, lambda line: "[1]", "record 2: not an object but list"),
        (2, lambda line: line.replace('"version":1', '"version":"x"'), "record 2: not a record of ours"),
        (2, lambda line: line.replace('"kind":"note"', '"kind":3'), "record 2: `kind` should be text"),
    ],
)
def test_history_verify_names_the_first_bad_record(position, spoil, reason):
    lines = a_log()
    lines[position - 1] = spoil(lines[position - 1])
    with pytest.raises(BadLog, match=reason.replace("`", ".")):
        verify(lines)


def test_a_record_that_was_taken_out_is_noticed():
    lines = a_log()
    del lines[1]
    with pytest.raises(BadLog) as caught:
        verify(lines)
    assert caught.value.position == 2


def test_the_same_id_twice_is_noticed():
    drafts = [Draft("note", {"number": number}) for number in range(2)]
    records = chain(drafts, ids=["same", "same"], previous=GENESIS, at="", by="ann")
    with pytest.raises(BadLog, match="twice"):
        verify([record.line for record in records])


def test_a_body_may_not_pretend_to_be_a_head():
    with pytest.raises(ValueError, match="previous"):
        Draft("note", {"previous": "x"})


def test_a_record_of_a_newer_version_is_chained_and_read_like_any_other():
    first, second = (record_from_line(line, position=1) for line in a_log()[:2])
    newer = second._replace(version=2)
    assert verify([first.line, newer.line]) == (first, newer)
