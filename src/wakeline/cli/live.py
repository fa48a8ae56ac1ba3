"""Paints the board on a terminal, four times a second, until the rollout has ended.

The frame is painted over itself, line by line, so that it does not flicker. After a change of the window's size the
screen is cleared: terminals wrap what stands there, at once or a moment later (seen in tmux: the program hears of it
after that), so where the last frame begins cannot be counted. The cursor is never hidden: a process that is killed
leaves a terminal that works.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from rich.console import Console, ConsoleDimensions
from rich.text import Text

from wakeline.cli import board as boards
from wakeline.cli.board import Board
from wakeline.cli.view import Line, view
from wakeline.driver.progress import Notice, Tell

_BEAT_S = 0.25


@contextlib.contextmanager
def live(console: Console, *, leave: bool) -> Iterator[Tell]:
    """Show what is told as long as the block runs. With `leave`, and after an error, the last frame stays."""
    screen = _Screen(console)
    board = Board(began_s=time.monotonic())
    ended, lock = threading.Event(), threading.Lock()

    def tell(notice: Notice) -> None:
        nonlocal board
        with lock:
            board = boards.hear(board, notice, now_s=time.monotonic())

    def paint() -> None:
        with lock:
            seen = board
        screen.paint(seen, now_s=time.monotonic())

    def beat() -> None:
        while not ended.wait(_BEAT_S):
            paint()

    painter = threading.Thread(target=beat, daemon=True)
    painter.start()
    finished = False
    try:
        yield tell
        finished = True
    finally:
        ended.set()
        painter.join()
        if finished and not leave:
            screen.wipe()
        else:
            paint()


class _Screen:
    """What was painted last, and where."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lines = 0
        self._size = console.size

    def paint(self, board: Board, *, now_s: float) -> None:
        """One frame in one write."""
        size = self._console.size
        lines = view(board, now_s=now_s, width=size.width, height=max(1, size.height - 1))
        texts = [_text(line, width=size.width - 1) for line in lines]
        painted = "".join(f"{self._painted(text)}\x1b[K\n" for text in texts)
        self._write(f"{self._to_the_top(size)}{painted}\x1b[J")
        self._lines, self._size = len(texts), size

    def wipe(self) -> None:
        """Take the last frame away."""
        self._write(f"{self._to_the_top(self._console.size)}\x1b[J")
        self._lines = 0

    def _to_the_top(self, size: ConsoleDimensions) -> str:
        """To where the last frame began; after a change of size, to the top of a screen that is clear."""
        if size != self._size:
            return "\x1b[2J\x1b[H"
        return "\r" + (f"\x1b[{self._lines}A" if self._lines else "")

    def _painted(self, text: Text) -> str:
        with self._console.capture() as captured:
            self._console.print(text, end="", soft_wrap=True)
        return captured.get()

    def _write(self, text: str) -> None:
        self._console.file.write(text)
        self._console.file.flush()


def _text(line: Line, *, width: int) -> Text:
    text = Text()
    for span in line:
        text.append(span.text, span.style or None)
    text.truncate(max(1, width), overflow="ellipsis")
    return text
