"""What can be seen of a repository that somebody wants to deploy. Reads files; decides nothing."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from wakeline.edges import git

_NOT_LOOKED_INTO = {".git", "node_modules", ".venv", "venv", "__pycache__", "dist", "build"}
_SSH = re.compile(r"\bssh\b[^\n]*?\s(?:\"|')?([a-z_][\w.-]*@[\w.${}-]+)", re.IGNORECASE)
_SCRIPT = re.compile(r"([\w./-]+\.sh)((?:\s+[\w./-]+)*)")


@dataclasses.dataclass(frozen=True)
class Unit:
    """A systemd unit of the repository: where it stands, and the settings that matter here."""

    file: str
    user: str = ""
    folder: str = ""
    command: str = ""
    env_file: str = ""
    oneshot: bool = False

    @property
    def name(self) -> str:
        """The unit's own name."""
        return self.file.rpartition("/")[2]


@dataclasses.dataclass(frozen=True)
class Repository:
    """Everything that `write` goes by. Paths are from the repository's root."""

    name: str
    url: str = ""
    branch: str = "main"
    manage: str = ""
    alembic: str = ""
    lock: str = ""
    package: str = ""
    build: bool = False
    units: tuple[Unit, ...] = ()
    workflow: str = ""
    addresses: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()
    pulls: tuple[str, ...] = ()
    migrates: tuple[str, ...] = ()


def look(folder: Path) -> Repository:
    """See what is there. Raises GitFailed outside of a repository."""
    top = git.top(folder)
    files = _files(top)
    workflow, addresses, scripts = _workflow(top, files)
    package = _first(files, "package.json")
    url = _git(top, "config", "--get", "remote.origin.url")
    called = re.split(r"[/:]", url.removesuffix(".git").rstrip("/"))[-1] or top.name
    return Repository(
        name=re.sub(r"[^a-z0-9_-]+", "-", called.lower()).strip("-_") or "app",
        url=url,
        branch=_branch(top),
        manage=_first(files, "manage.py"),
        alembic=_first(files, "alembic.ini"),
        lock=next((found for name in _LOCKS if (found := _first(files, name))), ""),
        package=package,
        build=bool(package) and '"build"' in _text(top / package),
        units=tuple(_unit(top, each) for each in files if each.endswith(".service")),
        workflow=workflow,
        addresses=addresses,
        scripts=scripts,
        pulls=_lines(top, scripts, "git pull"),
        migrates=_lines(top, scripts, "migrate"),
    )


_LOCKS = ("uv.lock", "poetry.lock", "requirements.txt", "pyproject.toml")


def _files(top: Path) -> list[str]:
    """Files by path, those near the root first."""
    found = [
        each.relative_to(top)
        for each in top.rglob("*")
        if not _NOT_LOOKED_INTO & set(each.relative_to(top).parts) and each.is_file()
    ]
    return [str(each) for each in sorted(found, key=lambda path: (len(path.parts), path))]


def _first(files: list[str], name: str) -> str:
    return next((each for each in files if each.rpartition("/")[2] == name and each.count("/") <= 2), "")


def _git(top: Path, *arguments: str) -> str:
    finished = git.call(list(arguments), at=top)
    return finished.out.decode("utf-8", "replace").strip() if finished.code == 0 else ""


def _branch(top: Path) -> str:
    default = _git(top, "symbolic-ref", "--short", "refs/remotes/origin/HEAD").rpartition("/")[2]
    return default or _git(top, "symbolic-ref", "--short", "HEAD") or "main"


def _unit(top: Path, file: str) -> Unit:
    """The settings of a unit file: a later one of the same name overrides, as in systemd."""
    found: dict[str, str] = {}
    for line in _text(top / file).splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith(("#", ";")):
            found[key.strip()] = value.strip()
    return Unit(
        file,
        user=found.get("User", ""),
        folder=found.get("WorkingDirectory", "").lstrip("-"),
        command=found.get("ExecStart", ""),
        env_file=found.get("EnvironmentFile", "").lstrip("-"),
        oneshot=found.get("Type") == "oneshot",
    )


def _workflow(top: Path, files: list[str]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """The GitHub workflow that deploys over ssh, the addresses it names, and the scripts it runs there."""
    for file in files:
        if file.startswith(".github/workflows/") and file.endswith((".yml", ".yaml")):
            text = _text(top / file)
            if re.search(r"\bssh\b|appleboy/ssh-action", text):
                addresses = tuple(dict.fromkeys(each for each in _SSH.findall(text) if "$" not in each))
                known = {each for each in files if each.endswith(".sh")}
                called = (match[1].rpartition("/")[2] for match in _SCRIPT.finditer(text))
                scripts = (each for name in called for each in known if each.rpartition("/")[2] == name)
                return file, addresses, tuple(dict.fromkeys(scripts))
    return "", (), tuple(each for each in files if each.endswith(".sh") and "deploy" in each)


def _lines(top: Path, scripts: tuple[str, ...], words: str) -> tuple[str, ...]:
    return tuple(
        f"{script}:{number}: {line.strip()}"
        for script in scripts
        for number, line in enumerate(_text(top / script).splitlines(), 1)
        if words in line and not line.lstrip().startswith("#")
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
