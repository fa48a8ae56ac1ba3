"""`wakeline init github`: host keys are asked for once and shown to be compared, and no file is ever written over."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from github.workflows import FURTHER, NOTIFY

FILE = """\
app = "shop"
environment = "uat"
git = "git@github.com:example/shop.git"
[deploy]
path = "/opt/shop"
[[stage]]
name = "scheduler"
[[stage.machine]]
name = "scheduler"
address = "ubuntu@127.0.0.1:{port}"
presence = "always"
[[stage]]
name = "frontend"
[[stage.machine]]
name = "uat"
address = "ubuntu@127.0.0.1:1"
presence = "on-demand"
"""


@pytest.fixture
def scheduler() -> Iterator[tuple[int, asyncssh.SSHKey]]:
    """An SSH server's port and host key: what a machine shows to whoever asks."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    loop, ready, box = asyncio.new_event_loop(), threading.Event(), []

    async def serve() -> None:
        box.append(await asyncssh.listen("127.0.0.1", 0, server_host_keys=[key]))
        ready.set()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(serve())
        loop.run_forever()

    thread = threading.Thread(target=run)
    thread.start()
    assert ready.wait(20)
    yield box[0].get_port(), key

    async def end() -> None:
        box[0].close()
        await box[0].wait_closed()

    asyncio.run_coroutine_threadsafe(end(), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(20)
    loop.close()


def project(place: Path, port: int, *, more: str = "") -> Path:
    subprocess.run(["git", "init", "-q", str(place)], check=True)
    (place / "wakeline.toml").write_text(FILE.format(port=port) + more)
    return place


def init(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wakeline", "init", "github", *arguments]
    environment = {**os.environ, "HOME": str(place), "NO_COLOR": "1"}
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_host_keys_are_pinned_to_names_and_shown_with_what_to_compare(tmp_path, scheduler):
    port, key = scheduler
    place = project(tmp_path, port)
    (tmp_path / ".ssh").mkdir()
    said = init(place)
    assert said.returncode == 0, said.stderr
    text = key.export_public_key("openssh").decode().strip()
    assert (place / "known_hosts").read_text() == f"scheduler {text}\n"
    assert key.get_fingerprint("sha256") in said.stdout
    assert "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" in said.stdout
    assert "uat has no line in known_hosts" in said.stderr
    assert "wakeline deploy" in (place / ".github/workflows/deploy.yml").read_text()


def test_files_that_are_there_are_left_and_a_missing_key_is_shown_to_be_added(tmp_path, scheduler):
    port, key = scheduler
    place = project(tmp_path, port)
    (place / "known_hosts").write_text("uat ssh-ed25519 AAAA\n")
    (place / ".github/workflows").mkdir(parents=True)
    (place / ".github/workflows/deploy.yml").write_text("name: mine\n")
    said = init(place)
    assert said.returncode == 0, said.stderr
    assert (place / "known_hosts").read_text() == "uat ssh-ed25519 AAAA\n"
    assert (place / ".github/workflows/deploy.yml").read_text() == "name: mine\n"
    assert "deploy.yml is there already, and is left as it is" in said.stdout
    assert f"scheduler {key.export_public_key('openssh').decode().strip()}" in said.stdout


def test_a_workflow_from_before_somebody_was_to_be_told_is_left_and_what_it_lacks_is_said(tmp_path, scheduler):
    place = project(tmp_path, scheduler[0])
    assert init(place).returncode == 0
    before = (place / ".github/workflows/deploy.yml").read_text()
    (place / "wakeline.toml").write_text(FILE.format(port=scheduler[0]) + NOTIFY)
    said = init(place)
    assert said.returncode == 0, said.stderr
    assert (place / ".github/workflows/deploy.yml").read_text() == before
    for name in ("WAKELINE_NOTIFY_TEAM", "ON_CALL"):
        lacks = f"does not name {name}: add to the `env` of its steps {name}: ${{{{ secrets.{name} }}}}"
        assert said.stderr.count(f"deploy.yml {lacks}") == 1
    assert "does not name WAKELINE_SSH_KEY" not in said.stderr


def test_a_link_that_leads_away_is_not_written_through(tmp_path, scheduler):
    place = project(tmp_path / "app", scheduler[0])
    (place / ".github/workflows").mkdir(parents=True)
    (place / ".github/workflows/deploy.yml").symlink_to(tmp_path / "elsewhere")
    said = init(place)
    assert said.returncode == 2, said.stdout
    assert not (tmp_path / "elsewhere").exists()


def test_a_key_that_the_user_knows_already_is_said_to_be_so(tmp_path, scheduler):
    port, key = scheduler
    place = project(tmp_path, port)
    (tmp_path / "ssh").mkdir()
    known = tmp_path / "ssh/known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {key.export_public_key('openssh').decode().strip()}\n")
    from wakeline.edges import host_keys  # noqa: PLC0415 - the file to look in is an argument here, not the user's own

    text = " ".join(key.export_public_key("openssh").decode().split()[:2])
    assert host_keys.is_known("127.0.0.1", port, text, known_hosts=known)
    assert not host_keys.is_known("127.0.0.1", port + 1, text, known_hosts=known)
    assert init(place).returncode == 0


def test_a_further_repository_gets_a_workflow_to_copy_and_print_writes_nothing(tmp_path, scheduler):
    place = project(tmp_path, scheduler[0], more=FURTHER)
    shown = init(place, "--print")
    assert "name: Deploy shop to uat" in shown.stdout
    assert not (place / ".github").exists()
    said = init(place, "--json")
    data = json.loads(said.stdout)
    assert data["data"]["files"] == [".github/further/front-app.yml", ".github/workflows/deploy.yml"]
    assert "gh workflow run deploy.yml" in (place / ".github/further/front-app.yml").read_text()


def test_who_is_told_later_by_a_workflow_of_its_own_is_written_only_where_somebody_is_to_be_told(tmp_path, scheduler):
    quiet, place = project(tmp_path / "quiet", scheduler[0]), project(tmp_path / "app", scheduler[0], more=NOTIFY)
    assert json.loads(init(quiet, "--json").stdout)["data"]["files"] == [".github/workflows/deploy.yml"]
    said = init(place)
    assert said.returncode == 0, said.stderr
    assert "exec wakeline notify" in (place / ".github/workflows/notify.yml").read_text()
    assert "gh secret set WAKELINE_NOTIFY_TEAM --env uat --repo example/shop" in said.stdout
    assert "notify here: is cmd:pass show wakeline/here there on a runner?" in said.stderr
    shown = init(place, "--print").stdout
    assert "# .github/workflows/notify.yml\n" in shown
    assert shown.count("\njobs:\n") == 2


def test_without_a_fleet_file_it_says_how_to_begin(tmp_path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    said = init(tmp_path)
    assert (said.returncode, "wakeline init writes one" in said.stderr) == (2, True)
