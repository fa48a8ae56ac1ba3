"""What is read from outside, each as a function of bytes. It returns, or it is a bug: a clear error is caught here.

Hypothesis and atheris both run these; they draw bytes, or JSON with the shape of the real thing and wrong values
in it.
"""

from __future__ import annotations

import asyncio
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wakeline.agent import wire
from wakeline.agent.environment import parse_env_file
from wakeline.agent.journal import Journal
from wakeline.cli.lines import Lines
from wakeline.core import carrying_out, check_in, once, rollout
from wakeline.core.fold import KINDS, fold
from wakeline.core.order import BadOrder, Order, Step, order_from_json
from wakeline.core.records import GENESIS, BadLog, Draft, chain, record_from_line, verify
from wakeline.core.state import State
from wakeline.driver.walking import Party, Walk
from wakeline.edges.agent_file import AgentFile
from wakeline.edges.transports import LINE_BYTES_MAX, Conversation, Lost
from wakeline.fleet import load
from wakeline.fleet.reading import FleetFileError

ORDER = Order(
    "shop", "uat", "uat", "web", 7, "c" * 40, "remote.git", "main", "/srv", steps=(Step("migrate", "x", once=True),)
)


def fleet_file(data: bytes) -> None:
    """wakeline.toml."""
    try:
        load(data.decode("utf-8", "replace"))
    except FleetFileError as error:
        assert error.problems


def record_line(data: bytes) -> None:
    """One line of the ledger, and a log of such lines."""
    text = data.decode("utf-8", "replace")
    try:
        record_from_line(text, position=1)
        verify(text.split("\n"))
    except BadLog as error:
        assert error.reason


def record_body(data: bytes) -> None:
    """A record that is chained well and says nonsense."""
    body = _object(data)
    kind = str(body.pop("kind", "")) or sorted(KINDS)[len(data) % len(KINDS)]
    made = {"release": 1, "commit": "c", "lead": "uat", "stages": [_STAGE]}
    drafts = [Draft("release-made", made), Draft(kind, {str(k): v for k, v in body.items() if k not in _HEADS})]
    records = chain(drafts, ids=["a", "b"], previous=GENESIS, at="", by="")
    try:
        fold(records)
    except BadLog as error:
        assert error.position in (1, 2)


_HEADS = ("version", "id", "previous", "kind", "at", "by")
_STAGE = {"name": "web", "gates": True, "machines": [{"name": "uat", "presence": "always"}]}


def order(data: bytes) -> None:
    """An order, on stdin of the agent or in an approval: what is read is of the types that the agent relies on."""
    for given in (_object(data), {**ORDER.to_json(), **_object(data)}):
        try:
            read = order_from_json(given)
        except BadOrder:
            continue
        assert order_from_json(json.loads(json.dumps(read.to_json()))) == read
        Path(read.path, *read.shared)


def journal(data: bytes) -> None:
    """The journal after a crash, a full disk or a bad disk: what can be read is read, and the next entry is written."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "journal.jsonl")
        place.write_bytes(data)
        opened = Journal(place, boot_id="b")
        carrying_out.attempts(opened.entries)
        carrying_out.cut_off(7, entries=opened.entries)
        carrying_out.switched_from(7, newest_first=opened.newest_first("switch"))
        opened.write("attempt", release=7)
        assert Journal(place, boot_id="b").entries[-1]["release"] == 7


def words(data: bytes) -> None:
    """What the agent hears on stdin, and what commands print."""
    wire._word(data)
    text = wire.clean(data)
    assert "\x1b" not in text
    assert len(text) <= wire.LINE_MAX


def events(data: bytes) -> None:
    """What a machine says, from its bytes to the rollout and the screen."""
    asyncio.run(_events(data))


def event(data: bytes) -> None:
    """One event of the agent's language with nonsense in it."""
    said = _object(data)
    kinds = ("hello", "verified", "claim_wanted", "once_finished", "finished", "outcome", "release", "step_finished")
    asyncio.run(_hear({"event": kinds[len(data) % len(kinds)], "step": "migrate", **said}))


async def _events(data: bytes) -> None:
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    reader.feed_data(data)
    reader.feed_eof()
    try:
        async for each in Conversation(reader, None, silence_s=1.0).events():
            await _hear(dict(each))
    except Lost as error:
        assert error.message


async def _hear(said: dict[str, Any]) -> None:
    begun = rollout.Rollout(7, (), "uat", {}, frozenset())
    party = Party({}, {"uat": ORDER}, lambda _: None, AgentFile(b"", ""))  # type: ignore[arg-type, return-value]
    walk = Walk(begun, party=party, holder=None, approve=lambda _, d: d, tell=_Shown())  # type: ignore[arg-type]
    walk._collect = _nowhere  # type: ignore[method-assign, assignment]
    if isinstance(said.get("event"), str):
        walk._hear(ORDER, said)
    for task in walk._tasks:
        task.cancel()


async def _nowhere(name: str, reports: Any) -> None:
    words = [(name, each) for each in reports] if isinstance(reports, list) else []
    check_in.settled(State(), words)


class _Shown(Lines):
    """Renders everything, and shows it nowhere."""

    def __init__(self) -> None:
        super().__init__(verbose=True)

    def __call__(self, notice: Any) -> None:
        from contextlib import redirect_stderr  # noqa: PLC0415 - beside its one use

        with redirect_stderr(io.StringIO()) as shown:
            super().__call__(notice)
        assert "\x1b" not in shown.getvalue()


def word_of_a_machine(data: bytes) -> None:
    """A check-in from the ledger, and a status answer."""
    body = _json(data)
    made = {"release": 1, "commit": "c", "lead": "uat", "stages": [_STAGE]}
    state = fold(chain([Draft("release-made", made)], ids=["a"], previous=GENESIS, at="", by=""))
    for each in (body, {"release": 1, "outcome": body}, {"release": body, "outcome": "ok"}):
        drafts = check_in.settled(state, [("uat", each)])
        fold(chain(drafts, ids=["b"], previous=GENESIS, at="", by=""), start=state)
    once.word_on("k", rows=body, busy=False)


def env_file(data: bytes) -> None:
    """A team's .env."""
    for name, value in parse_env_file(data.decode("utf-8", "replace")).items():
        assert isinstance(name, str)
        assert isinstance(value, str)


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data.decode("utf-8", "replace")


def _object(data: bytes) -> dict[str, Any]:
    found = _json(data)
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}


TARGETS: dict[str, Callable[[bytes], None]] = {
    each.__name__: each
    for each in (
        fleet_file,
        record_line,
        record_body,
        order,
        journal,
        words,
        events,
        event,
        word_of_a_machine,
        env_file,
    )
}
FIELDS = sorted(Order._fields)
