"""Where an agent starts: what finds everything at rest ends here, before what carries out orders is imported.

A timer looks every few minutes on every machine, and nearly always there is nothing new: one question to the remote,
one comparison with what was found when the ledger was last read in full. Anything else, and what is not plainly
as it was, goes the whole way (agent/catch_up.py), which judges anew. A runner that deploys what runs already asks
`status --brief`, of all machines at once: nor does that need more than a few small files where nothing is going on.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from typing import Any

CONFIRMED = "confirmed"
_TRY_AGAIN = 75  # as in catch_up
_GIT_S = 60.0


def main() -> int:
    """The agent's command line."""
    words = sys.argv[1:]
    if len(words) == 4 and (words[0], *words[2:]) == ("--home", "status", "--brief"):
        said = _brief(words[1])
        if said is not None:
            sys.stdout.write(json.dumps(said) + "\n")
            return 0
    asked = _asked(words)
    if asked is not None:
        code = _look(*asked)
        if code is not None:
            return code
    from wakeline.agent.__main__ import main as whole  # noqa: PLC0415 - 50 ms, for those that have something to do

    return whole()


def _asked(words: list[str]) -> tuple[str, str, str] | None:
    """Home, app and environment of `--home H catch-up --app A --environment E [--boot]`; None for anything else."""
    rest = [each for each in words if each != "--boot"]
    if [rest[at] for at in (0, 2, 3, 5) if len(rest) == 7] != ["--home", "catch-up", "--app", "--environment"]:
        return None
    home, app, environment = rest[1], rest[4], rest[6]
    plain = all(name and "/" not in name and not name.startswith((".", "-")) for name in (app, environment))
    return (home, app, environment) if plain else None


def _look(home: str, app: str, environment: str) -> int | None:
    """The exit code where there is no news; None where the whole way must be gone."""
    folder = f"{home}/{app}/{environment}"
    config, looked = _json(f"{folder}/config.json"), _json(f"{folder}/looked.json")
    runs = _confirmed(str(config.get("path") or ""))
    url = config.get("ledger")
    known = runs is not None and (looked.get("runs"), looked.get("confirmed")) == (runs, True)
    if not known or not isinstance(url, str) or url.startswith("sqlite:") or not _is_at_rest(folder, config):
        return None
    from wakeline.edges import git  # noqa: PLC0415 - asked for only when everything else is as it was

    ref = f"refs/wakeline/{app}/{environment}/log"
    try:
        stamp = git.remote_refs(url, ref, at=folder, timeout_s=_GIT_S).get(ref, "")
    except (git.GitFailed, git.GitMissing) as error:
        sys.stderr.write(f"{app}/{environment}: keeps running what runs: {error.message}\n")
        return _TRY_AGAIN
    if stamp != looked.get("stamp"):
        return None
    sys.stderr.write(f"{app}/{environment}: runs release {runs}, and nothing new was decided\n")
    return 0


def _brief(root: str) -> list[dict[str, Any]] | None:
    """What every app here says of itself, as the whole agent would; None where one is not plainly at rest."""
    said = []
    for app, environment in ((each, name) for each in _names(root) for name in _names(f"{root}/{each}")):
        folder = f"{root}/{app}/{environment}"
        if not any(os.path.exists(f"{folder}/{name}") for name in ("config.json", "journal.jsonl")):  # noqa: PTH110
            continue
        config = _json(f"{folder}/config.json")
        path, machine = config.get("path"), config.get("machine")
        runs = _confirmed(path) if isinstance(path, str) else None
        if runs is None or not isinstance(machine, str) or not machine or not _is_at_rest(folder, config):
            return None
        info = _json(f"{path}/releases/{runs}/.wakeline-release.json")
        reports = [_json(f"{folder}/reports/{name}") for name in _names(f"{folder}/reports") if name.endswith(".json")]
        ids = {
            "machine_id": str(config.get("machine_id")) if config.get("local") else _machine_id(),
            "boot_id": _first_line("/proc/sys/kernel/random/boot_id"),
        }
        runs_now = {"current": runs, "commit": info.get("commit", ""), "state": CONFIRMED, "edited": False}
        rest = {"reports": [each for each in reports if each], "problem": "", "busy": False, "doing": {}}
        names = {"app": app, "environment": environment, "machine": machine, "path": path}
        said.append({**ids, **names, **runs_now, **rest})
    return said


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - as below
    except OSError:
        return []


def _confirmed(path: str) -> int | None:
    """The release that PATH/current points to, if it is a folder of ours that says it was confirmed."""
    try:
        name = os.path.basename(os.readlink(f"{path}/current"))  # noqa: PTH115, PTH119 - pathlib takes 4 ms to import
    except OSError:
        return None
    said = _json(f"{path}/releases/{name}/.wakeline-release.json")
    return int(name) if name.isdigit() and said.get("state") == CONFIRMED else None


def _is_at_rest(folder: str, config: dict[str, Any]) -> bool:
    """No report waits, no checkout in place, nobody at work, and this is the machine that setup knew."""
    if any(os.path.exists(f"{folder}/{name}") for name in ("reports/catch-up.json", "in-place.json")):  # noqa: PTH110
        return False
    if not config.get("local") and config.get("machine_id") not in (None, "", _machine_id()):
        return False
    try:
        fd = os.open(f"{folder}/lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def _machine_id() -> str:
    return _first_line("/etc/machine-id")


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:  # noqa: PTH123 - as above
            return file.readline().strip()
    except OSError:
        return ""


def _json(path: str) -> dict[str, Any]:
    """The object in a file; an empty one for whatever cannot be read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - as above
            data = json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
