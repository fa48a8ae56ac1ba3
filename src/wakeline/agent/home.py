"""Where the agent keeps its things on a machine: HOME/APP/ENVIRONMENT/…, for its user alone."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from wakeline.agent import durable
from wakeline.errors import Usage

DEFAULT_HOME = Path("/var/lib/wakeline")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")


class Home(NamedTuple):
    """One app's folder in one environment. Nothing in it is readable by others."""

    root: Path
    app: str
    environment: str

    @property
    def folder(self) -> Path:
        """HOME/APP/ENVIRONMENT."""
        return self.root / self.app / self.environment

    @property
    def config(self) -> dict[str, Any]:
        """What `wakeline setup` wrote, or nothing."""
        return durable.read_json(self.folder / "config.json")

    @property
    def is_set_up(self) -> bool:
        """True when setup was here, and what it wrote can be acted on."""
        said = [self.config.get(key) for key in ("machine", "machine_id", "ledger", "path")]
        return all(isinstance(each, str) and each for each in said)

    @property
    def identity(self) -> str:
        """Which machine this is: systemd's machine-id, or for a machine that is a folder what setup called it."""
        config = self.config
        return str(config["machine_id"]) if config.get("local") else machine_id()

    @property
    def is_clone(self) -> bool:
        """True when setup was told of another machine: this disk was copied, with the agent's folder on it."""
        known = self.config.get("machine_id")
        return bool(known) and known != self.identity

    def is_another(self, expected: Any) -> str:
        """Why this is not the machine that was meant, or nothing: `wakeline setup` binds a name to a machine-id."""
        if not isinstance(expected, str) or not expected or expected == self.identity:
            return ""
        return f"this is machine {self.identity[:12]}, and setup knew it as {expected[:12]}: a clone, or built anew?"

    @property
    def reports(self) -> Path:
        """Check-ins that could not be written to the ledger and wait for the next contact."""
        return self.folder / "reports"

    @property
    def saved_order(self) -> Path:
        """The last accepted order, for the confirmation after a boot."""
        return self.folder / "order.json"

    def order_of(self, release: int) -> Path:
        """The order of a release that was switched to, as long as it can be gone back to.

        A later one may be accepted and come to nothing, or be gone back from: then this one is what must be finished.
        """
        return self.folder / "orders" / f"{release}.json"

    @property
    def seen(self) -> Path:
        """What was last seen of the ledger; what it meant up to there is remembered beside it."""
        return self.folder / "seen.json"

    @property
    def looked(self) -> Path:
        """What was found when the ledger was last read in full, and there was nothing to do (agent/glance.py)."""
        return self.folder / "looked.json"

    def forget_look(self) -> None:
        """Let the next look be a whole one, whatever it finds."""
        self.looked.unlink(missing_ok=True)

    def forget_orders(self, *, but: Callable[[int], bool]) -> None:
        """Remove the orders of releases that nobody can go back to any more."""
        for path in (self.folder / "orders").glob("*.json"):
            if path.stem.isdigit() and not but(int(path.stem)):
                path.unlink(missing_ok=True)

    def log(self, release: int, step: str) -> Path:
        """The log of one step of one release."""
        return self.folder / "logs" / str(release) / f"{file_name(step)}.log"

    def take_name(self, machine: str) -> None:
        """Be called what an order that was meant for this machine calls it: it may have been renamed."""
        config = self.config
        if config and config.get("machine") not in ("", machine):
            durable.write_json(
                self.folder / "config.json", {**config, "machine": machine, "renamed_from": config.get("machine")}
            )

    def make(self) -> None:
        """Make the folders. A folder that is there keeps its mode."""
        for name in ("reports", "logs", "once", "orders"):
            durable.make_folder(self.folder / name, mode=0o700)

    def tools(self) -> dict[str, str]:
        """The programs that ask an application's database, put beside the agent when they are not there.

        By the name of the variable that leads a command of the fleet file to each.
        """
        names = {"WAKELINE_VERIFY": "verify_migrations.py", "WAKELINE_LOCK": "migration_lock.py"}
        from_us: Any = sys.modules[__name__].__loader__  # pkgutil.get_data, without its import
        texts = {name: from_us.get_data(str(Path(__file__).with_name(name))) for name in names.values()}
        folder = self.root / "tools" / hashlib.sha256(b"".join(texts.values())).hexdigest()[:12]
        for name, text in texts.items():
            if not (folder / name).exists():
                durable.make_folder(folder, mode=0o700)
                durable.write_bytes(folder / name, text, mode=0o600)
        return {variable: str(folder / name) for variable, name in names.items()}

    def waiting_reports(self) -> list[tuple[Path, Mapping[str, Any]]]:
        """The check-ins that wait here, oldest first, with the file of each."""
        found = sorted(self.reports.glob("*.json"))
        return [(path, body) for path in found if (body := durable.read_json(path))]


def home_of(root: Path, app: str, environment: str) -> Home:
    """The home of an app. Raises Usage for a name that would lead elsewhere."""
    for name in (app, environment):
        if not isinstance(name, str) or not _NAME.match(name):
            raise Usage(f"{name!r} is not a name: letters, digits, `.`, `_` and `-`, at most 100 of them")
    return Home(root, app, environment)


def homes(root: Path) -> Iterator[Home]:
    """Every app and environment that this machine was set up for or has run."""
    for folder in sorted(root.glob("*/*")):
        if (folder / "config.json").exists() or (folder / "journal.jsonl").exists():
            yield Home(root, folder.parent.name, folder.name)


def file_name(text: str) -> str:
    """A name from an order as a file name; two names never become one."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", text).lstrip(".") or "_"
    if safe == text and len(safe) <= 80:
        return safe
    return f"{safe[:60]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def machine_id() -> str:
    """What systemd says this machine is."""
    return _first_line("/etc/machine-id")


def boot_id() -> str:
    """A new one at every boot."""
    return _first_line("/proc/sys/kernel/random/boot_id")


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text("ascii", "replace").strip()
    except OSError:
        return ""
