"""What is known of a repository that somebody wants to deploy. Plain values; paths are from the repository's root."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Unit:
    """A systemd unit: where it stands in the repository, and the settings that matter here.

    One that is only on the machine has the name that it is `called` by in `file`, and the environment of that.
    """

    file: str
    user: str = ""
    folder: str = ""
    command: str = ""
    env_file: str = ""
    oneshot: bool = False
    called: str = ""
    venv: str = ""

    @property
    def name(self) -> str:
        """The unit's own name."""
        return self.called or self.file.rpartition("/")[2]

    @property
    def role(self) -> str:
        """Its name without the ending."""
        return self.name.rpartition(".")[0]


@dataclasses.dataclass(frozen=True)
class Packages:
    """Where the Python packages are listed. `reads` are further files that the list names."""

    tool: str
    file: str
    reads: tuple[str, ...] = ()
    installs_code: bool = False

    @property
    def folder(self) -> str:
        """The folder that the tool is run in."""
        return self.file.rpartition("/")[0]


@dataclasses.dataclass(frozen=True)
class Front:
    """A package.json: its lock file, its build script, and whether something is started from it."""

    file: str
    lock: str = ""
    build: str = ""
    starts: bool = False
    says_where: bool = False

    @property
    def folder(self) -> str:
        """The folder that npm is run in."""
        return self.file.rpartition("/")[0]


@dataclasses.dataclass(frozen=True)
class Address:
    """A machine that a workflow deploys to. `behind` names the variable where the address itself is not in the file."""

    text: str
    behind: str = ""
    may_fail: bool = False


@dataclasses.dataclass(frozen=True)
class Workflow:
    """The workflow that deploys over ssh: whom it reaches, the words it calls a script with, GitHub's environment."""

    file: str = ""
    environment: str = ""
    addresses: tuple[Address, ...] = ()
    calls: tuple[tuple[str, ...], ...] = ()


@dataclasses.dataclass(frozen=True)
class Repository:
    """Everything that `write` goes by.

    `collects` is the file that calls Django's collectstatic, `dotenv` a .env that git does not have with the file that
    speaks of it.
    """

    name: str
    url: str = ""
    password_left_out: bool = False
    branch: str = "main"
    manage: str = ""
    alembic: str = ""
    flask: bool = False
    collects: str = ""
    dotenv: tuple[str, str] = ("", "")
    packages: Packages | None = None
    front: Front | None = None
    units: tuple[Unit, ...] = ()
    workflow: Workflow = Workflow()
    warnings: tuple[str, ...] = ()
