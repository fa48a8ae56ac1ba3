"""A job's summary: what somebody sees who opens the run. Markdown for GitHub, pure.

The outcome stands first, then who is where, then what to do. Words of commits and machines are shown as they are and
never as markup: they could draw a table, a link or a picture that is not ours.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from wakeline.core.order import Outcome
from wakeline.github.report import Bar, MachineRow, Report

BYTES_MAX = 1024 * 1024  # of one step's summary; past it GitHub shows none at all
_CAUSE_MAX = 2000
_ROWS_MAX = 500
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|~@:])")
_SIGNS = {
    Outcome.OK: "✅",
    Outcome.UNCHANGED: "✅",
    Outcome.FAILED: "❌",
    Outcome.ASLEEP: "💤",
    Outcome.UNKNOWN: "❓",
    Outcome.WITHHELD: "✋",
    Outcome.SUPERSEDED: "⏩",
}


def render(report: Report) -> str:
    """The summary of a rollout that has ended, within GitHub's limit; what is least missed goes first."""
    if report.to_come:
        return f"✅ **{report.stage}** passed release {report.release} · next: {report.to_come[0]}\n\n"
    head, rows = [*_head(report), *_causes(report), *_next(report)], list(_table(report))
    rest = list(_asleep(report))
    for parts in (
        [head, rows, rest, list(_timeline(report)), list(_commits(report)), list(_once(report))],
        [head, rows, rest, list(_once(report))],
        [head, rest],
    ):
        text = "\n".join(line for part in parts for line in part) + "\n"
        if len(text.encode()) < BYTES_MAX:
            return text
    return f"## {_title(report)}\n"


def plain(text: str) -> str:
    """Somebody else's words on one line of Markdown, shown as they are."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return _SPECIAL.sub(r"\\\1", html.escape(line, quote=False))


def _head(report: Report) -> Iterator[str]:
    yield f"## {_title(report)}"
    yield ""
    what = f"release {report.release} of {report.app}, {_link(report, report.commit)}"
    if report.rollback_to:
        what += f", going back to release {report.rollback_to}"
    where = f" · <{report.url}>" if report.url else ""
    yield f"{what} · {report.environment}{where} · {_took(report)}"
    yield ""


def _title(report: Report) -> str:
    count = f"{len(report.passed)} of {len(report.machines)} machines"
    if report.ended == "interrupted":
        return f"⏹️ Cancelled: {count} on release {report.release}"
    if report.in_doubt:
        return f"❓ In doubt: {', '.join(report.in_doubt)}"
    if report.bad:
        return f"❌ Failed on {', '.join(row.name for row in report.bad)}: {count} on release {report.release}"
    if report.ended != "passed" or report.problems:
        return f"❌ Not passed: {count} on release {report.release}"
    if report.asleep:
        return f"💤 Deployed: {count} on release {report.release}, asleep: {_names(report.asleep)}"
    return f"✅ Deployed: {count} on release {report.release}"


def _names(rows: tuple[MachineRow, ...]) -> str:
    return ", ".join(row.name for row in rows)


def _took(report: Report) -> str:
    if not report.bars:
        return "0 s"
    seconds = max(bar.ended_s for bar in report.bars) - min(bar.began_s for bar in report.bars)
    return _time(max(seconds, sum(row.seconds for row in report.machines if row.seconds) and 0.1))


def _time(seconds: float) -> str:
    if seconds >= 60:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{seconds:.1f} s"


def _causes(report: Report) -> Iterator[str]:
    """The first cause of each machine that did not do it, as it said it."""
    for row in report.bad[:10]:
        first, _, rest = row.cause[:_CAUSE_MAX].partition("\n")
        yield f"**{row.name}**: {plain(first) or 'no cause was said'}"
        yield ""
        if rest.strip():
            yield f"<pre>{html.escape(_visible(rest.strip()))}</pre>"
            yield ""
    for problem in report.problems[:10]:
        yield f"- {plain(problem)}"
    if report.problems:
        yield ""


def _visible(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def _table(report: Report) -> Iterator[str]:
    yield "| machine | was | now | outcome | time |"
    yield "|---|--:|--:|---|--:|"
    for row in report.machines[:_ROWS_MAX]:
        now = "?" if row.now is None else f"**{row.now}**" if row.now == report.release else row.now or "·"
        time = _time(row.seconds) if row.seconds else "·"
        stage = "" if row.stage == row.name else f" ({row.stage})"
        yield f"| {row.name}{stage} | {row.was or '·'} | {now} | {_SIGNS[row.outcome]} {row.outcome.value} | {time} |"
    if len(report.machines) > _ROWS_MAX:
        yield f"| and {len(report.machines) - _ROWS_MAX} more | | | | |"
    yield ""


def _asleep(report: Report) -> Iterator[str]:
    """A promise for each sleeper: what will happen, and until when that is no error."""
    if report.asleep:
        yield "### Asleep"
        yield ""
        for row in report.asleep[:_ROWS_MAX]:
            why = f" ({plain(row.cause.splitlines()[0])})" if row.cause else ""
            yield f"- **{row.name}**: {row.promise}{why}"
        yield ""


def _next(report: Report) -> Iterator[str]:
    """What somebody who looks at this page can do from here."""
    said = plain(report.hint)
    if report.ended == "interrupted":
        said = "re\\-run this job: it carries on"
    elif report.bad and not report.in_doubt:
        said = "fix it and push; or re\\-run this job, which tries this commit again; "
        said += "or *Run workflow* with `rollback_to` 0, which goes back to the last good release"
    if said:
        yield f"> **Next:** {said}"
        yield ""


def _timeline(report: Report) -> Iterator[str]:
    """A gantt chart: a section a machine. Only names of ours are in it, which have no character of Mermaid's."""
    if not report.bars:
        return
    yield "```mermaid"
    yield "gantt"
    yield "    dateFormat x"
    yield "    axisFormat %H:%M:%S"
    yield f"    tickInterval {_tick(report.bars)}"
    for row in report.machines[:50]:
        bars = [bar for bar in report.bars if bar.machine == row.name]
        if bars:
            yield f"    section {row.name}"
            yield from (f"    {_bar(bar)}" for bar in bars[:30])
    yield "```"
    yield ""


def _tick(bars: tuple[Bar, ...]) -> str:
    """A distance between marks that leaves room for their words: at most eight of them."""
    seconds = max(bar.ended_s for bar in bars) - min(bar.began_s for bar in bars)
    each = next((each for each in (1, 5, 15, 30, 60, 300, 900) if seconds / each <= 8), 3600)
    return f"{each}second" if each < 60 else f"{each // 60}minute"


def _bar(bar: Bar) -> str:
    began, ended = int(bar.began_s * 1000), int(bar.ended_s * 1000)
    return f"{bar.label} :{bar.kind}, {began}, {max(ended, began + 100)}"


def _commits(report: Report) -> Iterator[str]:
    if not report.commits:
        return
    if report.rollback_to:
        yield f"### Taken back: {_counted(report)}"
    else:
        since = f" since release {report.since}" if report.since else ""
        yield f"### {_counted(report)}{since}"
    yield ""
    for commit in report.commits:
        yield f"- {_link(report, commit.id)} {plain(commit.subject)} · {plain(commit.author)}"
    yield ""


def _counted(report: Report) -> str:
    count = len(report.commits)
    return f"{count}{'+' if report.more_commits else ''} commit{'' if count == 1 else 's'}"


def _link(report: Report, commit: str) -> str:
    short = f"`{commit[:7]}`"
    return f"[{short}]({report.repository}/commit/{commit})" if report.repository else short


def _once(report: Report) -> Iterator[str]:
    if not report.once:
        return
    yield "### Once-steps"
    yield ""
    yield "| step | on | | receipt | at (UTC) |"
    yield "|---|---|---|---|---|"
    for row in report.once:
        claim = f"`{row.claim}`" if row.claim else "·"
        yield f"| {row.step} | {row.machine} | {plain(row.how)} | {claim} | {row.at[11:19] or '·'} |"
    yield ""


def refused(message: str, hint: str) -> str:
    """The summary where nothing was begun: why, and what to do."""
    first, _, rest = message[:_CAUSE_MAX].partition("\n")
    lines = [f"## 🚫 {plain(first)}", ""]
    lines += [f"<pre>{html.escape(_visible(rest))}</pre>", ""] if rest.strip() else []
    lines += [f"> **Next:** {plain(hint)}", ""] if hint else []
    return "\n".join(lines) + "\n"
