"""A rollout as a board of one row a machine: what it is, what it is doing, since when. Pure: notices in, a board out.

Times are seconds of one clock that only goes forward; the caller says what it shows. Everything that machines, commits
and people wrote is cleaned where it comes in, so that nothing on the board can move a cursor.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from wakeline.cli.render import plain
from wakeline.driver.progress import Notice

TAIL = 5
WAITING, AWAKE, WORKING = "waiting", "awake", "working"
PASSED = frozenset({"ok", "unchanged"})
BAD = frozenset({"failed", "unknown", "refused"})
ENDED = frozenset({"ok", "unchanged", "failed", "unknown", "asleep", "withheld", "superseded"})


@dataclasses.dataclass(frozen=True)
class Row:
    """One machine. `word` is what it is, `doing` what it does since `since_s`; `tail` is what its step said last."""

    stage: str
    machine: str
    word: str = WAITING
    doing: str = ""
    since_s: float = 0.0
    took_s: float = 0.0
    tail: tuple[str, ...] = ()
    was: int = 0
    once: str = ""
    switching: bool = False
    ended: bool = False


@dataclasses.dataclass(frozen=True)
class Board:
    """The whole rollout. `note` is what holds it up before it begins, `stopping` why it ends early."""

    began_s: float = 0.0
    fleet: str = ""
    release: int = 0
    commit: str = ""
    back_to: int = 0
    rows: Mapping[str, Row] = dataclasses.field(default_factory=dict)
    note: str = ""
    stopping: str = ""


def hear(board: Board, notice: Notice, *, now_s: float) -> Board:
    """Take one notice. One that the board does not know changes nothing."""
    data: Any = notice.data
    if notice.kind == "release":
        return _begun(board, data, fleet=notice.text)
    if notice.kind == "stopping":
        return dataclasses.replace(board, stopping=plain(notice.text))
    if notice.kind == "sent":
        names = [name for name in data.get("machines", ()) if name in board.rows]
        changed = {name: _doing(board.rows[name], "the order is sent", now_s, word=WORKING) for name in names}
        return dataclasses.replace(board, rows={**board.rows, **changed})
    row = board.rows.get(notice.machine)
    if row is None:
        note = plain(notice.text) if notice.kind == "waiting" else board.note
        note = f"telling {plain(notice.text)}" if notice.kind == "telling" and notice.text else note
        return dataclasses.replace(board, note=note)
    if row.ended and notice.kind not in ("outcome", "woken", "caught_up"):
        return board
    handler = _HEARD.get(notice.kind)
    changed_row = handler(row, notice, now_s) if handler else row
    return dataclasses.replace(board, rows={**board.rows, row.machine: changed_row})


def how_it_stops(board: Board) -> list[str]:
    """What Ctrl-C does, machine by machine, in the words of the one who pressed it."""
    if not board.stopping:
        return []
    lines = [f"stopping ({board.stopping}): nothing new is started"]
    for row in board.rows.values():
        if row.ended or row.word != WORKING:
            continue
        if row.once:
            lines.append(f"{row.machine}: {row.once} runs on to its end: it is never cut short")
        elif row.switching:
            lines.append(f"{row.machine} carries its switch to the end")
        else:
            lines.append(f"{row.machine} stops before its switch, and keeps what it runs")
    return lines


def waits_for(board: Board, row: Row) -> str:
    """What a machine that has not begun waits for: a stage ahead of it, or its turn in its own."""
    for other in board.rows.values():
        if other.stage == row.stage:
            break
        if not other.ended:
            return f"waits for {other.stage}"
    return "waits its turn"


def _begun(board: Board, data: Mapping[str, Any], *, fleet: str) -> Board:
    rows = {name: Row(stage["name"], name) for stage in data["stages"] for name in stage["machines"]}
    return Board(board.began_s, plain(fleet), data["number"], data["commit"], data["rollback_to"], rows)


def _doing(row: Row, text: str, now_s: float, **changes: Any) -> Row:
    return dataclasses.replace(row, doing=plain(text).replace("\n", " "), since_s=now_s, **changes)


def _knocked(row: Row, notice: Notice, now_s: float) -> Row:
    word = str(notice.data.get("answer", ""))
    return _doing(row, notice.text, now_s, word=word if word in ("asleep", "refused") else AWAKE)


def _output(row: Row, notice: Notice, _now_s: float) -> Row:
    line = plain(str(notice.data.get("text", ""))).replace("\n", " ").strip()
    return dataclasses.replace(row, tail=(*row.tail, line)[-TAIL:]) if line else row


def _step_started(row: Row, notice: Notice, now_s: float) -> Row:
    return _doing(row, str(notice.data.get("step")), now_s, tail=())


def _step_finished(row: Row, notice: Notice, now_s: float) -> Row:
    step = notice.data.get("step")
    if not notice.data.get("ok"):
        return _doing(row, f"{step} failed", now_s)
    return _doing(row, f"{step} passed" if notice.data.get("ran") else f"{step}: unchanged, not run", now_s, tail=())


def _verified(row: Row, notice: Notice, now_s: float) -> Row:
    said = {"has": "the database has it", "lacks": "the database lacks it"}
    answer = str(notice.data.get("answer"))
    return _doing(row, f"{notice.data.get('step')}: {said.get(answer, 'verify ' + answer)}", now_s)


def _once_started(row: Row, notice: Notice, now_s: float) -> Row:
    step = plain(str(notice.data.get("step")))
    return _doing(row, f"{step}, once", now_s, once=step, tail=())


def _once_finished(row: Row, notice: Notice, now_s: float) -> Row:
    how = "passed" if notice.data.get("ok") else f"failed, exit {notice.data.get('exit')}"
    return _doing(row, f"{notice.data.get('step')} {how}", now_s, once="")


def _switched(row: Row, notice: Notice, now_s: float) -> Row:
    was, now = notice.data.get("was") or 0, notice.data.get("now")
    text = f"switched {was or 'to'} {'→ ' if was else ''}{now}; waits until it is well"
    return _doing(row, text, now_s, was=was if isinstance(was, int) else 0, switching=True, tail=())


def _switched_back(row: Row, notice: Notice, now_s: float) -> Row:
    to = notice.data.get("to")
    where = f"back to {to}" if to else "back"
    return _doing(row, f"switched {where}: {notice.data.get('cause')}", now_s, switching=True)


def _outcome(row: Row, notice: Notice, now_s: float) -> Row:
    data: Any = notice.data
    first, *rest = plain(str(data.get("cause") or "")).splitlines() or [""]
    word = str(data.get("outcome"))
    was, took_s = data.get("was") or row.was, float(data.get("seconds") or 0.0)
    tail = tuple(line for line in rest if line.strip())[-TAIL:] if word in BAD else ()
    return _doing(row, first, now_s, word=word, took_s=took_s, tail=tail, was=was, once="", switching=False, ended=True)


def _saying(words: Callable[[Mapping[str, Any]], str]) -> Callable[[Row, Notice, float], Row]:
    return lambda row, notice, now_s: _doing(row, words(notice.data), now_s)


_HEARD: dict[str, Callable[[Row, Notice, float], Row]] = {
    "knock": _saying(lambda _: "is there anybody?"),
    "knocked": _knocked,
    "waiting": lambda row, notice, now_s: _doing(row, notice.text or str(notice.data.get("text", "")), now_s),
    "hello": _saying(lambda _: "fetches the code"),
    "fetched": _saying(lambda _: "lays the release out"),
    "laid_out": _saying(lambda data: f"release {data.get('release')} laid out"),
    "step_started": _step_started,
    "step_finished": _step_finished,
    "output": _output,
    "verified": _verified,
    "claim_wanted": _saying(lambda data: f"{data.get('step')}: asks for the claim"),
    "claimed": _saying(lambda data: f"{data.get('step')}: claimed"),
    "once_started": _once_started,
    "once_finished": _once_finished,
    "switched": _switched,
    "healthy": _saying(lambda data: f"{data.get('service')} is well"),
    "confirmed": _saying(lambda _: "confirmed"),
    "switched_back": _switched_back,
    "outcome": _outcome,
    "woken": _saying(lambda _: "woke in the meantime: looks at the ledger"),
    "caught_up": lambda row, notice, now_s: _doing(row, notice.text, now_s),
}
