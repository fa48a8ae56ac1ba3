"""Health names the release: whoever else answers 200 in its place is not taken for it."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from one_machine import service

from wakeline.agent import health
from wakeline.core.order import Health


@contextlib.contextmanager
def answering(page: Path) -> Iterator[int]:
    """A server that answers 200 with what stands in a file now; yields its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(page.read_bytes())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def web(port: int, restart: str, *, contains: str):
    health = Health(http=f"http://127.0.0.1:{port}/", contains=contains, within_s=0.5)
    return service("web", restart=restart, health=health)


def test_an_old_process_that_still_answers_200_is_not_taken_for_the_new_release(box):
    page = box.root / "page"
    page.write_text("")
    says = f"echo release $WAKELINE_RELEASE, >{page}"
    with answering(page) as port:
        good = web(port, says, contains="release {release},")
        assert box.run(box.order(1, box.commit("one"), services=(good,))).events[-1]["outcome"] == "ok"
        deaf = web(port, f'test "$WAKELINE_RELEASE" = 2 || {says}', contains="release {release},")
        talk = box.run(box.order(2, box.commit("two"), services=(deaf,)))
    last = talk.events[-1]
    assert (last["outcome"], box.current()) == ("failed", 1)
    assert "answered 200, without 'release 2,': another release may be answering" in last["cause"]
    assert talk.of("switched_back")[0]["to"] == 1


def test_the_commit_may_be_what_only_the_new_release_says(box):
    page = box.root / "page"
    commit = box.commit("one")
    with answering(page) as port:
        one = web(port, f"echo $WAKELINE_COMMIT >{page}", contains="{commit}")
        assert box.run(box.order(1, commit, services=(one,))).events[-1]["outcome"] == "ok"
    assert page.read_text().strip() == commit


class Waits:
    """A clock that only sleeping moves, and a service that is there after a while."""

    def __init__(self, *, ready_s: float) -> None:
        self.now_s = 0.0
        self.looks: list[float] = []
        self._ready_s = ready_s

    def look(self) -> str:
        self.looks.append(self.now_s)
        return "" if self.now_s >= self._ready_s else "not yet"

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.mark.parametrize(("ready_s", "again_s"), [(0.0, 0.02), (0.05, 0.02), (1.0, 0.1), (30.0, 0.25)])
def test_the_longer_a_service_was_in_coming_the_later_it_is_looked_at_again(ready_s, again_s):
    waits = Waits(ready_s=ready_s)
    assert health.poll(waits.look, within_s=60, clock=lambda: waits.now_s, sleep=waits.sleep) == ""
    first, second = waits.looks[-2:]
    assert first >= ready_s
    assert second - first == pytest.approx(again_s, rel=0.2)


def test_what_goes_wrong_on_the_way_back_is_shown_beside_why_it_went_back(box):
    good = service("web", restart="test ! -e ../../broken")
    assert box.run(box.order(1, box.commit("one"), services=(good,))).events[-1]["outcome"] == "ok"
    web = service("web", restart="touch ../../broken; exit 4")
    worker = service("worker", restart="test ! -e ../../broken || exit 5")
    last = box.run(box.order(2, box.commit("two"), services=(web, worker))).events[-1]
    assert (last["outcome"], box.current()) == ("failed", 1)
    why, _, on_the_way = last["cause"].partition("\nback on release 1, but: ")
    assert ("exit 4" in why, "exit 5" in why, "exit 5" in on_the_way) == (True, False, True), last["cause"]


PLAIN_FIRST = """
import json, sys
from wakeline.agent import health
plain, tls = sys.argv[1:]
said = [health.ask(plain, contains="ready")]
lacks = [name for name in ("ssl", "stringprep") if name not in sys.modules]
said += [health.ask(tls, contains="ready"), health.ask(plain, contains="ready")]
print(json.dumps([said, lacks, "ssl" in sys.modules]))
"""


def test_an_http_address_costs_no_tls_and_an_https_address_after_it_has_all_of_it(tmp_path):
    page = tmp_path / "page"
    page.write_text("ready")
    with answering(page) as port:
        urls = (f"http://localhost:{port}/", f"https://localhost:{port}/")
        done = subprocess.run([sys.executable, "-c", PLAIN_FIRST, *urls], capture_output=True, text=True, check=True)
    (first, over_tls, again), lacks, has = json.loads(done.stdout)
    assert (first, again, lacks, has) == ("", "", ["ssl", "stringprep"], True)
    assert "SSLError" in over_tls  # nobody speaks it there


@pytest.mark.parametrize(
    ("host", "given"), [("localhost", b"localhost"), ("::1", b"::1"), ("bücher.test", "bücher.test")]
)
def test_a_name_that_is_not_ascii_is_left_to_whoever_knows_the_alphabets(monkeypatch, host, given):
    asked = []

    def create_connection(address: tuple, timeout_s: float) -> None:
        asked.append((address, timeout_s))
        raise OSError("nobody there")

    monkeypatch.setattr(socket, "create_connection", create_connection)
    url = f"http://{f'[{host}]' if ':' in host else host}:81/"
    assert health.ask(url, contains="", timeout_s=2.0) == f"{url}: OSError: nobody there"
    assert asked == [((given, 81), 2.0)]
