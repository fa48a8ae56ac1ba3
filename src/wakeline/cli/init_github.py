"""`wakeline init github`: the workflow that deploys, known_hosts to review, the secrets to set. Writes over nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

from wakeline import __version__
from wakeline.cli.init import write_new
from wakeline.cli.result import Result
from wakeline.core.model import Machine
from wakeline.driver.crowd import for_each
from wakeline.driver.project import FILE, checkout_of
from wakeline.edges import host_keys
from wakeline.edges.host_keys import HostKey
from wakeline.edges.transports import NotReached
from wakeline.errors import WakelineError
from wakeline.fleet import FleetFile, load
from wakeline.github import asking, workflow
from wakeline.github.remote import Remote, remote_of

_ASK_S = 5.0
_FURTHER = ".github/further"
_KEY_FILE = "/etc/ssh/ssh_host_ed25519_key.pub"


def run(folder: Path, *, install: str = "", only_print: bool = False) -> Result:
    """From the fleet file in the checkout, committed or not. Raises Usage where there is none."""
    top = checkout_of(folder)
    file = load((top / FILE).read_text(encoding="utf-8"), name=FILE)
    app = remote_of(file.git)
    install = install or f"wakeline=={__version__}"
    files = {workflow.DEPLOY: workflow.deploy(file, install=install)}
    if file.receivers:
        files[workflow.NOTIFY] = workflow.notify(file, install=install)
    others = _others(file)
    for path, (_, branch) in others.items():
        if app:
            files[f"{_FURTHER}/{path}.yml"] = workflow.trigger(file, app=app, branch=branch)
    if only_print:
        shown = [line for name, text in files.items() for line in (f"# {name}", *text.splitlines(), "")]
        return Result("init-github", {"files": files}, lines=shown)
    lines, warnings = [], list(_doubts(file, app))
    for name, text in files.items():
        written = _written(top / name, text)
        lines.append(f"{name} {'written' if written else 'is there already, and is left as it is'}")
        warnings += [] if written else _not_handed_over(name, (top / name).read_text(encoding="utf-8"), made=text)
    lines += [
        f"  copy {_FURTHER}/{path}.yml to {other.name}, as .github/workflows/deploy-{file.fleet.app}.yml"
        for path, (other, _) in others.items()
        if app
    ]
    known, missing = _know(top / "known_hosts", file)
    remotes = [other for other, _ in others.values()]
    lines += [*known, "the environment, and the branch that may use its secrets:"]
    lines += [f"  {line}" for line in asking.guards(file, app=app)]
    lines += ["its secrets:", *(f"  {line}" for line in asking.secrets(file, app=app, others=remotes))]
    compare = "compare the fingerprints, " if any("SHA256:" in line for line in known) else ""
    lines.append(f"next: {compare}commit the files, run these commands, then push")
    return Result("init-github", {"files": sorted(files)}, lines=lines, warnings=[*warnings, *missing])


def _others(file: FleetFile) -> dict[str, tuple[Remote, str]]:
    """The further repositories that can start a deploy themselves, by the name of their file."""
    found = ((each.path.replace("/", "-"), remote_of(each.git), each.branch) for each in file.repositories)
    return {path: (remote, branch) for path, remote, branch in found if remote}


def _doubts(file: FleetFile, app: Remote | None) -> Iterator[str]:
    if app is None:
        yield f"git = {file.git!r} is not a repository of a GitHub server: the run's own token does not open it"
    if file.ledger != file.git:
        yield f"ledger = {file.ledger!r}: a runner starts with an empty disk each time; use a ledger that it can reach"
    for each in file.receivers:
        if not workflow.SECRET.match(each.to):
            yield f"notify {each.name}: is {each.to} there on a runner? With env:NAME it is the secret of that name"


def _not_handed_over(name: str, there: str, *, made: str) -> Iterator[str]:
    """Secrets that a workflow made now would hand to its steps, and the one that is there does not."""
    for secret in dict.fromkeys(re.findall(r"\$\{\{ secrets\.(\w+) \}\}", made)):
        if secret not in there:
            yield f"{name} does not name {secret}: add to the `env` of its steps {secret}: ${{{{ secrets.{secret} }}}}"


def _written(place: Path, text: str) -> bool:
    if place.is_file() and not place.is_symlink():
        return False
    place.parent.mkdir(parents=True, exist_ok=True)
    write_new(place, text)
    return True


def _know(place: Path, file: FleetFile) -> tuple[list[str], list[str]]:
    """Ask the machines that known_hosts has no line for. A new file gets them; beside an old one they are shown."""
    before = host_keys.names(place)
    asked = [m for m in file.fleet.machines if m.name not in before and not m.address.startswith("local:")]
    found = asyncio.run(_asked(asked))
    keys = [key for key in found.values() if isinstance(key, HostKey)]
    lines = [
        f"  {key.machine:<16} {key.fingerprint}{'  as in your own known_hosts' if key.known else ''}" for key in keys
    ]
    if keys and _written(place, "".join(key.line for key in keys)):
        lines = ["known_hosts written; these are no proof before you have compared them:", *lines]
    elif keys:
        lines = ["to add to known_hosts, when you have compared them:", *lines]
        lines += [f"  {key.line.strip()}" for key in keys]
    if keys:
        lines.append(f"  on each machine's own console: ssh-keygen -lf {_KEY_FILE}")
    missing = [
        f"{name} has no line in known_hosts: {error.message}; when it is on: wakeline init github shows it"
        for name, error in found.items()
        if isinstance(error, WakelineError)
    ]
    return lines, missing


async def _asked(machines: list[Machine]) -> dict[str, HostKey | NotReached]:
    async def one(machine: Machine) -> HostKey | NotReached:
        try:
            return await host_keys.ask(machine, limit_s=_ASK_S)
        except NotReached as error:
            return error

    answers = await for_each(machines, one)
    return {machine.name: answer for machine, answer in zip(machines, answers, strict=True)}
