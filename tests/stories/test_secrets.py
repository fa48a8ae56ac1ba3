"""The search that follows every story is no empty one: it finds what was planted on purpose."""

from __future__ import annotations

import subprocess
import sys

from stories.conftest import arguments_watched, until


def test_a_secret_in_a_log_and_in_what_was_said_is_found(fleet):
    planted = fleet.secrets[0]
    log = fleet.root / "machines" / "uat" / "home" / "planted.log"
    log.write_text(f"the password is {planted}\n")
    fleet.heard.append(planted)
    assert [leak.rpartition(": ")[0] for leak in fleet.leaks()] == [str(log), "what was said"]
    log.unlink()
    fleet.heard.clear()


def test_a_secret_in_the_arguments_of_a_process_is_found():
    with arguments_watched(["canary-of-this-test"]) as seen:
        process = subprocess.Popen([sys.executable, "-c", "input()", "canary-of-this-test"], stdin=subprocess.PIPE)
        until(lambda: bool(seen))
        process.communicate(b"\n")
    assert "canary-of-this-test" in seen[0]
