"""Objects that we write are git's own, byte for byte."""

import subprocess
from pathlib import Path

import pytest

from wakeline.edges import objects

WHO = "wakeline <wakeline@localhost> 1700000000 +0000"


def git(*arguments: str, at: Path, feed: bytes = b"") -> str:
    done = subprocess.run(["git", *arguments], cwd=at, input=feed, capture_output=True, check=True)
    return done.stdout.decode().strip()


@pytest.fixture
def repository(tmp_path):
    git("init", "-q", "--bare", ".", at=tmp_path)
    return tmp_path


@pytest.mark.parametrize("data", [b"", b"hello\n", b"\x00\xff" * 5000])
def test_a_written_object_has_gits_own_name_and_reads_back(repository, data):
    name = objects.write(repository, "blob", data)
    assert name == git("hash-object", "-t", "blob", "--stdin", at=repository, feed=data)
    done = subprocess.run(["git", "cat-file", "blob", name], cwd=repository, capture_output=True, check=True)
    assert done.stdout == data
    assert objects.is_loose(repository, name)


def test_a_chain_of_commits_passes_gits_own_check(repository):
    tree = objects.write(repository, "tree", b"")
    assert tree == objects.EMPTY_TREE
    first = objects.write(repository, "commit", objects.commit(tree, parent="", who=WHO, message=b"one"))
    second = objects.write(repository, "commit", objects.commit(tree, parent=first, who=WHO, message="zwei ü".encode()))
    git("update-ref", "refs/heads/main", second, at=repository)
    git("fsck", "--strict", at=repository)
    assert git("log", "--format=%H %P %s", "main", at=repository).splitlines() == [
        f"{second} {first} zwei ü",
        f"{first}  one",
    ]


def test_an_object_that_is_there_is_left_as_it_is(repository):
    name = objects.write(repository, "blob", b"hello")
    before = sorted(repository.rglob("*"))
    assert objects.write(repository, "blob", b"hello") == name
    assert sorted(repository.rglob("*")) == before
