"""Sends messages, through apprise: Slack, e-mail, Teams, webhooks, whatever it knows.

An address is a secret. It is found where the fleet file says, goes to a process of its own on stdin, and is nowhere
else: not in an argv, not in a log, not in an error. That process is why a service that hangs costs its time limit and
no more. Libraries log addresses (seen: urllib3 warns with the path of a webhook, apprise with whole URLs), so what
they say is thrown away but for one of a few words of ours.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import shlex
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from wakeline.edges import process
from wakeline.errors import WakelineError

_FIND_S = 10.0
_START_S = 30.0  # a busy machine takes its time to start Python: that is not the service's fault
_KEPT = (
    "HOME",
    "LANG",
    "PATH",
    "PYTHONPATH",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
    "VIRTUAL_ENV",
)
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_ANSWERED = re.compile(r"\berror[=: ]+(\d{3})\b")
_NO_CONTACT = re.compile(r"connection|timed? ?out|socket", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9]*://\S+\Z")
_BY_HAND = "run it by hand in the checkout: it is to print one line, the address, and exit 0"
_UNKNOWN = "its address is not one that apprise knows"
_NOT_THERE = "apprise is not installed beside wakeline"
_REMEDIES = {
    _UNKNOWN: "https://github.com/caronc/apprise/wiki shows how the address of each service is written",
    _NOT_THERE: "pip install apprise, or: pipx inject wakeline apprise",
}


class NotSent(WakelineError):
    """A message was not taken. The reason never holds the address."""


def read(reference: str, *, at: Path) -> str:
    """What a reference leads to, as it stands there. Raises NotSent that names the reference and not what it holds."""
    kind, _, rest = reference.partition(":")
    return {"env": _of_environment, "file": _of_file, "cmd": _of_command}[kind](rest.strip(), at)


def address_in(text: str, *, reference: str) -> str:
    """The one address that was found. Raises NotSent where there is none, or more than one line."""
    text = text.strip()
    if not text:
        raise NotSent(f"{reference} is empty", hint="it should hold one address, such as slack://… or mailtos://…")
    if not _SCHEME.match(text):
        raise NotSent(f"{reference} holds no address", hint="one line such as slack://… or mailtos://…")
    return text


def check(address: str) -> None:
    """Ask apprise whether it knows such an address. Sends nothing. Raises NotSent where it does not."""
    _ask({"address": address}, limit_s=_START_S)


def send(address: str, *, title: str, text: str, limit_s: float) -> None:
    """Hand one message over. Raises NotSent with the reason, as far as it can be told without the address."""
    _ask({"address": address, "title": title, "text": text, "limit_s": limit_s}, limit_s=limit_s + _START_S)


def _ask(asked: Mapping[str, object], *, limit_s: float) -> None:
    """The process of its own: the address goes in on stdin, and why not comes out."""
    argv = [sys.executable, "-m", "wakeline.edges.notify"]
    names = {*_KEPT, *_PROXIES, *(name.upper() for name in _PROXIES)}
    environment = {name: value for name, value in os.environ.items() if name in names}
    try:
        done = process.run(argv, timeout_s=limit_s, env=environment, input=json.dumps(asked).encode())
    except process.CommandTimedOut:
        raise NotSent(f"no answer within {limit_s:g} s") from None
    except OSError as error:
        raise NotSent(f"cannot be sent from here: {error.strerror}") from None
    why = done.out.decode("utf-8", "replace").strip()
    if done.code != 0 or why:
        raise NotSent(why or "it could not be sent", hint=_REMEDIES.get(why, ""))


def _of_environment(name: str, _at: Path) -> str:
    value = os.environ.get(name)
    if value is None:
        raise NotSent(f"{name} is not set here", hint=f"export {name}=…, or pass the secret of that name to this job")
    return value


def _of_file(path: str, at: Path) -> str:
    place = at / Path(path).expanduser()
    try:
        return place.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", "") or "not text"
        hint = "write the address there, in one line that you alone may read"
        raise NotSent(f"{place} cannot be read: {why}", hint=hint) from None


def _of_command(command: str, at: Path) -> str:
    try:
        done = process.run(shlex.split(command), timeout_s=_FIND_S, cwd=at)
    except (OSError, ValueError) as error:
        raise NotSent(f"`{command}` did not say an address: {error}", hint=_BY_HAND) from None
    if done.code != 0:  # its own words may hold the secret
        raise NotSent(f"`{command}` did not say an address: exit {done.code}", hint=_BY_HAND)
    return done.out.decode("utf-8", "replace")


def main() -> None:
    """The process of its own: one message on stdin, or an address alone; prints what is wrong with it, or nothing."""
    sys.stdout.write(_hand_over(**json.loads(sys.stdin.read())))


def _hand_over(address: str, *, title: str = "", text: str = "", limit_s: float = 0.0) -> str:
    heard = io.StringIO()
    root = logging.getLogger()
    root.handlers[:] = [logging.StreamHandler(heard)]  # else the last resort of logging writes warnings to stderr
    try:
        import apprise  # noqa: PLC0415 - in this process alone
    except ImportError:
        return _NOT_THERE
    logging.getLogger(apprise.logger.name).propagate = True
    service = apprise.Apprise(asset=apprise.AppriseAsset(async_mode=False, app_id="wakeline", app_desc="wakeline"))
    if not service.add(address):
        return _UNKNOWN
    if not text:
        return ""
    signal.signal(signal.SIGALRM, lambda *_: _give_up(limit_s))
    signal.setitimer(signal.ITIMER_REAL, max(0.1, limit_s))
    taken = service.notify(title=title, body=text, body_format=apprise.NotifyFormat.TEXT)
    signal.setitimer(signal.ITIMER_REAL, 0)
    if taken:
        return ""
    said = heard.getvalue()
    answered = _ANSWERED.search(said)
    if answered:
        return f"it answered {answered[1]}"
    return "no connection, or no answer in time" if _NO_CONTACT.search(said) else "it was not taken"


def _give_up(limit_s: float) -> None:
    os.write(sys.stdout.fileno(), f"no answer within {limit_s:.0f} s".encode())
    os._exit(0)  # whatever the library was at: it is not waited for


if __name__ == "__main__":
    main()
