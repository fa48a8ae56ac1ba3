"""The machine's memory: what is damaged is set aside, what cannot be read is not taken for nothing."""

import json
import os

import pytest

from wakeline.agent import durable
from wakeline.agent.journal import Journal, read


def test_a_journal_that_was_cut_keeps_its_good_lines_and_is_set_aside_as_it_was(tmp_path):
    place = tmp_path / "journal.jsonl"
    place.write_text('{"what": "a"}\n{"what": "b')
    journal = Journal(place, boot_id="x")
    journal.write("c")
    assert [entry["what"] for entry in read(place)] == ["a", "c"]
    assert journal.set_aside is not None
    assert journal.set_aside.read_text() == '{"what": "a"}\n{"what": "b'


def test_a_journal_that_the_disk_cannot_read_is_not_taken_for_an_empty_one(tmp_path):
    place = tmp_path / "journal.jsonl"
    place.mkdir()  # read: EISDIR, one of many reasons why a disk does not give what is there
    with pytest.raises(OSError, match="Is a directory"):
        Journal(place, boot_id="x")
    assert place.is_dir()


def test_a_state_file_that_the_disk_cannot_read_is_not_taken_for_an_empty_one(tmp_path):
    (tmp_path / "state.json").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        durable.read_json(tmp_path / "state.json")
    assert durable.read_json(tmp_path / "none.json") == {}


def test_an_entry_that_does_not_fit_leaves_no_half_of_itself(tmp_path, monkeypatch):
    journal = Journal(tmp_path / "journal.jsonl", boot_id="x")
    journal.write("a")
    whole = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: whole(fd, data[:10]))
    with pytest.raises(OSError, match="No space"):
        journal.write("b")
    monkeypatch.undo()
    assert [json.loads(line)["what"] for line in journal.path.read_text().splitlines()] == ["a"]
