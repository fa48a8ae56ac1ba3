"""A bridge, a key, a git server and machines: what the stories on booted machines stand on."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from machines.machine import Machine, until
from machines.rootfs import PLACE, ensure_host_packages, ensure_rootfs


class Testbed:
    """One network of machines. Two runs at once get different bridges and address ranges."""

    __test__ = False

    def __init__(self) -> None:
        ensure_host_packages()
        self._rootfs = ensure_rootfs()
        _clean_up_after_the_dead()
        number = next(n for n in range(1, 250) if _made_bridge(f"wk{n}"))
        self.bridge = f"wk{number}"
        self.network = f"10.77.{number}"
        self.folder = PLACE / f"run-{os.getpid()}-{self.bridge}"
        self.folder.mkdir(parents=True)
        (self.folder / "owner").write_text(f"{os.getpid()} {self.bridge}")
        subprocess.run(["ip", "addr", "add", f"{self.network}.1/24", "dev", self.bridge], check=True)
        subprocess.run(["ip", "link", "set", self.bridge, "up"], check=True)
        self.key = self.folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], check=True)
        self.git = self.folder / "git"
        self.git.mkdir()
        self._daemon = self._serve_git()
        self._machines: dict[str, Machine] = {}

    def machine(self, name: str) -> Machine:
        """A fresh machine, switched off."""
        address = f"{self.network}.{11 + len(self._machines)}"
        public = self.key.with_suffix(".pub").read_text()
        folder = self.folder / f"{len(self._machines)}-{name}"
        made = Machine(name, address=address, folder=folder, rootfs=self._rootfs, bridge=self.bridge, key=public)
        self._machines[f"{name}-{len(self._machines)}"] = made
        return made

    @property
    def git_daemon(self) -> int:
        """The process group of the git server."""
        return self._daemon.pid

    def git_url(self, name: str) -> str:
        return f"git://{self.network}.1/{name}"

    def write_ssh(self, folder: Path, machines: list[Machine]) -> dict[str, str]:
        """A client's SSH settings: the key, and host keys pinned to the machines' names."""
        config, known = folder / "ssh_config", folder / "known_hosts"
        config.write_text(f"Host *\n    IdentityFile {self.key}\n    IdentitiesOnly yes\n")
        known.write_text("".join(f"{each.name} {each.host_key}\n" for each in machines))
        return {"WAKELINE_SSH_CONFIG": str(config), "WAKELINE_KNOWN_HOSTS": str(known)}

    def close(self) -> None:
        for machine in self._machines.values():
            machine.remove()
        os.killpg(self._daemon.pid, signal.SIGTERM)  # git starts git-daemon as a child of its own
        self._daemon.wait(timeout=10)
        subprocess.run(["ip", "link", "del", self.bridge], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _serve_git(self) -> subprocess.Popen[bytes]:
        listen = f"--listen={self.network}.1"
        command = ["git", "daemon", "--verbose", "--export-all", "--enable=receive-pack", "--reuseaddr", listen]
        command += [f"--base-path={self.git}", str(self.git)]
        with (self.folder / "git.log").open("ab") as log:
            daemon = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        (self.folder / "git.pid").write_text(str(daemon.pid))
        until(lambda: "Ready to rumble" in (self.folder / "git.log").read_text(), limit_s=10, what="git daemon")
        return daemon


def _made_bridge(name: str) -> bool:
    """Make a bridge of that name; False where another run, or another worker of this one, has it."""
    return (
        subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=False, capture_output=True).returncode == 0
    )


def _clean_up_after_the_dead() -> None:
    """A run that was killed must not leave machines behind: they are found by the pids that it wrote down."""
    for owner in PLACE.glob("run-*/owner"):
        pid, bridge = owner.read_text().split()
        if Path(f"/proc/{pid}").exists():
            continue
        for written in owner.parent.glob("**/*pid"):
            with contextlib.suppress(OSError, ValueError):  # it has ended
                number = int(written.read_text())
                if _is_ours(number):
                    for child in _children(number):
                        os.kill(child, signal.SIGKILL)
                    os.kill(number, signal.SIGKILL)
        for root in owner.parent.glob("*/root"):
            subprocess.run(["umount", "-l", str(root)], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", bridge], check=False, capture_output=True)
        shutil.rmtree(owner.parent, ignore_errors=True)


def _is_ours(pid: int) -> bool:
    words = Path(f"/proc/{pid}/cmdline").read_bytes()
    return str(PLACE).encode() in words and (b"systemd-nspawn" in words or b"daemon" in words)


def _children(pid: int) -> Iterator[int]:
    yield from map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
