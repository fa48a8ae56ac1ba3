"""One app as the runner has it: its checkout, its code, its fleet file and its ledger."""

from __future__ import annotations

import dataclasses
import getpass
import hashlib
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from wakeline.core.model import Machine
from wakeline.core.order import Repository
from wakeline.driver import fleet_files
from wakeline.driver.addresses import Addresses, Hide, shown
from wakeline.edges import git, keys
from wakeline.edges.code import Code
from wakeline.edges.ledgers import Ledger, open_ledger
from wakeline.edges.ledgers.git import copy_of, refs_of
from wakeline.errors import RolloutFailed, Usage
from wakeline.fleet.file import FleetFile
from wakeline.github import run

if TYPE_CHECKING:  # with asyncio they are a sixth of what `status` imports: it imports them while git is at work
    from wakeline.driver.writer import Writer
    from wakeline.edges.transports import Transport

FILE = "wakeline.toml"


@dataclasses.dataclass(frozen=True)
class Project:
    """What every verb needs first. `file` is the fleet file at the newest commit of the allowed branch."""

    checkout: Path | None
    code: Code
    tip: str
    file: FleetFile
    writer: Writer
    diary: Ledger  # what was told to whom
    addresses: Addresses = dataclasses.field(default_factory=lambda: Addresses(at=Path()))

    def file_at(self, commit: str) -> FleetFile:
        """The fleet file of the commit to be deployed. Raises Usage for a commit without one."""
        text = self.code.file(commit, FILE)
        if text is None:
            raise Usage(f"commit {commit[:10]} has no {FILE}", hint="wakeline init writes one; commit and push it")
        return fleet_files.load(text, name=f"{commit[:10]}:{FILE}", workdir=_workdir())

    def is_outdated(self) -> bool:
        """Whether the branch has another fleet file by now than this run has read. Asks the remote."""
        text = self.code.file(self.code.fetch(), FILE)
        return text is not None and fleet_files.load(text, name=FILE, workdir=_workdir()) != self.file

    def pins(self, commit: str) -> dict[str, str]:
        """Where the branches of the further repositories are now, by the path that each is laid in at.

        Raises Usage for one without such a branch, RolloutFailed for one that cannot be asked.
        """
        return {each.path: _tip(each, at=self.code.copy) for each in self.file_at(commit).repositories}

    def transport_of(self, machine: Machine) -> Transport:
        """How a machine is reached: by its address."""
        if machine.address.startswith("local:"):
            from wakeline.edges.transports.local import LocalTransport  # noqa: PLC0415 - only what is used

            return LocalTransport()
        from wakeline.edges.transports.ssh import SshTransport  # noqa: PLC0415 - asyncssh is slow to import

        known_hosts = self.checkout / "known_hosts" if self.checkout else None
        given = os.environ.get("WAKELINE_KNOWN_HOSTS", "")
        found = given or (str(known_hosts) if known_hosts and known_hosts.is_file() else "")
        return SshTransport(
            known_hosts=found, config=os.environ.get("WAKELINE_SSH_CONFIG", ""), key_config=_given_key()
        )


def open_project(folder: Path, *, reaches: bool = False, hide: Hide = shown) -> Project:
    """Find the fleet file from a folder inside a checkout, fetch the branch, and open the ledger.

    With `reaches`, the SSH library is imported and the agent's file is made beside the work of git. `hide` is told of
    every secret that is found.
    Raises Usage when there is no fleet file, FleetFileError for a bad one, RolloutFailed for an unreachable remote.
    """
    git.ensure_version(at=folder)
    checkout = checkout_of(folder)
    workdir = _workdir()
    here = fleet_files.load((checkout / FILE).read_text(encoding="utf-8"), name=FILE, workdir=workdir)
    if reaches and any(not machine.address.startswith("local:") for machine in here.fleet.machines):
        from wakeline.edges.agent_file import agent_file  # noqa: PLC0415 - only for who goes to a machine
        from wakeline.edges.transports import library  # noqa: PLC0415 - same

        library.begin(agent_file)
    if missing := run.missing_secrets(os.environ):
        hint = f"gh secret set {missing[0]} --env {here.fleet.environment}; wakeline init github lists them"
        raise Usage(f"the secret {', '.join(missing)} is empty here", hint=hint)
    url = run.reached_as(_absolute(here.git, checkout), os.environ)
    code = Code(url, branch=here.branch, copy=copy_of(url, workdir=workdir), checkout=checkout)
    ours = (here.fleet.app, here.fleet.environment)
    beside, noted = refs_of(*ours) if here.ledger == here.git else ((), ())
    tip = code.fetch(beside=beside, noted=noted, at_once=reaches)
    text = code.file(tip, FILE)
    file = here if text is None else fleet_files.load(text, name=f"{here.branch}:{FILE}", workdir=workdir)
    from wakeline.driver.writer import Writer  # noqa: PLC0415 - see above

    where = url if file.ledger == file.git else run.reached_as(file.ledger, os.environ)
    app, environment = file.fleet.app, file.fleet.environment
    looked = code.looked if where == url and here.ledger == here.git and (app, environment) == ours else None
    ledger = open_ledger(where, app=app, environment=environment, workdir=workdir, looked=looked)
    diary = open_ledger(where, app=app, environment=environment, workdir=workdir, log="told")
    writer = Writer(ledger, by=who(), seen=_memory_of(where, file, workdir))
    addresses = Addresses(at=checkout, hide=hide)
    if run.is_run(os.environ):
        addresses.hide_early(each.to for each in file.receivers)
    return Project(checkout, code, tip, file, writer, diary, addresses)


def _given_key() -> str:
    """SSH settings for the key that a secret holds, or nothing where no such secret is given."""
    text = os.environ.get(run.SSH_KEY, "")
    if not keys.is_text(text):
        return ""
    return str(keys.ssh_config(keys.file_of(text, name="ssh_key")))


def _tip(repository: Repository, *, at: Path) -> str:
    source = f"refs/heads/{repository.branch}"
    try:
        found = git.remote_refs(run.reached_as(repository.git, os.environ), source, at=at).get(source)
    except git.GitFailed as error:
        raise RolloutFailed(f"repository {repository.path}: {error.message}", hint="wakeline doctor") from error
    if found is None:
        raise Usage(f"repository {repository.path}: {repository.git} has no branch {repository.branch}")
    return found


def _memory_of(ledger: str, file: FleetFile, workdir: Path) -> Path:
    which = hashlib.sha256(ledger.encode()).hexdigest()[:12]
    return workdir / "seen" / f"{file.fleet.app}-{file.fleet.environment}-{which}.json"


def who() -> str:
    """Who writes, for people: user and machine, or the run of the workflow."""
    run = os.environ.get("GITHUB_RUN_ID")
    if run:
        return f"{os.environ.get('GITHUB_ACTOR', 'github')} (run {run})"
    return f"{getpass.getuser()}@{socket.gethostname()} ({os.getpid()})"


def checkout_of(folder: Path) -> Path:
    """The root of the checkout that a folder is in. Raises Usage outside of one, and for one without a fleet file."""
    try:
        top = git.top(folder)
    except git.GitFailed as error:
        raise Usage(f"{folder} is not in a git checkout", hint="run wakeline inside your app's repository") from error
    if not (top / FILE).is_file():
        raise Usage(f"there is no {FILE} in {top}", hint="wakeline init writes one")
    return top


def _absolute(url: str, checkout: Path) -> str:
    """A remote that is a relative path is meant from the checkout."""
    return str((checkout / url).resolve()) if url.startswith((".", "/")) else url


def _workdir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "wakeline"
