"""`wakeline docs`: the annotated example, one topic of it, or the schema for editors."""

from __future__ import annotations

import json
import subprocess
import sys

from wakeline.fleet import example, json_schema


def docs(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wakeline", "docs", *words]
    return subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)


def test_one_topic_is_printed_as_it_stands_in_the_example():
    said = docs("stage")
    assert (said.returncode, said.stdout) == (0, example.topics()["stage"])


def test_an_unknown_topic_is_answered_with_a_guess_and_the_list():
    said = docs("stages")
    assert (said.returncode, said.stdout) == (2, "")
    assert "did you mean `stage`?" in said.stderr
    assert all(topic in said.stderr for topic in example.topics())


def test_the_schema_can_be_written_to_a_file_for_an_editor():
    assert json.loads(docs("--schema").stdout) == json_schema()


def test_programs_get_the_one_envelope():
    envelope = json.loads(docs("once", "--json").stdout)
    assert (envelope["verb"], envelope["status"]) == ("docs", "success")
    assert envelope["data"]["text"] == example.topics()["once"]
