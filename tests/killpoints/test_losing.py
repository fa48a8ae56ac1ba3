"""The layer itself: a cut takes what was not fsynced, and nothing else."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from killpoints import losing
from killpoints.losing import Fault, load, mount

pytestmark = pytest.mark.skipif(bool(losing.missing()), reason=losing.missing() or "here")


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    (tmp_path / "before").mkdir()
    (tmp_path / "before/old").write_text("old")
    (tmp_path / "disk").mkdir()
    return tmp_path


def replace(place: Path, *, sync: bool) -> None:
    fresh = place.with_name("fresh")
    with fresh.open("w") as file:
        file.write("new")
        file.flush()
        if sync:
            os.fsync(file.fileno())
    fresh.rename(place)


def found(node: losing.Node) -> dict[str, bytes]:
    return {name: bytes(each.data) for name, each in node.names.items()}


@pytest.mark.parametrize(
    ("sync", "cut", "left"),
    [
        (False, "", {"old": b"new"}),
        (False, "names", {"old": b""}),  # as seen on real disks
        (True, "names", {"old": b"new"}),
        (True, "all", {"old": b"old"}),  # the folder was not fsynced
    ],
)
def test_what_a_cut_leaves_of_a_file_that_was_replaced(disk, sync, cut, left):
    mounted = mount(load(disk / "before"), disk / "disk")
    replace(disk / "disk/old", sync=sync)
    node, _, _ = mounted.take_out(cut=cut)
    assert found(node) == left


def test_a_cut_may_leave_the_bytes_of_one_file_and_not_of_the_next(disk):
    mounted = mount(load(disk / "before"), disk / "disk")
    for number in range(40):
        (disk / f"disk/{number}").write_text("new")
    node, _, _ = mounted.take_out(cut="some")
    assert set(found(node).values()) == {b"old", b"new", b""}
    assert found(node)["old"] == b"old"


@pytest.mark.parametrize("at", [1, 2, 3])
def test_one_change_is_refused_and_the_next_is_not(disk, at):
    mounted = mount(load(disk / "before"), disk / "disk", Fault(at, errno.ENOSPC))
    try:
        for number in (1, 2, 3):
            if number == at:
                with pytest.raises(OSError, match="No space"):
                    (disk / f"disk/{number}").mkdir()
            else:
                (disk / f"disk/{number}").mkdir()
    finally:
        node, _, met = mounted.take_out()
    assert met
    assert sorted(node.names) == sorted({"old", "1", "2", "3"} - {str(at)})
