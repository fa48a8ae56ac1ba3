"""The steps of a first fleet file: packages, migrations, a front end. Pure.

An output that is linked from an older release must not have code in it: otherwise a release runs what an older one was
made from, without an error. So packages are installed without the project itself where the tool can do that, and where
it cannot, every file is an input.
"""

from __future__ import annotations

import posixpath
import re
import shlex

from wakeline.starting.facts import Front, Packages, Repository, Unit
from wakeline.starting.page import Page, inside, listed, quoted

_BUILDERS = {
    "vite": "dist",
    "vue-cli-service": "dist",
    "react-scripts": "build",
    "next": ".next",
    "nuxt": ".output",
    "parcel": "dist",
}
_VENV = "python3 -m venv $WAKELINE_OUTPUT && "


def steps(page: Page, seen: Repository, services: list[Unit]) -> None:
    """All of them, in the order in which they are run."""
    venv = _environment(page, seen, services)
    if seen.packages:
        _packages(page, seen.packages, venv)
    if seen.manage or seen.alembic:
        _migrate(page, seen, venv)
    if seen.front:
        _front(page, seen.front)
    if seen.collects:
        _static(page, seen, venv)


def _environment(page: Page, seen: Repository, services: list[Unit]) -> str:
    """Where the virtual environment lies in a release: where a unit looks for it."""
    for unit in services:
        if seen.packages and unit.venv:
            page.take(f"the virtual environment at {unit.venv}", unit.file)
            return unit.venv
        found = re.match(rf"{re.escape(unit.folder)}/((?:[\w.-]+/)*[\w.-]+)/bin/", unit.command)
        if seen.packages and unit.folder.startswith("/") and found and ".." not in found[1].split("/"):
            page.take(f"the virtual environment at {found[1]}", unit.file)
            return found[1]
    folder = seen.packages.folder if seen.packages else ""
    return f"{folder}/.venv".lstrip("/")


def _packages(page: Page, packages: Packages, venv: str) -> None:
    """A virtual environment is made at its cache path: its scripts name the folder that it was made in."""
    name = shlex.quote(packages.file.rpartition("/")[2])
    project = f"{packages.folder}/pyproject.toml".lstrip("/")
    inputs = (packages.file, *packages.reads)
    if packages.tool == "uv":
        run = "UV_PROJECT_ENVIRONMENT=$WAKELINE_OUTPUT uv sync --frozen --no-dev --no-install-project"
        inputs = (packages.file, project)
    elif packages.tool == "poetry":
        install = "poetry install --only main --no-root"
        run = f"{_VENV}VIRTUAL_ENV=$WAKELINE_OUTPUT PATH=$WAKELINE_OUTPUT/bin:$PATH {install}"
        inputs = (packages.file, project)
    elif packages.tool == "pip":
        run = f"{_VENV}$WAKELINE_OUTPUT/bin/pip install -r {name}"
    else:
        run = f"{_VENV}$WAKELINE_OUTPUT/bin/pip install ."
    own_code = packages.tool == "project" or packages.installs_code
    page.take(f"the packages, installed with {'pip' if packages.tool == 'project' else packages.tool}", packages.file)
    page.say("The environment is made at its cache path, and linked into every release with the same inputs.")
    if own_code:
        page.say("The project's own code is installed with them, so that every file is an input. A lock file, or a")
        page.say("requirements.txt without the project itself, would spare that.")
        inputs = (f"{packages.folder}/**".lstrip("/"),)
    if packages.tool in ("uv", "poetry"):
        page.say(f"{packages.tool} has to be found on the machine: path_for_steps in [deploy].")
    page.add("[[step]]", 'name = "packages"', f"run = {quoted(inside(packages.folder, run))}")
    page.add(f"inputs = {listed(*inputs)}", f"outputs = {listed(venv)}", "")


def _migrate(page: Page, seen: Repository, venv: str) -> None:
    """Once in the whole fleet. Run and verify find the same python in the same folder."""
    file = seen.manage or seen.alembic
    folder, _, name = file.rpartition("/")
    name = shlex.quote(name)
    if seen.manage:
        run, verify = f"{name} migrate --noinput", f"django {name}"
    elif seen.flask:
        folder = folder.rpartition("/")[0]
        run, verify = "-m flask db upgrade", "flask"
        page.say("Flask finds the application as on your own machine: app.py, wsgi.py, or FLASK_APP in env_file.")
    else:
        run, verify = f"-m alembic -c {name} upgrade head", f"alembic {name}"
    python = _python(seen, venv, folder)
    page.take("migrations, as a once-step", file)
    page.add("[[step]]", 'name = "migrate"', "once = true")
    page.add(f"run = {quoted(inside(folder, f'{python} {run}'))}")
    page.add(f"verify = {quoted(inside(folder, f'{python} $WAKELINE_VERIFY {verify}'))}")
    page.add('# backup = "pg_dump --file=/var/backups/before.sql …"   # before the first run', "")


def _python(seen: Repository, venv: str, folder: str) -> str:
    """The environment's python, as it is found from a folder of the release."""
    beside = posixpath.relpath(venv or ".", folder or ".")
    return f"{shlex.quote(beside)}/bin/python" if seen.packages else "python3"


def _static(page: Page, seen: Repository, venv: str) -> None:
    """Behind the front end: what that makes is collected as well."""
    folder, _, name = seen.manage.rpartition("/")
    page.take("collectstatic", seen.collects)
    page.say("STATIC_ROOT has to lie inside the release, or below a `shared` path.")
    run = f"{_python(seen, venv, folder)} {shlex.quote(name)} collectstatic --noinput"
    page.add("[[step]]", 'name = "static"', f"run = {quoted(inside(folder, run))}", "")


def _front(page: Page, front: Front) -> None:
    """Only what a browser gets is kept of a build; where something is started, its packages are kept as well."""
    if not front.lock:
        page.ask("without a lock file every machine may get other packages: add one")
    install, run = _tool(front)
    place = f"{front.folder}/" if front.folder else ""
    listed_packages = (front.file, *([front.lock] if front.lock else []))
    if front.starts:
        page.take("the packages of node", front.lock or front.file)
        only = "" if front.build else " --omit=dev" if install.startswith("npm") else ""
        page.add("[[step]]", 'name = "node-packages"', f"run = {quoted(inside(front.folder, install + only))}")
        page.add(f"inputs = {listed(*listed_packages)}", f"outputs = {listed(place + 'node_modules')}", "")
    if front.build:
        page.take("a front-end build", front.file)
        command = run if front.starts else f"{install} && {run}"
        page.add("[[step]]", 'name = "pages"', f"run = {quoted(inside(front.folder, command))}")
        if not place:
            page.say("any file: leave out what the build does not read, and it is run less often")
        page.add(f"inputs = {listed(place + '**')}")
        page.add(f"outputs = {listed(place + _made(page, front))}", "")


def _tool(front: Front) -> tuple[str, str]:
    """How packages are installed from the lock file, and how the build is run."""
    if front.lock.endswith("yarn.lock"):
        return "yarn install --frozen-lockfile", "yarn build"
    if front.lock.endswith("pnpm-lock.yaml"):
        return "pnpm install --frozen-lockfile", "pnpm run build"
    return ("npm ci" if front.lock else "npm install"), "npm run build"


def _made(page: Page, front: Front) -> str:
    """The folder that a build makes, where its tool is known and is not told otherwise."""
    for tool, folder in _BUILDERS.items():
        if re.search(rf"(?<![\w-]){tool}(?![\w-])", front.build) and not front.says_where:
            return folder
    page.ask("where does the build put its files?")
    return "dist"
