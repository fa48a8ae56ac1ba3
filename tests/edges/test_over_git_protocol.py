"""Over `git://` the older protocol is spoken, which does not wait for acknowledgements; elsewhere git's own choice."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from wakeline.agent import repository
from wakeline.edges import git

LIMIT_S = 60.0
WHO = ("-c", "user.name=x", "-c", "user.email=x@localhost")


class Server(NamedTuple):
    """A repository with two commits behind `git daemon`, and the first words of everybody who asked."""

    url: str
    commits: tuple[str, str]
    heard: list[bytes]


def plain(*words: str, at: Path) -> str:
    return subprocess.run(["git", *words], cwd=at, capture_output=True, text=True, check=True).stdout.strip()


def first_word(connection: socket.socket) -> bytes:
    """Its length in hex, and what it says: gitprotocol-common(5). They come one by one, and are left to be read again.

    Looked at again and again: with MSG_WAITALL the kernel has been seen to go on waiting when all had come.
    """
    ends = time.monotonic() + LIMIT_S
    while (found := connection.recv(4096, socket.MSG_PEEK)) and len(found) < int(found[:4].ljust(4, b"f"), 16):
        assert time.monotonic() < ends, found
        time.sleep(0.002)
    return found


@pytest.fixture
def server(tmp_path) -> Iterator[Server]:
    place = tmp_path / "remote"
    plain("init", "-q", "--initial-branch=main", str(place), at=tmp_path)
    commits = []
    for text in ("one", "two"):
        (place / "file").write_text(text)
        plain("add", ".", at=place)
        plain(*WHO, "commit", "-qm", text, at=place)
        commits.append(plain("rev-parse", "HEAD", at=place))
    heard: list[bytes] = []
    argv = ["git", "daemon", "--inetd", "--export-all", f"--base-path={tmp_path}", str(tmp_path)]

    def serve() -> None:
        while True:
            connection, _ = listening.accept()
            with connection:
                first = first_word(connection)
                if not first:
                    return
                heard.append(first)
                subprocess.run(argv, stdin=connection, stdout=connection, stderr=subprocess.DEVNULL, check=False)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        serving = threading.Thread(target=serve)
        serving.start()
        yield Server(f"git://127.0.0.1:{port}/remote", (commits[0], commits[1]), heard)
        socket.create_connection(("127.0.0.1", port)).close()
        serving.join()


@pytest.fixture
def mirror(tmp_path) -> Path:
    return repository.ensure_mirror(tmp_path / "mirror.git")


def fetch(mirror: Path, server: Server, commit: str) -> None:
    repository.fetch(mirror, url=server.url, commit=commit, branch="main", pin="refs/pin")


def test_a_look_speaks_the_older_protocol_there(server, mirror):
    assert git.remote_refs(server.url, "refs/heads/main", at=mirror) == {"refs/heads/main": server.commits[1]}
    assert ["version=2" in words.decode() for words in server.heard] == [False]


def test_elsewhere_git_chooses(server):
    assert git.speaking(["fetch", server.url])
    assert not any(git.speaking(["fetch", url]) for url in ("ssh://git@host/a.git", "https://host/a.git", "/srv/a.git"))


def test_a_commit_at_the_tip_of_a_branch_is_fetched_with_one_question(server, mirror):
    fetch(mirror, server, server.commits[1])
    assert plain("rev-list", "--count", "refs/pin", at=mirror) == "1"
    assert ["version=2" in words.decode() for words in server.heard] == [False]


def test_a_commit_that_no_ref_is_at_is_asked_for_in_the_newer_one_and_comes_without_its_history(server, mirror):
    plain(*WHO, "commit", "-q", "--allow-empty", "-m", "three", at=mirror.parent / "remote")
    fetch(mirror, server, server.commits[1])
    assert plain("rev-list", "--count", "refs/pin", at=mirror) == "1", "not the whole branch"
    assert ["version=2" in words.decode() for words in server.heard] == [False, True]
