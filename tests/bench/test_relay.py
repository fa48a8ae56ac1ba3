"""The link that the bench puts before a machine: what it holds back, and what it counts."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from bench.relay import Relay


@pytest.fixture
def relay() -> Iterator[Relay]:
    """A relay before a server that says every line back, and ends when the client does."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as lines:
                for line in lines:
                    connection.sendall(line)

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        made = Relay(listen="127.0.0.1", to=server.getsockname())
        yield made
        made.close()
        serving.join(10)


def test_every_byte_arrives_in_order_and_the_end_too(relay):
    sent = b"".join(b"%d\n" % number for number in range(20_000))
    with socket.create_connection(("127.0.0.1", relay.port), timeout=30) as client:
        threading.Thread(target=lambda: (client.sendall(sent), client.shutdown(socket.SHUT_WR)), daemon=True).start()
        heard = b"".join(iter(lambda: client.recv(65536), b""))
    assert heard == sent


def test_an_answer_takes_a_round_trip_at_least_and_each_that_was_waited_for_is_counted(relay):
    relay.round_trip_s = 0.05
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", relay.port), timeout=30) as client, client.makefile("rb") as heard:
        for word in (b"one\n", b"two\n", b"three\n"):
            client.sendall(word)
            assert heard.readline() == word
    assert time.monotonic() - began >= 3 * 0.05
    assert relay.turns == 2  # the first word was spoken unasked
