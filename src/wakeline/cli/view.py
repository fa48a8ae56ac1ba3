"""How a board is laid out on a screen of so many columns and lines. Pure; cli/live.py paints it.

Words carry the meaning and styles only repeat it. Where the screen is too low, what needs nobody's attention goes
together first: machines that passed, then those that wait, then sleepers. A machine that failed is never left out for
one that did not.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from wakeline.cli.board import AWAKE, BAD, PASSED, TAIL, WAITING, WORKING, Board, Row, how_it_stops, waits_for

NARROW = 64
MANY = 8  # from here on machines may share a line, whose name is how many they are
_STYLES = {"ok": "green", "unchanged": "green", "failed": "bold red", "refused": "red", "unknown": "yellow"}
_STYLES.update(asleep="dim", withheld="yellow", superseded="yellow", working="cyan")
_QUIET = frozenset({"asleep", "withheld", "superseded"})


@dataclasses.dataclass(frozen=True)
class Span:
    """Text in one style; styles are named as rich names them."""

    text: str
    style: str = ""


Line = tuple[Span, ...]


def view(board: Board, *, now_s: float, width: int, height: int) -> list[Line]:
    """The board in at most `height` lines. Lines may be longer than `width`: what is last in them may be cut off."""
    head = [_head(board, now_s), *((Span(board.note, "yellow"),) for _ in range(1) if board.note)]
    foot = [(Span(part, "yellow"),) for text in how_it_stops(board) for part in textwrap.wrap(text, max(20, width - 1))]
    room = max(1, height - len(head) - min(len(foot), max(1, height // 3)))
    body = _fitting(board, now_s, width=width, room=room)
    foot = foot[: max(0, height - len(head) - len(body))]
    return [*head, *body, *foot][:height]


def _head(board: Board, now_s: float) -> Line:
    took = clock(now_s - board.began_s)
    if not board.release:
        return (Span("looking at the ledger", "bold"), Span(f"  {took}", "dim"))
    back = f", back to what release {board.back_to} was" if board.back_to else ""
    text = f"{board.fleet}  release {board.release} ({board.commit[:10]}{back})"
    return (Span(text, "bold"), Span(f"  {took}", "dim"))


@dataclasses.dataclass(frozen=True)
class _Together:
    """Machines of one stage that share a line, because they share a word and need nobody."""

    stage: str
    word: str
    rows: tuple[Row, ...]


def _fitting(board: Board, now_s: float, *, width: int, room: int) -> list[Line]:
    """The least put together that fits; when nothing fits, the machines that need somebody, and how many are left."""
    tries: tuple[tuple[frozenset[str], int], ...] = (
        (frozenset(), TAIL),
        (frozenset(), 2),
        (PASSED, 2),
        (PASSED | {AWAKE, WAITING}, 2),
        (PASSED | _QUIET | {AWAKE, WAITING}, 2),
        (PASSED | _QUIET | {AWAKE, WAITING}, 0),
    )
    lines: list[Line] = []
    for together, tail in tries:
        items = list(_items(board, together))
        lines = _lines(board, items, now_s, width=width, tail=tail)
        if len(lines) <= room:
            return lines
    urgent = sorted(_items(board, tries[-1][0]), key=_urgency)
    kept = _lines(board, urgent[: max(0, room - 1)], now_s, width=width, tail=0)
    left = sum(len(each.rows) if isinstance(each, _Together) else 1 for each in urgent[max(0, room - 1) :])
    return [*kept, (Span(f"… and {left} more machines", "dim"),)]


def _urgency(item: Row | _Together) -> int:
    if item.word in BAD:
        return 0
    return 1 if item.word == WORKING else 2


def _items(board: Board, together: frozenset[str]) -> Iterator[Row | _Together]:
    """Row by row in the fleet's order; a group stands where its first machine would."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in board.rows.values():
        groups.setdefault((row.stage, row.word), []).append(row)
    for row in board.rows.values():
        group = groups[row.stage, row.word]
        if row.word not in together or len(group) == 1:
            yield row
        elif group[0] is row:
            yield _Together(row.stage, row.word, tuple(group))


def _lines(board: Board, items: Sequence[Row | _Together], now_s: float, *, width: int, tail: int) -> list[Line]:
    columns = _columns(board, width)
    lines: list[Line] = []
    for item in items:
        if isinstance(item, _Together):
            lines.append(_group_line(item, columns))
            continue
        lines.append(_row_line(board, item, now_s, columns))
        shown = item.tail[-tail:] if tail and (item.word in BAD or item.doing.endswith(" failed")) else ()
        lines += [(Span(f"{'':<{columns['machine'] + 2}}│ {text}", "dim"),) for text in shown]
    return lines


def _columns(board: Board, width: int) -> Mapping[str, int]:
    stage = max((len(row.stage) for row in board.rows.values()), default=0)
    machine = max((len(row.machine) for row in board.rows.values()), default=0)
    narrow = width < NARROW
    machine = max(machine, len("00 machines")) if len(board.rows) > MANY else machine
    return {"stage": 0 if narrow else min(stage, 14), "machine": min(machine, 12 if narrow else 20)}


def _row_line(board: Board, row: Row, now_s: float, columns: Mapping[str, int]) -> Line:
    style = _STYLES.get(row.word, "")
    whole = "dim" if row.word in _QUIET else ""
    return (
        *_names(row.stage, row.machine, columns, whole),
        Span(f"{row.word:<9}  ", style),
        Span(f"{_time(row, now_s):>6}  ", "dim"),
        Span(_what(board, row), whole or ("red" if row.word in BAD else "")),
    )


def _group_line(group: _Together, columns: Mapping[str, int]) -> Line:
    names = ", ".join(row.machine for row in group.rows)
    return (
        *_names(group.stage, f"{len(group.rows)} machines", columns, ""),
        Span(f"{group.word:<9}  ", _STYLES.get(group.word, "")),
        Span(f"{'':>6}  {names}", "dim"),
    )


def _names(stage: str, machine: str, columns: Mapping[str, int], style: str) -> Line:
    name = Span(f"{_cut(machine, max(columns['machine'], 2)):<{columns['machine']}}  ", style)
    if not columns["stage"]:
        return (name,)
    return (Span(f"{_cut(stage, columns['stage']):<{columns['stage']}}  ", "dim"), name)


def _what(board: Board, row: Row) -> str:
    if row.word in (AWAKE, WAITING):
        return waits_for(board, row) if row.word == AWAKE else row.doing
    if row.word in PASSED:
        return f"{row.was} → {board.release}" if row.was and row.was != board.release else row.doing
    last = f"  {row.tail[-1]}" if row.word == WORKING and row.tail else ""
    return f"{row.doing}{last}"


def _time(row: Row, now_s: float) -> str:
    if row.ended:
        return clock(row.took_s) if row.took_s else ""
    return clock(now_s - row.since_s) if row.word == WORKING else ""


def clock(seconds: float) -> str:
    """A length of time as short as it can be read: 8 s, 1:05, 2:03:09."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, left = divmod(whole, 60)
    return f"{minutes}:{left:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{left:02}"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
