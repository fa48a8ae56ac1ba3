"""The search that follows every story is no empty one: it finds what was planted on purpose."""

from __future__ import annotations

import subprocess
import sys

import leaks
from stories.conftest import until


def test_a_secret_in_a_log_and_in_what_was_said_is_found(fleet):
    (planted,) = fleet.secrets.values()
    log = fleet.root / "machines" / "uat" / "home" / "planted.log"
    log.write_text(f"the password is {planted}\n")
    fleet.heard.append(planted)
    assert fleet.leaks() == ["what was said: the runner's own", f"{log}: the runner's own"]
    log.unlink()
    fleet.heard.clear()


def test_a_secret_that_a_git_repository_kept_is_found_also_where_no_ref_leads_to_it(fleet):
    (planted,) = fleet.secrets.values()
    written = fleet.root / "written"
    written.write_text(f"the password is {planted}\n")
    remote = fleet.root / "remote.git"
    fleet.git("hash-object", "-w", str(written), at=remote)
    assert fleet.leaks() == [f"the objects of {remote}: the runner's own"]
    fleet.git("prune", at=remote)


def test_a_secret_in_the_arguments_of_a_process_is_found_and_not_told():
    with leaks.processes_watched({"a canary": "canary-of-this-test"}) as seen:
        process = subprocess.Popen([sys.executable, "-c", "input()", "canary-of-this-test"], stdin=subprocess.PIPE)
        until(lambda: bool(seen))
        process.communicate(b"\n")
    assert seen == [f"the arguments of {sys.executable} -c input() <a canary>: a canary"]


def test_what_a_command_that_was_left_running_said_is_searched_too(fleet):
    fleet.commit("one", pages_sh="echo it was said")
    fleet.begin("deploy", "-v").communicate()
    fleet.secrets["what the step says"] = "it was said"
    found = [each.rpartition(": ")[0] for each in fleet.leaks()]
    assert "what was said" in found
    del fleet.secrets["what the step says"]
