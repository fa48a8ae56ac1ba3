"""A machine that is a folder: what becomes of a command that is given up."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from wakeline.edges.transports.local import LocalConnection


@pytest.mark.parametrize("gives_up", ["by its limit", "by its caller"])
def test_a_command_that_is_given_up_is_ended_and_waited_for(tmp_path, gives_up):
    limit_s = 3.0 if gives_up == "by its limit" else 60.0
    pid = tmp_path / "pid"

    async def run() -> None:
        running = asyncio.create_task(
            LocalConnection(tmp_path).run("echo $$ >new && mv new pid && exec sleep 600", limit_s=limit_s)
        )
        while not pid.exists() and not running.done():
            await asyncio.sleep(0.01)
        if gives_up == "by its caller":
            running.cancel()
        with contextlib.suppress(asyncio.CancelledError, asyncio.TimeoutError):
            await running

    asyncio.run(run())
    assert not Path(f"/proc/{pid.read_text().strip()}").exists()
