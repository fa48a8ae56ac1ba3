"""What an agent says on one SSH channel, held in bounded memory however fast it speaks.

Seen with asyncssh 2.24: its own streams open the whole window again with each packet that is taken from a paused
channel, while megabytes of others still wait there; a machine that speaks faster than it is heard filled the runner's
memory (128 MiB said, 780 MiB held). Here the reader pauses a channel that has brought twice `LINE_BYTES_MAX`, and lets
it go on at once that much, with a window of no more: what had waited fits in as a whole, and only then is the window
open again.
"""

from __future__ import annotations

import asyncio
from typing import Any

from wakeline.edges.transports import LINE_BYTES_MAX

WINDOW_BYTES = LINE_BYTES_MAX


class Spoken:
    """A session as asyncssh asks for one: lines from stdout by `reader`, and a writer for a conversation.

    What comes on stderr is nobody's word, and is not kept.
    """

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
        self.channel: Any = None
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._is_gone = False

    # --- what asyncssh calls ---

    def connection_made(self, channel: Any) -> None:
        """Its channel is open; the reader pauses it, and lets it go on."""
        self.channel = channel
        self.reader.set_transport(channel)

    def session_started(self) -> None:
        """Its command was taken."""

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Stdout has no type (RFC 4254, 5.2)."""
        if datatype is None:
            self.reader.feed_data(data)

    def eof_received(self) -> bool:
        """Nothing comes any more; we may still write."""
        self.reader.feed_eof()
        return True

    def exit_status_received(self, status: int) -> None:
        """The channel keeps it."""

    def exit_signal_received(self, signal: str, core_dumped: bool, message: str, language: str) -> None:
        """The channel keeps it."""

    def xon_xoff_requested(self, client_do: bool) -> None:
        """For terminals."""

    def pause_writing(self) -> None:
        """There is no room for more words."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """There is room again."""
        self._may_write.set()

    def connection_lost(self, error: Exception | None) -> None:
        """The channel is closed: in good order, or by what is said here."""
        self._is_gone = True
        self._may_write.set()
        if error is None:
            self.reader.feed_eof()
        else:
            self.reader.set_exception(error)

    # --- what a conversation calls ---

    def write(self, data: bytes) -> None:
        """Raises OSError when the channel is closed."""
        self.channel.write(data)

    def write_eof(self) -> None:
        """Nothing more will be said."""
        self.channel.write_eof()

    async def drain(self) -> None:
        """Wait until there is room. Raises BrokenPipeError when nobody listens any more."""
        await self._may_write.wait()
        if self._is_gone:
            raise BrokenPipeError("the channel is closed")
