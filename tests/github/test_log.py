"""The log of a run: nobody else's words start a command, and a machine's lines stand in its own group."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as some

from github.runner import command_in, commands_in
from wakeline.github import log

ATTACKS = [
    "::error::x",
    " \t ::add-mask::x",
    "\u00a0::stop-commands::x",
    "\ufeff::set-output name=a::b",
    "\u034f::error::x",
    "a ##[error]x",
    "##[group]x",
    "\ufe0f##[add-path]/tmp",
    "done\r::error::x",
    "one\n::error::x",
    "%0A::error::x",
    "\x1b[2K::warning::x",
]
pieces = some.sampled_from([*ATTACKS, "::", "##[", "]", "error", "\r", "\n", "%0A", "%0D", " ", "group", "x"])
foreign = some.one_of(some.lists(pieces, max_size=8).map("".join), some.text(max_size=40))


@given(foreign)
@settings(max_examples=400, deadline=None)
@example("::error::x")
@example("a ##[error]x")
def test_no_line_of_somebody_elses_is_a_command(text):
    for line in text.split("\n"):
        assert commands_in(log.harmless(line)) == []


@given(foreign, foreign)
@settings(max_examples=400, deadline=None)
def test_a_command_of_ours_stays_one_command_whatever_it_says(text, title):
    said = log.command("error", text, title=title or "t")
    (found,) = commands_in(said)
    assert found.name == "error"
    assert "\n" not in said
    assert [each for each in found.properties if each not in ("title",)] == []


def test_ordinary_words_are_left_as_they_are():
    for line in ("## Heading", "a::b::c", "10:30: done", "[x] # y", "naïve ✓ 日本"):
        assert log.harmless(line) == line


@given(some.lists(some.tuples(some.sampled_from(["a", "b", "c", ""]), foreign), max_size=30), some.permutations("abc"))
@settings(max_examples=200, deadline=None)
def test_every_line_is_printed_once_and_in_its_machines_own_group(told, order):
    groups = log.Groups()
    printed = [line for machine, text in told for line in groups.say(machine, f"{machine} {text!a}")]
    for machine in order:
        printed += groups.end(machine, f"end of {machine}")
    printed += groups.close()
    open_group, seen = "", []
    for line in printed:
        found = command_in(line)
        if found is None:
            seen.append(line)
            assert line[:2] not in ("a ", "b ", "c ") or line[0] == open_group
        elif found.name == "group":
            assert open_group == ""
            open_group = found.text
        else:
            assert found.name == "endgroup"
            open_group = ""
    assert open_group == ""
    assert sorted(seen) == sorted(
        [f"{m} {t!a}".replace("##[", "## [") for m, t in told] + [f"end of {m}" for m in "abc"]
    )


def test_a_group_that_nobody_closed_is_closed_at_the_end():
    groups = log.Groups()
    printed = [*groups.say("a", "x"), *groups.say("b", "y"), *groups.close()]
    assert printed == ["::group::a", "x", "::endgroup::", "::group::b", "y", "::endgroup::"]


def test_past_ten_of_a_kind_the_tenth_says_who_is_left_out():
    said = log.annotated("warning", [(f"m{number} is asleep", "why") for number in range(13)])
    found = commands_in("\n".join(said))
    assert len(found) == log.KIND_MAX
    assert found[-1].properties["title"] == "and 4 more"
    assert found[-1].text == "m9 is asleep, m10 is asleep, m11 is asleep, m12 is asleep"


def test_a_secret_is_masked_once_and_whatever_is_in_it():
    assert log.masks(["a%b", "a%b", "c:,d"]) == ["::add-mask::a%25b", "::add-mask::c:,d"]
