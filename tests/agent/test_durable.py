"""What is on disk before a release counts."""

import os
import subprocess
from pathlib import Path

import pytest

from wakeline.agent import durable


@pytest.fixture
def tree(tmp_path):
    for name in ("a", "b/c", "b/d/e"):
        place = tmp_path / "tree" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(name)
    (tmp_path / "tree" / "link").symlink_to("a")
    return tmp_path / "tree"


@pytest.fixture
def synced(monkeypatch):
    """The paths that were synced one by one."""
    found: list[str] = []
    fsync = os.fsync

    def noting(fd: int) -> None:
        found.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noting)
    return found


def test_a_file_system_that_does_not_pass_syncfs_on_is_synced_file_by_file(tree, synced, monkeypatch):
    monkeypatch.setattr(durable, "_may_be_trusted", lambda _root: False)
    durable.sync_tree(tree)
    assert {str(Path(each).relative_to(tree)) for each in synced} == {"a", "b", "b/c", "b/d", "b/d/e", "."}


def test_there_what_else_is_asked_for_is_synced_with_its_name(tree, synced, monkeypatch):
    monkeypatch.setattr(durable, "_may_be_trusted", lambda _root: False)
    (tree / "other").mkdir()
    (tree / "other/f").touch()
    durable.sync_tree(tree / "b/d", tree / "other")
    assert {str(Path(each).relative_to(tree)) for each in synced} == {"b/d", "b/d/e", "other", "other/f", "."}


def test_a_syncfs_that_fails_is_followed_by_every_single_file(tree, synced, monkeypatch):
    monkeypatch.setattr(durable, "_syncfs", lambda _root: False)
    durable.sync_tree(tree)
    assert str(tree / "b/d/e") in synced


def test_where_syncfs_tells_of_errors_one_call_is_enough(tree, synced, monkeypatch):
    monkeypatch.setattr(durable, "_may_be_trusted", lambda _root: True)
    durable.sync_tree(tree)
    assert synced == []


@pytest.mark.parametrize(("release", "trusted"), [("5.7.19-amd64", False), ("5.8.0", True), ("6.1.0-18-amd64", True)])
def test_a_kernel_that_keeps_errors_of_syncfs_to_itself_is_not_trusted(tree, monkeypatch, release, trusted):
    names = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*names[:2], release, *names[3:])))
    monkeypatch.setattr(durable, "_WAITS_AND_TELLS", durable._WAITS_AND_TELLS | {_type_of(tree)})
    assert durable._may_be_trusted(tree) is trusted


def test_a_file_system_that_is_not_on_the_list_is_not_trusted():
    assert not durable._may_be_trusted(Path("/proc"))


def _type_of(place: Path) -> int:
    done = subprocess.run(["stat", "-f", "-c", "%t", str(place)], capture_output=True, text=True, check=True)
    return int(done.stdout, 16)
