"""The agent's two ends: events to the runner as JSON lines, and the runner's words back.

Laws that live here:

- An accepted order is carried to its end, connection or not: an end that is gone, or one that has stopped reading,
  never blocks or ends the run. Only a `stop` (or SIGTERM) asks it to end early.
- Text from commands is cleaned before it leaves: no terminal escapes, no control characters, lines of a bounded length,
  and of one order at most `OUTPUT_BYTES` of it. A step's log has more of it.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import queue
import re
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

LINE_MAX = 4096
_WORD_MAX = 64 * 1024 * 1024
OUTPUT_BYTES = 64 * 1024 * 1024
_WAITING_BYTES = 4 * 1024 * 1024
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|[\]PX^_].*?(?:\x07|\x1b\\|$)"  # OSC and friends: titles, links
    r"|[ -/]*[0-~])"  # everything else that has two or three characters
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def clean(raw: bytes, *, limit: int = LINE_MAX) -> str:
    """One line of output as text that is safe to show: decoded with replacement, escapes out, cut at `limit`."""
    text = _ESCAPES.sub("", raw.decode("utf-8", "replace"))
    text = text.rstrip("\r\n").rsplit("\r", 1)[-1]
    return _CONTROLS.sub("", text)[:limit]


class Channel:
    """Speaks with whoever sent the order. `writer` None is nobody: a catch-up, whose story is in the journal."""

    def __init__(self, reader: BinaryIO | None, writer: BinaryIO | None) -> None:
        self.stopping = ""
        self.contact_lost = reader is None
        self.dropped = 0
        self._is_needed = False
        self._words: queue.Queue[Mapping[str, Any] | None] = queue.Queue()
        self._answers: dict[str, Mapping[str, Any]] = {}
        self._answered = threading.Condition()
        self._waiting: collections.deque[bytes] = collections.deque()
        self._waiting_bytes = 0
        self._output_bytes = 0
        self._changed = threading.Condition()
        self._busy = False
        self._broken = writer is None
        self.wake_fd, self._wake_end = os.pipe()
        os.set_blocking(self._wake_end, False)
        if reader is not None:
            threading.Thread(target=self._listen, args=(reader,), daemon=True).start()
        if writer is not None:
            threading.Thread(target=self._speak, args=(writer,), daemon=True).start()

    def send(self, event: str, **fields: Any) -> None:
        """Queue one event. Never blocks; when nobody reads, output lines are dropped and counted, other events kept."""
        if self._broken:
            return
        line = json.dumps({"event": event, **fields}, ensure_ascii=True).encode() + b"\n"
        with self._changed:
            if event == "output":
                if self._waiting_bytes + len(line) > _WAITING_BYTES or self._output_bytes + len(line) > OUTPUT_BYTES:
                    self.dropped += 1
                    return
                self._output_bytes += len(line)
            self._waiting.append(line)
            self._waiting_bytes += len(line)
            self._changed.notify_all()

    def next_word(self, *, timeout_s: float) -> Mapping[str, Any] | None:
        """The runner's next word, or None when there is none in time, the contact is lost, or a stop was asked for."""
        ends = time.monotonic() + timeout_s
        while not self.stopping:
            try:
                return self._words.get(timeout=max(0.0, min(0.25, ends - time.monotonic())))
            except queue.Empty:
                if time.monotonic() >= ends or self.contact_lost:
                    return None
        return None

    def ask(self, stamp: str, *, timeout_s: float) -> Mapping[str, Any]:
        """What the runner says of a ledger that stands at `stamp`; empty where no answer comes in time, or at all."""
        with self._answered:
            self._answers[stamp] = {}
            self.send("ledger_at", stamp=stamp)
            self._answered.wait_for(lambda: self._answers[stamp] or self.contact_lost, timeout=timeout_s)
            return self._answers.pop(stamp)

    def stop(self, why: str) -> None:
        """Ask the run to end early. Safe in a signal handler: no lock is taken."""
        self.stopping = self.stopping or why
        with contextlib.suppress(BlockingIOError):  # the pipe is full: it is readable already, which is all we want
            os.write(self._wake_end, b"!")

    @contextlib.contextmanager
    def needed(self) -> Iterator[None]:
        """As long as this lasts, the end of the contact asks for an early end as well: no order was accepted yet."""
        self._is_needed = True
        try:
            if self.contact_lost:
                self.stop("the contact was lost")
            yield
        finally:
            self._is_needed = False

    def drain(self, *, timeout_s: float) -> None:
        """Wait until everything that was said has been handed over, within a limit."""
        with self._changed:
            self._changed.wait_for(lambda: self._broken or not (self._waiting or self._busy), timeout=timeout_s)

    def _listen(self, reader: BinaryIO) -> None:
        for line in _lines(reader.fileno()):
            word = _word(line)
            if word.get("do") == "stop":
                self.stop(str(word.get("why") or "the runner asked to stop"))
            if word.get("do") == "stands":
                self._hear_answer(word)
            else:
                self._words.put(word)
        self.contact_lost = True
        with self._answered:
            self._answered.notify_all()
        if self._is_needed:
            self.stop("the contact was lost")
        self._words.put(None)

    def _hear_answer(self, word: Mapping[str, Any]) -> None:
        stamp = str(word.get("stamp"))
        with self._answered:
            if stamp in self._answers:  # one that nobody waits for any more is of no use
                self._answers[stamp] = word
                self._answered.notify_all()

    def _speak(self, writer: BinaryIO) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting))
                lines = list(self._waiting)
                self._waiting.clear()
                self._waiting_bytes = 0
                self._busy = True
            try:
                _write_all(writer.fileno(), b"".join(lines))
            except (OSError, ValueError):
                self._broken = True
            with self._changed:
                self._busy = False
                if self._broken:
                    self._waiting.clear()
                    self._waiting_bytes = 0
                self._changed.notify_all()
            if self._broken:
                return


def _lines(fd: int) -> Iterator[bytes]:
    """Lines from a descriptor, without a buffered reader: Python ends with a fatal error when a daemon thread holds
    that reader's lock at exit.
    """
    rest = bytearray()
    while len(rest) <= _WORD_MAX:
        try:
            data = os.read(fd, 1 << 16)
        except OSError:
            return
        if not data:
            yield from [bytes(rest)] if rest else []
            return
        rest += data
        if b"\n" in data:
            *whole, last = bytes(rest).split(b"\n")
            yield from whole
            rest = bytearray(last)


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest[: 1 << 16]) :]


def _word(line: bytes) -> Mapping[str, Any]:
    """A word of the runner's; what is not one becomes a word that nobody acts on, with the reason."""
    try:
        word = json.loads(line)
    except (ValueError, RecursionError) as error:
        return {"do": "", "problem": f"not JSON: {error}"}
    return word if isinstance(word, dict) else {"do": "", "problem": f"not an object but {type(word).__name__}"}
