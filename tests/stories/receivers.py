"""Real services on loopback: an SMTP server, and HTTP receivers that take, refuse, hang, or are back later."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message


class Http:
    """One HTTP server: what it was sent, and how it answers. `hangs` keeps a request open until the server ends."""

    def __init__(self, *, port: int = 0, answer: int = 200, hangs: bool = False, tls: Any = None) -> None:
        self.taken: list[dict[str, Any]] = []
        self.asked = 0
        self.answer = answer
        self._ended = threading.Event()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.asked += 1
                if hangs:
                    receiver._ended.wait(60)
                    return
                if receiver.answer == 200:
                    receiver.taken.append(json.loads(body))
                self.send_response(receiver.answer)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_words: object) -> None:
                """Silent: the tests look at what was taken."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def http_receiver(**how: Any) -> Iterator[Http]:
    receiver = Http(**how)
    try:
        yield receiver
    finally:
        receiver.close()


class Smtp:
    """Takes mail, and keeps it."""

    def __init__(self) -> None:
        mails: list[EmailMessage] = []

        class Keep(Message):
            def handle_message(self, message: Any) -> None:
                mails.append(message)

        self.mails = mails
        self.port = free_port()
        self.controller = Controller(Keep(), hostname="127.0.0.1", port=self.port)


@contextlib.contextmanager
def smtp_receiver() -> Iterator[Smtp]:
    server = Smtp()
    server.controller.start()
    try:
        yield server
    finally:
        server.controller.stop()


def free_port() -> int:
    """A port of loopback that nobody had a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
