"""A link of a chosen round trip: a TCP relay that holds every byte back, and counts who waited for whom how often."""

from __future__ import annotations

import asyncio
import contextlib
import threading

_CHUNK = 65536


class Relay:
    """Listens on one address and passes on to another, in a thread of its own.

    `turns` counts how often the client spoke after it had heard something: the round trips that it waited for, without
    the one that a TCP handshake takes, which a relay cannot hold back.
    """

    def __init__(self, *, listen: str, to: tuple[str, int]) -> None:
        self.round_trip_s = 0.0
        self.turns = 0
        self._to = to
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        starting = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, listen, 0), self._loop)
        self._server = starting.result(10)
        self.port: int = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        while left := asyncio.all_tasks() - {asyncio.current_task()}:  # what ends may wait for others of them
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(*self._to)
        except BaseException:
            writer.close()
            raise
        heard = [False]

        def spoke() -> None:
            self.turns += heard[0]
            heard[0] = False

        def listened() -> None:
            heard[0] = True

        try:
            with contextlib.suppress(asyncio.CancelledError):  # the relay is closed; asyncio would print a trace of it
                await asyncio.gather(self._pass_on(reader, back, spoke), self._pass_on(there, writer, listened))
        finally:
            back.close()
            writer.close()

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, seen: object) -> None:
        """Half a round trip later, in order. The end of a stream is passed on as well."""
        assert callable(seen)
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        writing = asyncio.create_task(self._write(waiting, target))
        with contextlib.suppress(OSError):
            while data := await source.read(_CHUNK):
                seen()
                waiting.put_nowait((self._loop.time() + self.round_trip_s / 2, data))
        waiting.put_nowait((self._loop.time() + self.round_trip_s / 2, b""))
        await writing

    async def _write(self, waiting: asyncio.Queue[tuple[float, bytes]], target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while True:
                due, data = await waiting.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                if not data:
                    break
                target.write(data)
            target.write_eof()  # the other way may still have something to say
