"""A catch-up without news ends before what carries out orders is imported; everything else goes the whole way."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from wakeline.agent import __main__ as whole
from wakeline.agent import glance, lock
from wakeline.edges import git

LOG = "refs/wakeline/shop/uat/log"
CALL = ["--home", "H", "catch-up", "--app", "shop", "--environment", "uat"]


def run_git(*arguments: str, at: Path) -> str:
    done = subprocess.run(["git", *arguments], cwd=at, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def machine(tmp_path):
    """A machine that runs release 3, confirmed, and has looked at the ledger's present end."""
    run_git("init", "-q", "--bare", "remote.git", at=tmp_path)
    stamp = move_the_log(tmp_path, "one")
    folder = tmp_path / "home" / "shop" / "uat"
    (folder / "reports").mkdir(parents=True)
    (folder / "lock").touch()
    release = tmp_path / "app" / "releases" / "3"
    release.mkdir(parents=True)
    (release / ".wakeline-release.json").write_text('{"state": "confirmed"}')
    (tmp_path / "app" / "current").symlink_to("releases/3")
    config = {"ledger": str(tmp_path / "remote.git"), "path": str(tmp_path / "app"), "machine": "uat", "local": True}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "looked.json").write_text(json.dumps({"stamp": stamp, "runs": 3, "confirmed": True}))
    return tmp_path


def move_the_log(folder: Path, text: str) -> str:
    remote = folder / "remote.git"
    tree = run_git("hash-object", "-w", "-t", "tree", "/dev/null", at=remote)
    who = ["-c", "user.name=a", "-c", "user.email=a@a"]
    commit = run_git(*who, "commit-tree", tree, "-m", text, at=remote)
    run_git("update-ref", LOG, commit, at=remote)
    return commit


def look(machine: Path) -> int | None:
    return glance._look(str(machine / "home"), "shop", "uat")


def home(machine: Path) -> Path:
    return machine / "home" / "shop" / "uat"


def test_where_nothing_has_moved_it_says_so_and_is_done(machine, capsys):
    assert look(machine) == 0
    assert capsys.readouterr().err == "shop/uat: runs release 3, and nothing new was decided\n"


def test_what_carries_out_orders_is_not_imported(machine):
    script = "import sys; from wakeline.agent.glance import main; code = main(); print(code, *sys.modules)"
    argv = [sys.executable, "-c", script, *CALL]
    argv[argv.index("H")] = str(machine / "home")
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    code, *modules = done.stdout.split()
    assert code == "0"
    assert [each for each in modules if each.startswith(("argparse", "wakeline.core", "wakeline.agent."))] == [
        "wakeline.agent.glance"
    ]


def _move_log(machine: Path) -> None:
    move_the_log(machine, "two")


def _switch_by_hand(machine: Path) -> None:
    (machine / "app" / "current").unlink()
    (machine / "app" / "current").symlink_to("releases/2")


def _unconfirm(machine: Path) -> None:
    (machine / "app" / "releases" / "3" / ".wakeline-release.json").write_text('{"state": "ready"}')


def _leave_a_report(machine: Path) -> None:
    (home(machine) / "reports" / "catch-up.json").write_text("{}")


def _be_in_place(machine: Path) -> None:
    (home(machine) / "in-place.json").write_text("{}")


def _be_a_clone(machine: Path) -> None:
    config = json.loads((home(machine) / "config.json").read_text())
    (home(machine) / "config.json").write_text(json.dumps({**config, "local": False, "machine_id": "another"}))


def _never_have_looked(machine: Path) -> None:
    (home(machine) / "looked.json").unlink()


def _have_looked_in_the_middle(machine: Path) -> None:
    looked = json.loads((home(machine) / "looked.json").read_text())
    (home(machine) / "looked.json").write_text(json.dumps({**looked, "confirmed": False}))


def _damage_the_config(machine: Path) -> None:
    (home(machine) / "config.json").write_bytes(b"\0" * 100)


def _take_a_database_for_a_ledger(machine: Path) -> None:
    config = json.loads((home(machine) / "config.json").read_text())
    (home(machine) / "config.json").write_text(json.dumps({**config, "ledger": f"sqlite:///{machine}/ledger"}))


def _never_have_had_a_lock(machine: Path) -> None:
    (home(machine) / "lock").unlink()


@pytest.mark.parametrize(
    "change",
    [
        _move_log,
        _switch_by_hand,
        _unconfirm,
        _leave_a_report,
        _be_in_place,
        _be_a_clone,
        _never_have_looked,
        _have_looked_in_the_middle,
        _damage_the_config,
        _take_a_database_for_a_ledger,
        _never_have_had_a_lock,
    ],
)
def test_whatever_is_not_as_it_was_goes_the_whole_way(machine, change):
    change(machine)
    assert look(machine) is None


def test_somebody_at_work_is_left_to_the_whole_way(machine):
    with lock.hold(home(machine) / "lock", wait_s=5):
        assert look(machine) is None
    assert look(machine) == 0


def test_a_remote_that_is_not_there_keeps_what_runs_and_is_tried_again(machine, capsys):
    (machine / "remote.git").rename(machine / "gone.git")
    assert look(machine) == 75
    assert "shop/uat: keeps running what runs: git ls-remote" in capsys.readouterr().err


def test_a_machine_without_git_keeps_what_runs(machine, monkeypatch, capsys):
    monkeypatch.setattr(git, "remote_refs", _no_git)
    assert look(machine) == 75
    assert "git is not installed here" in capsys.readouterr().err


def _no_git(*_arguments: object, **_more: object) -> dict[str, str]:
    raise git.GitMissing("git is not installed here")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (CALL, ("H", "shop", "uat")),
        ([*CALL, "--boot"], ("H", "shop", "uat")),
        ([*CALL, "--confirm"], None),
        ([*CALL, "--tell"], None),
        (["--home", "H", "run"], None),
        (["--home", "H", "status"], None),
        (["--home", "H", "catch-up", "--app", "shop"], None),
        (["--home", "H", "catch-up", "--app", "../x", "--environment", "uat"], None),
        (["--home", "H", "catch-up", "--app", "", "--environment", "uat"], None),
        ([], None),
    ],
)
def test_only_the_plain_catch_up_of_the_units_is_its_business(words, found):
    assert glance._asked(words) == found


def brief(machine: Path) -> list | None:
    return glance._brief(str(machine / "home"))


def _be_named(machine: Path) -> None:
    config = json.loads((home(machine) / "config.json").read_text())
    (home(machine) / "config.json").write_text(json.dumps({**config, "machine_id": "m1"}))
    (home(machine) / "reports" / "1.json").write_text('{"machine": "uat", "release": 3, "outcome": "ok"}')
    (home(machine) / "reports" / "2.json").write_text("")


def test_at_rest_the_brief_word_is_the_whole_agents(machine, capsys):
    _be_named(machine)
    asked = ["--home", str(machine / "home"), "status", "--brief"]
    assert whole.main(asked) == 0
    told = json.loads(capsys.readouterr().out)
    more = {"claims": [], "last": {}}  # which only a person, or a once-step in doubt, asks for
    assert [{**each, **more} for each in brief(machine)] == told
    assert told[0]["reports"] == [{"machine": "uat", "release": 3, "outcome": "ok"}]


@pytest.mark.parametrize(
    "change", [_unconfirm, _leave_a_report, _be_in_place, _be_a_clone, _damage_the_config, _never_have_had_a_lock]
)
def test_whatever_is_not_at_rest_is_told_by_the_whole_agent(machine, change):
    change(machine)
    assert brief(machine) is None


def test_a_machine_that_is_at_work_says_so_by_the_whole_agent(machine):
    with lock.hold(home(machine) / "lock", wait_s=1):
        assert brief(machine) is None
