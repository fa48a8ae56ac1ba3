"""What a run reaches and with what: the run's token opens its own repository, another one further ones, and no more."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from wakeline.edges import git, keys
from wakeline.github import run

RUN = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "example/shop",
    "WAKELINE_GITHUB_TOKEN": "own-token",
}


@pytest.mark.parametrize(
    ("url", "more", "reached"),
    [
        ("git@github.com:example/shop.git", {}, "https://github.com/example/shop.git"),
        ("git@github.com:Example/Shop", {}, "https://github.com/example/shop.git"),
        ("git@github.com:example/shop_front.git", {}, "git@github.com:example/shop_front.git"),
        (
            "git@github.com:example/shop_front.git",
            {"WAKELINE_REPOSITORIES_TOKEN": "more"},
            "https://github.com/example/shop_front.git",
        ),
        ("git@git.example.org:example/shop.git", {}, "git@git.example.org:example/shop.git"),
        ("git@github.com:example/shop.git", {"GITHUB_ACTIONS": ""}, "git@github.com:example/shop.git"),
        ("git@github.com:example/shop.git", {"WAKELINE_GITHUB_TOKEN": ""}, "git@github.com:example/shop.git"),
        ("/srv/shop.git", {}, "/srv/shop.git"),
    ],
)
def test_a_repository_is_reached_by_the_token_that_opens_it(url, more, reached):
    assert run.reached_as(url, {**RUN, **more}) == reached


def test_a_secret_that_is_named_and_empty_is_missing_and_one_that_is_not_named_is_not():
    assert run.missing_secrets({**RUN, "WAKELINE_SSH_KEY": ""}) == ["WAKELINE_SSH_KEY"]
    assert run.missing_secrets(RUN) == []
    assert run.missing_secrets({"WAKELINE_SSH_KEY": ""}) == []


def test_what_is_masked_is_every_line_of_a_key_and_a_token_in_the_form_in_which_git_sends_it():
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\nAAAAB3Nz\n-----END OPENSSH PRIVATE KEY-----\n"
    masked = list(run.secrets_in({**RUN, "WAKELINE_SSH_KEY": key}))
    sent = base64.b64encode(b"x-access-token:own-token").decode()
    assert masked == ["b3BlbnNzaC1rZXk", "AAAAB3Nz", "own-token", sent]


def test_a_key_that_is_text_is_a_file_for_nobody_else_and_ssh_reads_it(tmp_path):
    made = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(made)], check=True)
    pasted = made.read_text().replace("\n", "\r\n").strip()
    assert keys.is_text(pasted)
    assert not keys.is_text(str(made))
    place = keys.file_of(pasted, name="pasted")
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    shown = subprocess.run(["ssh-keygen", "-y", "-f", str(place)], capture_output=True, text=True, check=True)
    assert shown.stdout.split()[1] == made.with_suffix(".pub").read_text().split()[1]
    assert str(place) in keys.ssh_config(place).read_text()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """A git server over http, by git's own program for that, and what it was shown: path and authorization."""
    seen: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._serve(b"")

        def do_POST(self) -> None:
            self._serve(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

        def _serve(self, body: bytes) -> None:
            path, _, query = self.path.partition("?")
            seen.append((path.split(".git")[0], self.headers.get("Authorization", "")))
            asked = {
                "GIT_PROJECT_ROOT": str(tmp_path),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "REMOTE_USER": "somebody",
                "PATH": os.environ["PATH"],
            }
            done = subprocess.run(["git", "http-backend"], env=asked, input=body, capture_output=True, check=False)
            head, _, answer = done.stdout.partition(b"\r\n\r\n")
            lines = [line.partition(b": ")[::2] for line in head.split(b"\r\n")]
            status = next((value for name, value in lines if name == b"Status"), b"200")
            self.send_response(int(status.split()[0]))
            for name, value in lines:
                if name != b"Status":
                    self.send_header(name.decode(), value.decode())
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """The tests look at what was seen."""

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    for name in ("example/shop.git", "example/front.git"):
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(tmp_path / name)], check=True)
    yield f"http://127.0.0.1:{listening.server_address[1]}", seen
    listening.shutdown()
    thread.join()
    listening.server_close()


def test_git_sends_each_token_to_its_own_repositories_and_never_in_an_argument(server, tmp_path, monkeypatch):
    url, seen = server
    given = {**RUN, "GITHUB_SERVER_URL": url, "WAKELINE_REPOSITORIES_TOKEN": "more-token"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    for name in ("shop", "front"):
        git.remote_refs(f"{url}/example/{name}.git", at=tmp_path)
    sent = {path: base64.b64decode(word.removeprefix("Basic ")).decode() for path, word in seen}
    assert sent == {"/example/shop": "x-access-token:own-token", "/example/front": "x-access-token:more-token"}
    elsewhere = f"http://localhost:{url.rpartition(':')[2]}/example/shop.git"
    seen.clear()
    git.remote_refs(elsewhere, at=tmp_path)
    assert {word for _, word in seen} == {""}
