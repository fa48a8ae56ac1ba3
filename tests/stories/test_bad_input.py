"""Bad input: a clear message with its path and a way on, the right exit code, and nothing lost."""

import json
import shlex
import shutil
import subprocess
import sys
from urllib.parse import quote

import pytest

import leaks
from wakeline.core.records import record_from_line


def test_no_fleet_file(fleet):
    (fleet.app / "wakeline.toml").unlink()
    said = fleet.wakeline("deploy")
    assert said.code == 2
    assert "there is no wakeline.toml" in said.err
    assert "wakeline init" in said.err


def test_not_toml_and_misspelt_keys(fleet):
    fleet.write("wakeline.toml", "app = \n")
    assert "not TOML" in fleet.wakeline("status").err
    fleet.write("wakeline.toml", 'ap = "shop"\n')
    said = fleet.wakeline("status")
    assert (said.code, "did you mean `app`?" in said.err) == (2, True)


@pytest.mark.parametrize(
    ("name", "message"),
    [("no-such-commit", "there is no commit 'no-such-commit'"), ("f" * 40, "is not on branch main")],
)
def test_a_commit_that_does_not_exist(fleet, name, message):
    said = fleet.wakeline("deploy", name)
    assert said.code == 2
    assert message in said.err or "there is no commit" in said.err


def test_a_commit_that_is_not_on_the_branch(fleet):
    fleet.git("checkout", "-qb", "side")
    fleet.write("version", "side\n")
    fleet.git("commit", "-qam", "On the side")
    said = fleet.wakeline("deploy", "side")
    assert (said.code, "is not on branch main" in said.err) == (2, True)


def test_a_branch_named_like_a_commit(fleet):
    fleet.git("branch", "abc1234")
    said = fleet.wakeline("deploy", "abc1234")
    assert (said.code, "looks like a commit" in said.err) == (2, True)


def test_an_empty_repository(fleet):
    fleet.git("update-ref", "-d", "refs/heads/main", at=fleet.root / "remote.git")
    said = fleet.wakeline("deploy")
    assert (said.code, "has no branch main" in said.err) == (2, True)


def test_a_remote_that_is_not_there(fleet):
    (fleet.root / "remote.git").rename(fleet.root / "gone.git")
    said = fleet.wakeline("deploy")
    assert (said.code, "cannot fetch" in said.err) == (1, True)


def test_in_a_folder_that_is_gone(fleet):
    command = f"mkdir gone && cd gone && rmdir ../gone && exec {sys.executable} -m wakeline status"
    said = subprocess.run(
        ["sh", "-c", command], cwd=fleet.root, env=fleet.environment, capture_output=True, text=True, check=False
    )
    assert (said.returncode, "the folder that this is run in is gone" in said.stderr) == (2, True)
    assert "Traceback" not in said.stderr


def test_outside_a_checkout(fleet, tmp_path_factory):
    fleet.app = tmp_path_factory.mktemp("empty")
    said = fleet.wakeline("status")
    assert (said.code, "is not in a git checkout" in said.err) == (2, True)


def test_output_of_10_mb_on_one_line_binary_bytes_and_escapes_harm_nobody(fleet):
    fleet.commit(
        "one",
        pages_sh="head -c 10000000 /dev/zero | tr '\\0' x; echo; head -c 5000 /dev/urandom; "
        "printf '\\033]0;owned\\007::error::x\\n'",
    )
    said = fleet.wakeline("deploy", "-v")
    assert said.code == 0, said.err[-2000:]
    assert "\x1b" not in said.err
    assert len(said.err) < 1_000_000


def test_a_secret_in_the_environment_that_a_step_prints_is_shown_nowhere(fleet):
    text = (
        (fleet.app / "wakeline.toml")
        .read_text()
        .replace("[deploy]", '[deploy]\nenv_file = ".env"\nshared = [".env"]', 1)
    )
    fleet.write("wakeline.toml", text)
    for name in ("scheduler", "uat"):
        place = fleet.root / "machines" / name / "app" / "shared"
        place.mkdir(parents=True, exist_ok=True)
        (place / ".env").write_text("PASSWORD=correct-horse-battery\n")
    fleet.secrets["the password"] = "correct-horse-battery"
    fleet.commit("one", pages_sh='echo "the password is $PASSWORD"; exit 1')
    said = fleet.wakeline("deploy", "-v")
    assert said.code == 1
    assert "the password is ***" in said.err
    logs = [path.read_text(errors="replace") for path in fleet.root.glob("machines/*/home/**/*") if path.is_file()]
    everything = said.out + said.err + str(fleet.log()) + "".join(logs)
    assert "correct-horse-battery" not in everything


SPELLS = """\
import json, os, shlex, urllib.parse
print(ascii(os.environ["PASSWORD"]), os.environ)
print(json.dumps(dict(os.environ)), json.dumps(os.environ["PASSWORD"], ensure_ascii=False))
print(os.environ["DATABASE_URL"].replace("/shop", "/test_shop"), urllib.parse.quote(os.environ["PASSWORD"], safe=""))
print(shlex.quote(os.environ["PASSWORD"]))
raise SystemExit(1)
"""


def test_a_secret_is_hidden_in_every_spelling_that_programs_have_for_it(fleet):
    file = (fleet.app / "wakeline.toml").read_text()
    fleet.write("wakeline.toml", file.replace("[deploy]", '[deploy]\nenv_file = ".env"\nshared = [".env"]', 1))
    canary = leaks.canary()
    password = f"""{canary}@'"\\é"""
    url = f"postgresql://shop:{quote(password, safe='')}@db/shop"
    for name in ("scheduler", "uat"):
        place = fleet.root / "machines" / name / "app" / "shared"
        place.mkdir(parents=True, exist_ok=True)
        (place / ".env").write_text(f"PASSWORD={shlex.quote(password)}\nDATABASE_URL={url}\n")
    fleet.secrets["the password"] = canary
    fleet.write("spells.py", SPELLS)
    fleet.commit("one", pages_sh=f'set -x; : "$PASSWORD"; exec {sys.executable} spells.py')
    said = fleet.wakeline("deploy", "-v")
    assert (said.code, "***" in said.err) == (1, True), said.err


def test_a_command_that_is_not_found_says_where_it_was_looked_for(fleet):
    fleet.commit("one", pages_sh="poetri install")
    said = fleet.wakeline("deploy")
    assert said.code == 1
    assert "poetri" in said.err
    assert "/usr/bin" in said.err


def test_a_ledger_that_somebody_else_wrote_is_left_alone(fleet):
    head = fleet.git("rev-parse", "HEAD")
    fleet.git("update-ref", "refs/wakeline/shop/uat/log", head, at=fleet.root / "remote.git")
    said = fleet.wakeline("deploy")
    assert (said.code, "is not wakeline's" in said.err) == (1, True)
    assert fleet.git("rev-parse", "refs/wakeline/shop/uat/log", at=fleet.root / "remote.git") == head


def test_a_ledger_of_a_newer_version_is_left_alone_and_says_so(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    remote, log = fleet.root / "remote.git", "refs/wakeline/shop/uat/log"
    last = record_from_line(json.dumps(fleet.log()[-1]), position=1)
    newer = last._replace(id="new", previous=last.hash, version=99).line
    tree = fleet.git("rev-parse", f"{log}^{{tree}}", at=remote)
    who = ("-c", "user.name=x", "-c", "user.email=x@localhost")
    commit = fleet.git(*who, "commit-tree", tree, "-p", log, "-m", newer, at=remote)
    fleet.git("update-ref", log, commit, at=remote)
    said = fleet.wakeline("deploy")
    assert (said.code, "written by a newer wakeline (version 99" in said.err) == (1, True), said
    assert fleet.git("rev-parse", log, at=remote) == commit
    assert fleet.serves("uat") == "one"


def without_git(fleet, script: str = "") -> None:
    """A PATH with no git, or with one of the stories' own."""
    tools = fleet.root / "tools"
    tools.mkdir()
    for name in ("sh", "cat", "test", "mkdir", "mv", "rm"):
        (tools / name).symlink_to(shutil.which(name))
    if script:
        (tools / "git").write_text(script)
        (tools / "git").chmod(0o755)
    fleet.environment["PATH"] = str(tools)


def test_without_git_it_says_what_to_install(fleet):
    without_git(fleet)
    said = fleet.wakeline("deploy")
    assert (said.code, "git is not installed here" in said.err) == (2, True), said


def test_a_git_that_is_too_old_is_named_with_the_version_that_is_wanted(fleet):
    git = shutil.which("git")
    without_git(fleet, f'#!/bin/sh\ncase "$*" in *version*) echo "git version 1.8.3" ;; *) exec {git} "$@" ;; esac\n')
    said = fleet.wakeline("deploy")
    assert (said.code, "1.8.3" in said.err, "2.30" in said.err) == (2, True, True), said
