"""Looks at a repository that somebody wants to deploy. Reads files and git's configuration; decides little."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wakeline.edges import git
from wakeline.starting import by_hand, scripts, workflow
from wakeline.starting.facts import Front, Packages, Repository, Unit, Workflow

_NOT_LOOKED_INTO = {"node_modules", ".venv", "venv", "vendor", "site-packages"}
_READ_MAX = 1_000_000
_LISTS = ("requirements.txt", "requirements/production.txt", "requirements/prod.txt", "requirements/base.txt")
_JS_LOCKS = ("package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml")


def look(folder: Path) -> Repository:
    """See what is there. Raises GitFailed outside of a repository."""
    top = git.top(folder)
    files = _files(top)
    read = _reader(top)
    manage, alembic = _first(files, "manage.py"), _first(files, "alembic.ini")
    home = (manage or alembic).rpartition("/")[0]
    units = tuple(_unit(each, read(each)) for each in files if each.endswith(".service"))
    deploys = _workflow(files, read)
    if all(unit.oneshot for unit in units):
        by_name = {
            unit.name: unit for each in _deploying(files, deploys) for unit in by_hand.services(each, read(each))
        }
        units += tuple(by_name.values())
    url, password_left_out = _without_password(_git(top, "config", "--get", "remote.origin.url"))
    called = re.split(r"[/:]", url.rstrip("/").removesuffix(".git"))[-1] or top.name
    return Repository(
        name=called,
        url=url,
        password_left_out=password_left_out,
        branch=_branch(top),
        manage=manage,
        alembic=alembic,
        flask="current_app" in read(f"{home}/env.py".lstrip("/")) if alembic and not manage else False,
        packages=_packages(files, read, home=home),
        collects=next((each for each in _deploying(files, deploys) if manage and scripts.collects(read(each))), ""),
        dotenv=_dotenv(files, read),
        front=_front(files, read),
        units=units,
        workflow=deploys,
        warnings=_warnings(files, read, units=units, deploys=deploys),
    )


def _files(top: Path) -> tuple[str, ...]:
    """What git knows or would add, those near the root first."""
    listing = git.ask(["ls-files", "-z", "--cached", "--others", "--exclude-standard"], at=top)
    paths = [Path(each) for each in listing.split("\0") if each]
    kept = (path for path in paths if not _NOT_LOOKED_INTO & set(path.parts) and (top / path).is_file())
    return tuple(str(path) for path in sorted(kept, key=lambda path: (len(path.parts), path)))


def _reader(top: Path) -> Callable[[str], str]:
    def read(name: str) -> str:
        """The text of a file; nothing for one that is not there or may not be read."""
        try:
            with (top / name).open("rb") as file:
                return file.read(_READ_MAX).decode("utf-8", "replace")
        except OSError:
            return ""

    return read


def _first(files: tuple[str, ...], name: str) -> str:
    return next((each for each in files if each.rpartition("/")[2] == name), "")


def _git(top: Path, *arguments: str) -> str:
    finished = git.call(list(arguments), at=top)
    return finished.out.decode("utf-8", "replace").strip() if finished.code == 0 else ""


def _branch(top: Path) -> str:
    default = _git(top, "symbolic-ref", "--short", "refs/remotes/origin/HEAD").removeprefix("origin/")
    return default or _git(top, "symbolic-ref", "--short", "HEAD") or "main"


def _without_password(url: str) -> tuple[str, bool]:
    """Who logs in over https does so with a token or a password: neither belongs into a file."""
    bare = re.sub(r"^(https?://)[^/@]*@", r"\1", url)
    return bare, bare != url


def _unit(file: str, text: str) -> Unit:
    """The settings of a unit file: a later one of the same name overrides, as in systemd."""
    found: dict[str, str] = {}
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith(("#", ";")):
            found[key.strip()] = value.strip()
    return Unit(
        file,
        user=found.get("User", ""),
        folder=found.get("WorkingDirectory", "").lstrip("-").rstrip("/"),
        command=found.get("ExecStart", "").lstrip("@-:+!|"),
        env_file=found.get("EnvironmentFile", "").lstrip("-"),
        oneshot=found.get("Type") == "oneshot",
    )


def _packages(files: tuple[str, ...], read: Callable[[str], str], *, home: str) -> Packages | None:
    """The list of packages nearest to the application: in its folder, at the root, or anywhere."""
    folders = dict.fromkeys((home, "", *(each.rpartition("/")[0] for each in files)))
    return next((found for folder in folders if (found := _packages_in(folder, files, read))), None)


def _packages_in(folder: str, files: tuple[str, ...], read: Callable[[str], str]) -> Packages | None:
    place = f"{folder}/" if folder else ""
    for name, tool in (("uv.lock", "uv"), ("poetry.lock", "poetry")):
        if place + name in files:
            return Packages(tool, place + name)
    named = (each for each in files if re.fullmatch(re.escape(place) + r"requirements[^/]*\.txt", each))
    usual = (place + name for name in _LISTS)
    for name in (*usual, *(each for each in named if not re.search(r"dev|test|lint|doc", each))):
        if name in files:
            reads, installs_code = _listed(name, place, read)
            return Packages("pip", name, reads, installs_code)
    if re.search(r"(?m)^\[(project|tool\.poetry)\]", read(f"{place}pyproject.toml")):
        return Packages("project", f"{place}pyproject.toml")
    return None


def _listed(name: str, place: str, read: Callable[[str], str]) -> tuple[tuple[str, ...], bool]:
    """The files that a requirements file names in turn, and whether it installs the repository's own code."""
    found: list[str] = []
    installs_code = False
    waiting = [name]
    while waiting:
        each = waiting.pop()
        for line in read(each).splitlines():
            if other := re.match(r"\s*(?:-r|-c|--requirement|--constraint)[\s=]*([\w./-]+)", line):
                path = _beside(each, other[1])
                if path and path not in (name, *found):
                    found.append(path)
                    waiting.append(path)
            elif own := re.match(r"\s*(?:-e\s*|--editable[\s=]*)?(\.\S*)", line):
                is_file = own[1].endswith((".whl", ".gz", ".zip"))
                found += [path for path in [_beside(f"{place}x", own[1])] if is_file and path]
                installs_code |= not is_file
    return tuple(found), installs_code


def _beside(file: str, other: str) -> str:
    """A path that is written in `file`, from the root; nothing where it leads out of the repository."""
    parts: list[str] = file.split("/")[:-1]
    for part in other.split("/"):
        if part == ".." and not parts:
            return ""
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _dotenv(files: tuple[str, ...], read: Callable[[str], str]) -> tuple[str, str]:
    """A .env that the application reads and git does not have: where an example of it lies, or where it is ignored."""
    for file in files:
        place, _, name = file.rpartition("/")
        if re.fullmatch(r"\.?env[._-](example|sample|template|dist)", name):
            return f"{place}/.env".lstrip("/"), file
    ignored = any(re.fullmatch(r"/?\.env", line.strip()) for line in read(".gitignore").splitlines())
    return (".env", ".gitignore") if ignored else ("", "")


def _front(files: tuple[str, ...], read: Callable[[str], str]) -> Front | None:
    """The package.json nearest to the root that builds or starts something."""
    for file in (each for each in files if each.rpartition("/")[2] == "package.json"):
        known = _scripts(read(file))
        place = file.removesuffix("package.json")
        if "build" in known or "start" in known:
            lock = next((place + each for each in _JS_LOCKS if place + each in files), "")
            configs = [each for each in files if re.fullmatch(re.escape(place) + r"(vite|vue|next)\.config\.\w+", each)]
            said = any(re.search(r"outDir|outputDir|distDir", read(each)) for each in configs)
            return Front(file, lock, str(known.get("build", "")), starts="start" in known, says_where=said)
    return None


def _scripts(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError:
        return {}
    found = data.get("scripts") if isinstance(data, dict) else None
    return found if isinstance(found, dict) else {}


def _workflow(files: tuple[str, ...], read: Callable[[str], str]) -> Workflow:
    """The first workflow that reaches machines over ssh."""
    own = [each for each in files if each.endswith(".sh")]
    places = (each for each in files if re.fullmatch(r"\.github/workflows/[^/]+\.ya?ml", each))
    found = (workflow.read(each, read(each), scripts=own) for each in places)
    return next((each for each in found if each.addresses), Workflow())


def _warnings(
    files: tuple[str, ...], read: Callable[[str], str], *, units: tuple[Unit, ...], deploys: Workflow
) -> tuple[str, ...]:
    own = (each for each in _deploying(files, deploys) if each != deploys.file)
    return (
        *(line for each in own for line in scripts.in_script(each, read(each))),
        *scripts.in_workflow(deploys.file, read(deploys.file) if deploys.file else ""),
        *scripts.at_boot(units),
    )


def _deploying(files: tuple[str, ...], deploys: Workflow) -> tuple[str, ...]:
    """The scripts that a deploy runs, or is called after, and its workflow."""
    called = [call[0] for call in deploys.calls]
    usual = [each for each in files if each.endswith(".sh") and "deploy" in each.rpartition("/")[2]]
    return tuple(dict.fromkeys([*called, *usual, *([deploys.file] if deploys.file else [])]))
