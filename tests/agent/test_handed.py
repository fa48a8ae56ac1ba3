"""A pack that is handed over with the word to prepare spares the fetch; one that does not fit changes nothing."""

from __future__ import annotations

import base64

import pytest
from one_machine import git
from test_ahead import folders, ordered

from wakeline.agent import repository
from wakeline.edges.code import Code

pytestmark = pytest.mark.slow


@pytest.fixture
def code(box):
    """The runner's copy of the code."""
    return Code(str(box.origin), branch="main", copy=box.root / "copy")


def pack(code, commit: str, *, base: str, bytes_max: int = 1 << 20) -> bytes:
    code.fetch()
    return code.pack(commit, base=base, bytes_max=bytes_max)


def prepare(box, order, data: bytes | str, **more):
    text = data if isinstance(data, str) else base64.b64encode(data).decode()
    talk = box.open()
    talk.say(do="prepare", order=order.to_json(), fence=box.fence, pack=text, **more)
    return talk, talk.wait_for("prepared", release=order.release)


def take_origin_away(box) -> None:
    box.origin.rename(box.root / "gone.git")


def test_what_is_handed_over_needs_no_remote(box, code):
    first = box.commit("one", **{"lib/a": "a" * 5000, "lib/b": "b"})
    box.run(box.order(1, first))
    second = box.commit("two", **{"lib/b": "changed"})
    data = pack(code, second, base=first)
    assert len(data) < 2000, "of what the machine has nothing is in it"
    take_origin_away(box)
    order = box.order(2, second)
    talk, word = prepare(box, order, data)
    assert (word["ok"], word["why"]) == (True, "")
    assert ordered(box, talk, order)["outcome"] == "ok", talk.events
    assert (box.current(), box.text(), box.text("current/lib/b"), box.text("current/lib/a")) == (
        *(2, "two"),
        *("changed", "a" * 5000),
    )
    assert git("fsck", "--connectivity-only", at=box.path / "repository.git") == ""


def test_a_merge_whose_other_side_the_machine_never_had_is_handed_over_as_well(box, code):
    first = box.commit("one")
    git("checkout", "-qb", "side", first, at=box.work)
    git("commit", "-q", "--allow-empty", "-m", "aside", at=box.work)
    git("checkout", "-q", "-", at=box.work)
    second = box.commit("two")
    box.run(box.order(1, second))
    git("merge", "-q", "-s", "ours", "-m", "three", "side", at=box.work)
    third = box.commit("three")
    data = pack(code, third, base=second)
    take_origin_away(box)
    order = box.order(2, third)
    talk, _ = prepare(box, order, data)
    assert ordered(box, talk, order)["outcome"] == "ok", talk.events
    assert box.text() == "three"


@pytest.mark.parametrize("what", ["for another base", "cut short", "of another commit", "no pack", "no base64"])
def test_what_does_not_fit_is_fetched_and_leaves_nothing_behind(box, code, what):
    first = box.commit("one", **{"lib/a": "a"})
    between = box.commit("between", **{"lib/a": "changed"})
    box.run(box.order(1, first))
    second = box.commit("two")
    whole = pack(code, second, base=first)
    data = {
        "for another base": pack(code, second, base=between),
        "cut short": whole[:-30],
        "of another commit": pack(code, between, base=first),
        "no pack": b"rubbish",
        "no base64": "%%%",
    }[what]
    shallow = (box.path / "repository.git/shallow").read_text()
    order = box.order(2, second)
    talk, word = prepare(box, order, data)
    assert word["ok"], word
    assert ordered(box, talk, order)["outcome"] == "ok", talk.events
    assert (box.text(), box.text("current/lib/a")) == ("two", "changed")
    assert sorted((box.path / "repository.git/shallow").read_text().split()) == sorted([*shallow.split(), second])
    assert folders(box) == ["1", "2"]


def test_a_pack_is_not_made_of_more_than_is_worth_handing_over(box, code):
    first = box.commit("one")
    second = box.commit("two", big="".join(map(str, range(9000))))
    assert pack(code, second, base=first, bytes_max=2000) == b""
    assert len(pack(code, second, base=first)) > 2000


def test_the_size_of_a_commit_is_what_its_files_have_together(box, code):
    commit = box.commit("one", **{"lib/a": "a" * 5000})
    code.fetch()
    wanted = sum(each.stat().st_size for each in box.work.rglob("*") if each.is_file() and ".git" not in each.parts)
    assert code.tree_bytes(commit) == wanted
    box.run(box.order(1, commit))
    assert repository.tree_bytes(box.path / "repository.git", commit) == wanted


@pytest.mark.parametrize(("size", "fits"), [(1 << 60, False), (1, True), (0, True), (-1, True), ("much", True)])
def test_the_size_that_is_handed_over_is_the_room_that_is_asked_for(box, code, size, fits):
    """What is no size is looked up. It is a favour: the order looks for itself where nothing was prepared."""
    first, second = box.commit("one"), box.commit("two")
    box.run(box.order(1, first))
    order = box.order(2, second)
    talk, word = prepare(box, order, pack(code, second, base=first), tree_bytes=size)
    assert (word["ok"], "no space left" in word["why"]) == (fits, not fits)
    assert ordered(box, talk, order)["outcome"] == "ok", talk.events
