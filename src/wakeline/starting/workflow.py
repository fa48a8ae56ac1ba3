"""Reads, in the text of a GitHub workflow, whom it deploys to over ssh and what it runs there. Pure.

No YAML library: what is wanted stands in shell lines and in three keys of one well-known action, and a file that a
parser would refuse is still worth a look.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from wakeline.starting.facts import Address, Workflow

_JOB_STEP = re.compile(r"(?m)^\s*- (?=\w+:)")
_EXPRESSION = re.compile(r"\$\{\{\s*([\w.-]+)\s*\}\}")
_SSH = re.compile(r"""(?<![\w/.-])ssh\s+(?P<options>-[^\n;&|]*?\s)?["']?(?P<to>[\w.${}-]+@[\w.${}-]+)""")
_PORT = re.compile(r"-p\s*(\d{1,5})\b")
_KEY = r"(?m)^\s*{}:[ \t]*[\"']?([^\"'\n#]+)"
_KEY_IN_BRACES = r"[{{,]\s*{}:[ \t]*(?:[\"']([^\"'\n]+)[\"']|([^\"'\n#,}}]+))"
_ENVIRONMENT = re.compile(
    r"(?m)^\s+environment:[ \t]*(?:\n\s+name:[ \t]*)?[\"']?([A-Za-z0-9][\w-]*)[\"']?[ \t]*(?:#.*)?$"
)
_CALL = re.compile(r"(?P<script>[\w./-]+\.sh)(?P<words>(?:[ \t]+[\w./=-]+)*)")


def read(file: str, text: str, *, scripts: Iterable[str]) -> Workflow:
    """What a workflow says. Without addresses it is none that deploys over ssh."""
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    text = _EXPRESSION.sub(r"${\1}", re.sub(r"\\\n\s*", " ", kept))
    found: dict[str, Address] = {}
    for part in _JOB_STEP.split(text):
        may_fail = bool(re.search(r"continue-on-error:\s*true", part))
        for to in [*_by_ssh(part), *_by_action(part)]:
            found.setdefault(to, _address(to, may_fail=may_fail))
    return Workflow(file, _environment(text), tuple(found.values()), tuple(_calls(text, tuple(scripts))))


def _environment(text: str) -> str:
    """The one environment of GitHub's whose secrets the jobs use; nothing for several, or one that is computed."""
    found = set(_ENVIRONMENT.findall(text))
    return found.pop() if len(found) == 1 else ""


def _by_ssh(part: str) -> Iterator[str]:
    for call in _SSH.finditer(part):
        port = _PORT.search(call["options"] or "")
        if not call["to"].startswith("git@"):
            yield call["to"] + (f":{port[1]}" if port else "")


def _by_action(part: str) -> Iterator[str]:
    """appleboy/ssh-action names user, host and port as keys; several hosts stand in one line."""
    if "appleboy/ssh-action" not in part:
        return
    user, hosts, port = (_value(part, key) for key in ("username", "host", "port"))
    for host in filter(None, (each.strip() for each in hosts.split(","))):
        yield f"{user or 'deploy'}@{host}" + (f":{port}" if port.isdigit() and port != "22" else "")


def _value(part: str, key: str) -> str:
    found = re.search(_KEY.format(key), part) or re.search(_KEY_IN_BRACES.format(key), part)
    return next(filter(None, found.groups())).strip() if found else ""


def _address(to: str, *, may_fail: bool) -> Address:
    user, _, host = to.rpartition("@")
    variable = next((each for each in (host, user) if "$" in each), "")
    return Address(to, behind=variable, may_fail=may_fail)


def _calls(text: str, scripts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The scripts of this repository that it runs, with their words."""
    for call in _CALL.finditer(text):
        name = call["script"].rpartition("/")[2]
        for script in scripts:
            if script.rpartition("/")[2] == name:
                yield (script, *call["words"].split())
                break
