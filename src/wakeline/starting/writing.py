"""From what a repository looks like to a fleet file that its owner would keep. Pure: facts in, text out."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from wakeline.starting.facts import Address, Repository, Unit
from wakeline.starting.making import steps
from wakeline.starting.page import Page, listed, plain, printable, quoted

_BESIDE = "-releases"
_OF_ADDRESSES = frozenset({"ssh", "deploy", "server", "host", "hostname", "ip", "addr", "address"})
_ENVIRONMENTS = frozenset({"uat", "staging", "test", "qa", "demo", "production"})
_UNIT = re.compile(r"[A-Za-z0-9:_.\\-]+\.service")
_LISTENS = re.compile(r"(?:--bind[= ]|-b[= ]?|--port[= ]|--listen[= ]|runserver )\s*(?:[\w.\[\]*-]+:)?(\d{2,5})\b")


@dataclasses.dataclass(frozen=True)
class Draft:
    """The file, what was taken from where, what could not be told, and what stands in the way elsewhere."""

    text: str
    taken: tuple[str, ...]
    asked: tuple[str, ...]
    warnings: tuple[str, ...]


def write(seen: Repository) -> Draft:
    """The whole file."""
    page = Page()
    services = [unit for unit in seen.units if not unit.oneshot and _UNIT.fullmatch(unit.name)]
    _head(page, seen)
    _deploy(page, seen, services)
    _stages(page, seen, services)
    steps(page, seen, services)
    _services(page, seen, services)
    text = "\n".join(page.lines).rstrip() + "\n"
    return Draft(text, tuple(page.taken), tuple(page.asked), (*seen.warnings, *_left_behind(services, text)))


def _head(page: Page, seen: Repository) -> None:
    page.add("# Written by `wakeline init`. `wakeline docs` explains every key.", "")
    page.add(f"app = {quoted(plain(seen.name, otherwise='app'))}")
    environment = plain(seen.workflow.environment, otherwise="") if seen.workflow.environment else ""
    if environment:
        page.take(f"the environment {environment}", seen.workflow.file)
    else:
        page.ask("which environment is this? production, uat, …")
    page.add(f"environment = {quoted(environment or _named_after(seen.workflow.addresses))}")
    if seen.url:
        page.take(f"the repository {seen.url}", "git's remote origin")
    else:
        page.ask("where do the machines fetch the code from?")
    if seen.password_left_out:
        page.ask("how do the machines log in there? origin had a name or a token in it, which was left out")
    page.add(f"git = {quoted(seen.url or 'git@example.org:team/app.git')}")
    page.take(f"the branch {seen.branch}", "git")
    page.add(f"branch = {quoted(seen.branch)}", "")


def _named_after(addresses: tuple[Address, ...]) -> str:
    """A machine is often called after its environment. A guess, so it is asked about all the same."""
    words = {word for name in _names(addresses) for word in name.split("-")}
    found = sorted(words & _ENVIRONMENTS)
    return found[0] if len(found) == 1 else "production"


def _deploy(page: Page, seen: Repository, services: list[Unit]) -> None:
    placed = _placed(services)
    page.add("[deploy]")
    if placed:
        page.take(f"the folder {placed.folder}", placed.file)
        page.say(f"{placed.folder} is left as it is; releases live beside it until you take it away.")
        page.add(f"path = {quoted(placed.folder + _BESIDE)}")
    else:
        page.add(f"path = {quoted('/opt/' + plain(seen.name, otherwise='app'))}")
    _env_file(page, seen, services)
    if seen.workflow.calls:
        page.take(f"your own script {seen.workflow.calls[0][0]}, as a comment", seen.workflow.file)
        page.say("Your own script instead of all steps but those with `once`; see `wakeline docs script`.")
        page.say(f"script = {quoted(_call(seen.workflow.calls))}")
    page.add("")


def _placed(services: list[Unit]) -> Unit | None:
    return next((unit for unit in services if re.match(r"/[^%]+\Z", unit.folder)), None)


def _left_behind(services: list[Unit], text: str) -> Iterator[str]:
    """Programs of the old folder that `setup` will not move to the release, because no step says that it makes them."""
    placed = _placed(services)
    outputs = re.findall(r'"([^"]+)"', " ".join(re.findall(r"(?m)^outputs = .*", text)))
    for unit in services:
        program = unit.command.partition(" ")[0]
        if not placed or not program.startswith(f"{placed.folder}/") or "/bin/" not in program:
            continue
        inside = program.removeprefix(f"{placed.folder}/")
        if not any(inside.startswith(f"{output}/") for output in outputs):
            made = inside.partition("/bin/")[0]
            why = f"no step makes {made} (outputs): until one does, it is not moved to the release"
            yield printable(f"{unit.file}: ExecStart={unit.command}   → {why}")


def _env_file(page: Page, seen: Repository, services: list[Unit]) -> None:
    """A file in the app's folder is shared by all releases; one elsewhere stays where it is."""
    unit = next((unit for unit in services if unit.env_file), None)
    name, source = seen.dotenv
    if unit is None and name and re.fullmatch(r"[\w./-]+", name):
        page.ask(f"does the application read {name} on the machines? {source} speaks of it; else take these lines out")
        page.add(f"shared = {listed(name)}   # below PATH/shared on every machine", f"env_file = {quoted(name)}")
    if unit is None:
        return
    name = unit.env_file.removeprefix(f"{unit.folder}/")
    if re.fullmatch(r"(?!/|~)[\w./-]+", name) and ".." not in name.split("/"):
        page.take(f"{name} for the steps", unit.file)
        page.add(f"shared = {listed(name)}   # below PATH/shared on every machine", f"env_file = {quoted(name)}")
        return
    page.ask(f"{unit.name} reads {unit.env_file}: do the steps need it too? then copy it to PATH/shared/.env")
    page.add('# shared = [".env"]', '# env_file = ".env"')


def _call(calls: tuple[tuple[str, ...], ...]) -> str:
    """The call of a script. The one word in which the calls for several machines differ is the role."""
    first = calls[0]
    alike = [call for call in calls if call[0] == first[0] and len(call) == len(first)]
    differ = {place for call in alike for place, word in enumerate(call) if word != first[place]}
    return " ".join("{role}" if differ == {place} else word for place, word in enumerate(first))


def _stages(page: Page, seen: Repository, services: list[Unit]) -> None:
    """One stage for each address; where none is known, one for a machine that is always on."""
    user = next((unit.user for unit in services if re.fullmatch(r"[a-z_][\w-]*", unit.user)), "deploy")
    known = seen.workflow.addresses
    if known:
        page.take(f"{len(known)} machine(s), in their order", seen.workflow.file)
    names = _names(known or (Address(f"{user}@first"),))
    roles = _roles(services)
    each_its_own = _by_name(names, roles)
    if each_its_own:
        page.take("what each machine runs", "the names of units and machines")
    for index, address in enumerate(known or (Address(f"{user}@first.example.org"),)):
        name = names[index]
        page.add("[[stage]]", f"name = {quoted(name)}", "[[stage.machine]]", f"name = {quoted(name)}")
        if not known:
            page.ask("the address of the machine, and one [[stage]] for each further one, in the order of the deploy")
        elif address.behind:
            page.ask(f"the address of {name}: {seen.workflow.file} has it in {address.behind}")
        page.add(f"address = {quoted(f'{user}@{name}.example.org' if address.behind else address.text)}")
        _presence(page, name, address, seen.workflow.file)
        if roles and index == 0 and len(known) > 1 and not each_its_own:
            page.ask(f"which of these does each machine run? roles: {', '.join(roles)}")
        mine = each_its_own.get(name, roles)
        page.add(*([f"roles = {listed(*mine)}"] if mine else []), "")


def _presence(page: Page, name: str, address: Address, file: str) -> None:
    if address.may_fail:
        page.ask(f"may {name} be switched off? {file} goes on without it; if it is always on, write always")
        page.add('presence = "on-demand"')
    else:
        page.ask(f'is {name} always on? a machine that is switched off when nobody needs it is "on-demand"')
        page.add('presence = "always"')


def _names(addresses: tuple[Address, ...]) -> list[str]:
    """A machine is called by its host's first part, where that tells it from the others and is no number."""
    hosts = [re.sub(r":\d+\Z", "", each.text.rpartition("@")[2]) for each in addresses]
    hosts = [_behind(host) if "$" in host else host for host in hosts]
    short = [plain(host.partition(".")[0], otherwise="machine") for host in hosts]
    is_clear = len(set(short)) == len(short) and not any(each.isdigit() for each in short)
    names: list[str] = []
    for name in short if is_clear else (plain(host, otherwise="machine") for host in hosts):
        taken = (f"{name[:55]}-{number}" for number in range(2, len(hosts) + 2))
        names.append(name if name not in names else next(each for each in taken if each not in names))
    return names


def _behind(variable: str) -> str:
    """What a variable is called after, without the words that say it is an address: SCHEDULER_HOST is the scheduler."""
    name = re.sub(r"[${}]|\b(?:secrets|vars|env)\.", "", variable)
    words = [each for each in name.split("_") if each.lower() not in _OF_ADDRESSES]
    return "-".join(words or name.split("_"))


def _by_name(names: list[str], roles: list[str]) -> dict[str, list[str]]:
    """What each machine runs where names say so: each unit has one machine's name in its own; none is left out."""
    fits = {role: [name for name in names if name in role.split("-")] for role in roles}
    if len(names) < 2 or any(len(found) != 1 for found in fits.values()):
        return {}
    shared = {name: [role for role in roles if fits[role] == [name]] for name in names}
    return shared if all(shared.values()) else {}


def _roles(services: list[Unit]) -> list[str]:
    return list(dict.fromkeys(plain(unit.role, otherwise="service") for unit in services))


def _services(page: Page, seen: Repository, services: list[Unit]) -> None:
    for unit in seen.units:
        if unit not in services:
            page.say(f"{unit.name} is left out: {'it ends by itself' if unit.oneshot else 'name the instance'}.")
    for unit in services:
        page.take(f"the service {unit.name}", unit.file)
        if unit.command:
            page.say(f"runs {unit.command}" + (f" as {unit.user}" if unit.user else ""))
        page.add("[[service]]", f"unit = {quoted(unit.name)}")
        page.add(f"roles = {listed(plain(unit.role, otherwise='service'))}")
        port = _LISTENS.search(unit.command)
        page.ask(f"an address of {unit.name} that answers 200 when it is well, or a command")
        page.say(f'health = {{ http = "http://127.0.0.1:{port[1] if port else 8000}/", within = "30s" }}')
        page.add("")
    if not services:
        page.ask("what runs the release? one [[service]] for each systemd unit")
        page.add("# [[service]]", '# unit = "app.service"')
