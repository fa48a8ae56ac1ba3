"""The job of the bench: what the application is, and that a wrong deploy is noticed whichever tool did it."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.job import FILES, KEEP, Application, Wrong, check
from bench.machines import folder_of


@pytest.fixture
def application(tmp_path: Path) -> Application:
    made = Application(tmp_path / "checkout", remotes=tmp_path, url_of="git://nowhere/{}".format)
    made.fill()
    return made


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """A folder that serves like a machine: what its VERSION says."""
    root = tmp_path / "machine"
    (root / "opt/tool/releases").mkdir(parents=True)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(made.says.encode())

        def log_message(self, *words: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        made = SimpleNamespace(name="m", root=root, address="127.0.0.1", port=server.server_port, says="")
        yield made
        server.shutdown()
        serving.join()


def lay_out(machine: SimpleNamespace, contents: dict[str, bytes], *, name: str) -> Path:
    folder = machine.root / "opt/tool/releases" / name
    for path, data in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    current = machine.root / "opt/tool/current"
    current.unlink(missing_ok=True)
    current.symlink_to(f"/opt/tool/releases/{name}")
    return folder


def test_the_application_has_201_files_and_about_2_2_megabytes(application):
    application.commit()
    contents = application.contents()
    assert len(contents) == FILES == 201
    assert 2_100_000 < sum(map(len, contents.values())) < 2_300_000


def test_a_code_only_change_is_the_version_and_a_few_files(application):
    application.commit()
    before = application.contents()
    second = application.commit()
    after = application.contents()
    changed = {name for name in after if after[name] != before[name]}
    assert len(changed) == 4
    assert after["VERSION"].decode().strip() == second.version


def test_the_right_version_with_the_right_files_passes_and_links_stay_inside_the_machine(application, machine):
    commit, contents = application.commit(), application.contents()
    folder = lay_out(machine, contents, name="1")
    machine.says = commit.version
    assert folder_of(machine, "/opt/tool/current") == folder
    check(machine, tool="tool", port=machine.port, commit=commit, contents=contents)


@pytest.mark.parametrize("wrong", ["version", "file", "missing", "releases"])
def test_a_wrong_deploy_is_noticed(application, machine, wrong):
    commit, contents = application.commit(), application.contents()
    folder = lay_out(machine, contents, name="1")
    machine.says = "version-0" if wrong == "version" else commit.version
    if wrong == "file":
        (folder / "server.py").write_text("print('another')\n")
    if wrong == "missing":
        (folder / "server.py").unlink()
    if wrong == "releases":
        for number in range(KEEP):
            (folder.parent / f"old{number}").mkdir()
    with pytest.raises(Wrong, match="tool on m"):
        check(machine, tool="tool", port=machine.port, commit=commit, contents=contents)
