"""From what a repository looks like to a fleet file that its owner would keep. Pure: text in, text out."""

from __future__ import annotations

import dataclasses
import json

from wakeline.starting.looking import Repository, Unit

ASK = "# TODO "


@dataclasses.dataclass(frozen=True)
class Draft:
    """The file, what was taken from where, what could not be told, and what stands in the way elsewhere."""

    text: str
    taken: tuple[str, ...]
    asked: tuple[str, ...]
    warnings: tuple[str, ...]


class _Page:
    """Lines of the file as they are written, with the two lists that go to the screen."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.taken: list[str] = []
        self.asked: list[str] = []

    def add(self, *lines: str) -> None:
        self.lines += lines

    def take(self, what: str, source: str) -> None:
        self.taken.append(f"{what}, from {source}")

    def ask(self, question: str) -> None:
        if question not in self.asked:
            self.asked.append(question)
        self.lines.append(ASK + question)


def write(seen: Repository) -> Draft:
    """The whole file."""
    page = _Page()
    services = [unit for unit in seen.units if not unit.oneshot]
    _head(page, seen)
    _deploy(page, seen, services)
    _stages(page, seen, services)
    _steps(page, seen)
    _services(page, services)
    return Draft("\n".join(page.lines) + "\n", tuple(page.taken), tuple(page.asked), _warnings(seen))


def _head(page: _Page, seen: Repository) -> None:
    page.add("# Written by `wakeline init`. `wakeline docs` explains every key.", "", f"app = {_quoted(seen.name)}")
    page.add('environment = "production"')
    if seen.url:
        page.take(f"the repository {seen.url}", "git's remote origin")
    else:
        page.ask("where do the machines fetch the code from?")
    page.add(f"git = {_quoted(seen.url or 'git@example.org:team/app.git')}", f"branch = {_quoted(seen.branch)}", "")


def _deploy(page: _Page, seen: Repository, services: list[Unit]) -> None:
    folder = next((unit.folder for unit in services if unit.folder.startswith("/")), "")
    page.add("[deploy]")
    if folder:
        page.take(f"the folder {folder}", next(unit.file for unit in services if unit.folder == folder))
        page.add(f"# {folder} is left as it is; releases live beside it until you take it away")
    page.add(f"path = {_quoted((folder.rstrip('/') + '-releases') if folder else '/opt/' + seen.name)}")
    env_file = next((unit for unit in services if unit.env_file), None)
    if env_file is not None:
        name = env_file.env_file.rpartition("/")[2]
        page.take(f"{name} for the steps", env_file.file)
        page.add(f"shared = [{_quoted(name)}]   # below PATH/shared on every machine", f"env_file = {_quoted(name)}")
    page.add("")


def _stages(page: _Page, seen: Repository, services: list[Unit]) -> None:
    """One stage for each address; where none is known, one for a machine that is always on."""
    user = next((unit.user for unit in services if unit.user), "deploy")
    if seen.addresses:
        page.take(f"{len(seen.addresses)} address(es)", seen.workflow)
    addresses = seen.addresses or (f"{user}@first.example.org",)
    roles = _roles(services)
    for index, address in enumerate(addresses):
        host = address.rpartition("@")[2].split(".")[0].lower()
        page.add("[[stage]]", f"name = {_quoted(_plain(host))}", "[[stage.machine]]", f"name = {_quoted(_plain(host))}")
        if not seen.addresses:
            page.ask("the address of the machine, and one [[stage]] for each further one, in the order of the deploy")
        page.add(f"address = {_quoted(address)}")
        page.ask('is it always on? a machine that is switched off to save money is "on-demand"')
        page.add('presence = "always"')
        if roles and index == 0 and len(addresses) > 1:
            page.ask(f"which of these does it run? roles: {', '.join(roles)}")
        page.add(*([f"roles = [{', '.join(map(_quoted, roles))}]"] if roles else []), "")


def _roles(services: list[Unit]) -> list[str]:
    return [_plain(unit.name.rpartition(".")[0]) for unit in services]


def _steps(page: _Page, seen: Repository) -> None:
    _packages(page, seen)
    if seen.manage:
        _once(page, seen, f"{_python(seen)} {seen.manage} migrate --noinput", f"django {seen.manage}", seen.manage)
    elif seen.alembic:
        run = f"{_python(seen)} -m alembic -c {seen.alembic} upgrade head"
        _once(page, seen, run, f"alembic {seen.alembic}", seen.alembic)
    if seen.build:
        folder = seen.package.rpartition("/")[0]
        page.take("a front-end build", seen.package)
        where = f"cd {folder} && " if folder else ""
        page.add("[[step]]", 'name = "pages"', f'run = "{where}npm ci && npm run build"')
        page.add(f"inputs = [{_quoted(f'{folder}/**' if folder else 'package*.json')}]")
        page.ask("where does the build put its files?")
        page.add(f"outputs = [{_quoted(f'{folder}/dist' if folder else 'dist')}]", "")


def _packages(page: _Page, seen: Repository) -> None:
    """A virtual environment is made at its cache path: its scripts name the folder that it was made in."""
    name = seen.lock.rpartition("/")[2]
    make = "python3 -m venv $WAKELINE_OUTPUT && "
    ways = {
        "uv.lock": ("uv sync --frozen --no-dev --no-install-project", '"uv.lock", "pyproject.toml"'),
        "poetry.lock": (
            make + "VIRTUAL_ENV=$WAKELINE_OUTPUT PATH=$WAKELINE_OUTPUT/bin:$PATH poetry install --only main --no-root",
            '"poetry.lock", "pyproject.toml"',
        ),
        "requirements.txt": (make + "$WAKELINE_OUTPUT/bin/pip install -r requirements.txt", '"requirements.txt"'),
        "pyproject.toml": (make + "$WAKELINE_OUTPUT/bin/pip install .", '"pyproject.toml"'),
    }
    if name not in ways:
        return
    page.take("the packages", seen.lock)
    run, inputs = ways[name]
    folder = seen.lock.rpartition("/")[0]
    if folder:
        run, inputs = f"cd {folder} && {run}", inputs.replace('"', f'"{folder}/', 1).replace(', "', f', "{folder}/')
    page.add(
        "[[step]]", 'name = "packages"', f"run = {_quoted(run)}", f"inputs = [{inputs}]", 'outputs = [".venv"]', ""
    )


def _once(page: _Page, seen: Repository, run: str, verify: str, source: str) -> None:
    page.take("migrations, as a once-step", source)
    page.add("[[step]]", 'name = "migrate"', "once = true", f"run = {_quoted(run)}")
    page.add(f"verify = {_quoted(f'{_python(seen)} $WAKELINE_VERIFY {verify}')}")
    page.add('# backup = "pg_dump --file=/var/backups/before.sql …"   # before the first run', "")


def _python(seen: Repository) -> str:
    return ".venv/bin/python" if seen.lock else "python3"


def _services(page: _Page, services: list[Unit]) -> None:
    for unit in services:
        page.take(f"the service {unit.name}", unit.file)
        page.add("[[service]]", f"unit = {_quoted(unit.name)}")
        page.add(f"roles = [{_quoted(_plain(unit.name.rpartition('.')[0]))}]")
        page.ask("an address of it that answers 200 when it is well, or a command")
        page.add('# health = { http = "http://127.0.0.1:8000/healthz", within = "30s" }', "")
    if not services:
        page.ask("what runs the release? one [[service]] for each systemd unit")
        page.add("# [[service]]", '# unit = "app.service"')


def _warnings(seen: Repository) -> tuple[str, ...]:
    found = [f"{line}   → take it out: the commit is checked out before a script runs" for line in seen.pulls]
    found += [
        f'{line}   → only where [ "$WAKELINE_ONCE" = run ], or it runs on every machine' for line in seen.migrates
    ]
    return tuple(found)


def _plain(name: str) -> str:
    kept = "".join(char if char.isalnum() or char in "-_" else "-" for char in name.lower())
    return kept.strip("-_") or "machine"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
