"""A run of GitHub Actions, as its environment tells it. Pure: the environment is an argument.

Which variables there are: GitHub's "Default environment variables"; ours begin with WAKELINE_ and come from secrets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

SSH_KEY, SIGNING_KEY, RUN_TOKEN = "WAKELINE_SSH_KEY", "WAKELINE_SIGNING_KEY", "WAKELINE_GITHUB_TOKEN"
REPOSITORIES_TOKEN, DISPATCH_TOKEN = "WAKELINE_REPOSITORIES_TOKEN", "WAKELINE_DISPATCH_TOKEN"
_SECRETS = (SSH_KEY, SIGNING_KEY, RUN_TOKEN, REPOSITORIES_TOKEN)
_SHORT = 6  # what is shorter is no secret, and masking it would hide ordinary words
_TOKEN_MIN = 8
_HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+\.?(:\d+)?\Z")
_CREDENTIALS = re.compile(r"\w+://([^/?#]*)@")


def is_run(environment: Mapping[str, str]) -> bool:
    """Whether this is a step of a run."""
    return environment.get("GITHUB_ACTIONS") == "true"


def missing_secrets(environment: Mapping[str, str]) -> list[str]:
    """Secrets that the workflow names and nobody has set: GitHub hands over an empty text for each."""
    if not is_run(environment):
        return []
    return [name for name in _SECRETS if name in environment and not environment[name].strip()]


def reached_as(url: str, environment: Mapping[str, str]) -> str:
    """How a repository is reached from here: in a run by https with a token where we have one, else as it stands."""
    server = environment.get("GITHUB_SERVER_URL", "").rstrip("/")
    if not is_run(environment) or not server:
        return url
    from wakeline.github.remote import remote_of  # noqa: PLC0415 - every start imports this module, and few are in a run

    remote = remote_of(url)
    if remote is None or remote.host != _host(server):
        return url
    is_own = remote.name.lower() == environment.get("GITHUB_REPOSITORY", "").lower()
    token = environment.get(RUN_TOKEN if is_own else REPOSITORIES_TOKEN, "")
    name = environment["GITHUB_REPOSITORY"] if is_own else remote.name
    return f"{server}/{name}.git" if token else url


def _host(server: str) -> str:
    return server.partition("://")[2].partition(":")[0]


def secrets_in(environment: Mapping[str, str]) -> Iterator[str]:
    """Every secret of ours line by line, as GitHub masks, and in the form in which git sends a token."""
    for name in _SECRETS:
        value = environment.get(name, "")
        yield from (line for line in _lines(value) if not line.startswith("-----"))
        if name.endswith("_TOKEN") and value:
            yield _in_a_header(f"x-access-token:{value}")


def secrets_in_address(text: str) -> Iterator[str]:
    """A receiver's address line by line, and its parts that are secret by themselves.

    A service is sent another address, made of these parts, and a library's words may show one of them alone: passwords,
    and what has the looks of a token. Names of hosts and ordinary words of a path stay readable.
    """
    from urllib.parse import unquote  # noqa: PLC0415 - every start imports this module, and few have an address to hide

    for line in _lines(text):
        yield line
        credentials = _CREDENTIALS.match(line)
        if credentials:
            user, _, password = unquote(credentials[1]).partition(":")
            yield from (each for each in (credentials[1].partition(":")[2], password) if len(each) >= _SHORT)
            yield _in_a_header(f"{user}:{password}")
        for part in re.split(r"[/?&=@:,;]+", line.partition("://")[2]):
            yield from (each for each in (part, unquote(part)) if _is_token(each))


def _in_a_header(credentials: str) -> str:
    """As HTTP sends them: RFC 7617."""
    import base64  # noqa: PLC0415 - as above

    return base64.b64encode(credentials.encode()).decode()


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if len(line.strip()) >= _SHORT]


def _is_token(part: str) -> bool:
    """Long, and with digits or both cases in it, as no word and no name of a host is."""
    mixed = part != part.lower() and part != part.upper()
    return len(part) >= _TOKEN_MIN and not _HOST.match(part) and (mixed or any(c.isdigit() for c in part))
