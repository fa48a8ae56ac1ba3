"""`wakeline notify`: hears what sleepers have done since, and sends the messages that are due. For a timer, or now.

Also what every other verb uses that ends with telling: there it changes neither outcome nor exit code.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from wakeline.cli.render import hide
from wakeline.cli.result import Result
from wakeline.core.messages import Message
from wakeline.driver import notifying
from wakeline.driver.notifying import Told
from wakeline.driver.project import Project, open_project
from wakeline.errors import ExitCode, Usage, WakelineError


def run(folder: Path, *, test: bool = False, only_print: bool = False) -> Result:
    """Exit 1 where a message that is due was not taken: sending is all that this verb is for."""
    project = open_project(folder, reaches=True, hide=hide)
    if not project.file.receivers:
        raise Usage("nobody is to be told: there is no [[notify]] in wakeline.toml", hint="wakeline docs notify")
    if only_print:
        return _waiting(project)
    heard, told = asyncio.run(_test(project) if test else _tell(project))
    lines = [f"{name} has spoken since" for name in heard]
    lines += [f"{each.receiver}: {each.message.title}" for each in told if not each.problem]
    problems = [f"{each.receiver} was not told: {each.problem}" for each in told if each.problem]
    again = "mend it, and test it again" if test else "it is due again at the next `wakeline notify`"
    hint = next((each.hint for each in told if each.hint), "") or again
    data = {"heard": heard, "told": [_data(each) for each in told]}
    code = ExitCode.FAILED if problems else ExitCode.DONE
    lines = lines if problems else lines or ["nothing is due"]
    return Result("notify", data, lines, exit_code=code, error="\n".join(problems), hint=hint if problems else "")


def after(project: Project, *, current: int = 0, hear: bool = False) -> list[str]:
    """Tell what is due after something else was done. Returns warnings, and raises nothing that a user could see.

    `current` is the release of the rollout that has just ended. With `hear`, sleepers are asked first.
    """
    if not project.file.receivers:
        return []
    try:
        told = asyncio.run(_tell(project))[1] if hear else asyncio.run(notifying.tell_due(project, current=current))
    except WakelineError as error:
        return [f"nobody was told: {error.message}; wakeline notify tries again"]
    except KeyboardInterrupt:
        return ["interrupted while telling; wakeline notify tells what is left"]
    return [_warning(each) for each in told if each.problem]


async def _tell(project: Project) -> tuple[list[str], list[Told]]:
    heard = await notifying.hear_sleepers(project)
    return heard, await notifying.tell_due(project)


async def _test(project: Project) -> tuple[list[str], list[Told]]:
    receivers = project.file.receivers
    return [], list(await asyncio.gather(*(notifying.test_message(project, each) for each in receivers)))


def _waiting(project: Project) -> Result:
    found = asyncio.run(notifying.waiting(project))
    lines: list[str] = []
    for name, messages in found.items():
        for message in messages:
            lines += [f"{name}: {message.title}", *(f"    {line}" for line in message.text.splitlines())]
    data = {
        name: [{"title": m.title, "text": m.text, "events": sorted(m.events)} for m in found[name]] for name in found
    }
    return Result("notify", {"due": data}, lines=lines or ["nothing is due"])


def _data(told: Told) -> dict[str, object]:
    return {"receiver": told.receiver, "problem": told.problem, **_shown(told.message)}


def _shown(message: Message) -> dict[str, object]:
    return {"title": message.title, "text": message.text, "events": sorted(message.events)}


def _warning(told: Told) -> str:
    hint = f" ({told.hint})" if told.hint else ""
    return f"{told.receiver} was not told: {told.problem}{hint}; the next contact tries again, or: wakeline notify"
