"""One booted machine: switched on and off, cut from power and network, and looked at from outside."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

import leaks

BOOT_S = 30.0


def until(holds: Callable[[], object], *, limit_s: float, what: str) -> None:
    """Wait for a condition, at most so long."""
    ends = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > ends:
            raise AssertionError(f"{what}: not within {limit_s:g} s")
        time.sleep(0.05)


class Machine:
    """An overlay on the root file system, an address on the bridge, and the power switch."""

    def __init__(self, name: str, *, address: str, folder: Path, rootfs: Path, bridge: str, key: str) -> None:
        self.name = name
        self.address = address
        self.folder = folder
        self.root = folder / "root"
        self._bridge = bridge
        self._unit = f"{bridge}{name}"[:11]
        self._nspawn: subprocess.Popen[bytes] | None = None
        for part in ("upper", "work", "root"):
            (folder / part).mkdir(parents=True)
        options = f"lowerdir={rootfs},upperdir={folder}/upper,workdir={folder}/work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(self.root)], check=True)
        self.write(
            "/etc/systemd/network/10-host.network",
            f"[Match]\nName=host0\n[Network]\nAddress={address}/24\nGateway={address.rpartition('.')[0]}.1\n"
            "LinkLocalAddressing=no\nIPv6AcceptRA=no\n",
        )
        self.write("/etc/hostname", f"{name}\n")
        self.write("/etc/machine-id", f"{uuid.uuid4().hex}\n")
        self.write("/etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {name} {self._unit}\n")
        self.write("/etc/resolv.conf", "")
        self.write("/home/ubuntu/.ssh/authorized_keys", key, owner=1000)
        self.write("/root/.ssh/authorized_keys", key)
        self.new_host_key()

    # --- power ---

    def boot(self, *, wait: bool = True) -> None:
        """Switch it on: a true boot, a new boot id, units run."""
        for group in self._groups:
            group.mkdir(exist_ok=True)
        join = " && ".join(f"echo $$ >{group}/cgroup.procs" for group in self._groups)
        command = ["/bin/sh", "-c", f'{join} && exec "$@"', "sh", *self._start_command()]
        with (self.folder / "console.log").open("ab") as log:
            self._nspawn = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        (self.folder / "pid").write_text(str(self._nspawn.pid))
        if wait:
            self.wait_for_ssh()

    def _start_command(self) -> list[str]:
        command = ["systemd-nspawn", "-q", "-D", str(self.root), "--boot", "--register=no", "--keep-unit"]
        return [
            *command,
            f"--network-bridge={self._bridge}",
            "-M",
            self._unit,
            "--console=passive",
            "--resolv-conf=off",
        ]

    def power_off(self) -> None:
        """Switch it off in good order."""
        if self.is_on:
            os.kill(self._leader(), signal.SIGRTMIN + 4)
            assert self._nspawn is not None
            self._nspawn.wait(timeout=60)

    def power_cut(self) -> None:
        """Pull the plug: nothing is told, nothing is written back."""
        if self.is_on:
            assert self._nspawn is not None
            for child in self._children():  # none as yet, in the first moment of a boot
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            self._nspawn.kill()
            self._nspawn.wait(timeout=30)
            # its end of the cable goes when the kernel gets round to it, and would be in the way of the next boot
            subprocess.run(["ip", "link", "del", self._cable], check=False, capture_output=True)
            until(lambda: not Path(f"/sys/class/net/{self._cable}").exists(), limit_s=10, what="its cable is gone")

    @property
    def is_on(self) -> bool:
        return self._nspawn is not None and self._nspawn.poll() is None

    def remove(self) -> None:
        """Switch it off and take it down."""
        self.power_cut()
        self._remove_groups()
        subprocess.run(["umount", "-l", str(self.root)], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _groups(self) -> list[Path]:
        """A cgroup of its own in each hierarchy.

        Without one all machines share theirs, and one that boots takes away the groups of another's units: seen as a
        failed systemd-user-sessions (219/CGROUP), and a machine that never lets users in.
        """
        roots = [Path("/sys/fs/cgroup", name) for name in ("", "systemd", "unified", "cpuacct")]
        return [root / f"test-{self._unit}" for root in roots if (root / "cgroup.procs").exists()]

    def _remove_groups(self) -> None:
        for group in self._groups:
            for folder, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):  # what still ends in it keeps it, and it is empty by then
                    Path(folder).rmdir()

    # --- network ---

    def cut_network(self) -> None:
        self._link("down")

    def restore_network(self) -> None:
        self._link("up")

    def _link(self, state: str) -> None:
        subprocess.run(["ip", "link", "set", self._cable, state], check=True)

    @property
    def wire_bytes(self) -> int:
        """What went over its cable since it was switched on, both ways together."""
        counters = Path("/sys/class/net", self._cable, "statistics")
        return sum(int((counters / name).read_text()) for name in ("rx_bytes", "tx_bytes"))

    @property
    def cpu_s(self) -> float:
        """The processor time of everything that ran on it, from its cgroup; one hierarchy or several."""
        for group in self._groups:
            if (group / "cpuacct.usage").exists():
                return int((group / "cpuacct.usage").read_text()) / 1e9
            if (group / "cpu.stat").exists():
                words = (group / "cpu.stat").read_text().split()
                if "usage_usec" in words:
                    return int(words[words.index("usage_usec") + 1]) / 1e6
        raise AssertionError("no cgroup here counts processor time")

    @property
    def _cable(self) -> str:
        return f"vb-{self._unit}"[:15]

    # --- inside ---

    def run(self, command: str, *, check: bool = True, limit_s: float = 60.0) -> str:
        """Run a command as root inside, also where sshd is stopped."""
        enter = ["nsenter", "-t", str(self._leader()), "-m", "-u", "-i", "-n", "-p", "/bin/sh", "-c", command]
        done = subprocess.run(enter, capture_output=True, text=True, timeout=limit_s, check=False)
        if check and done.returncode:
            raise AssertionError(f"{self.name}: {command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def write(self, path: str, text: str, *, mode: int = 0o644, owner: int = 0) -> None:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)
        os.chown(place, owner, owner)

    def read(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text()

    def exists(self, path: str) -> bool:
        return os.path.lexists(self.root / path.lstrip("/"))

    def link(self, path: str) -> str:
        place = self.root / path.lstrip("/")
        return str(place.readlink()) if place.is_symlink() else ""

    def new_host_key(self) -> str:
        """Give it another host key; returns the public half."""
        place = self.root / "etc/ssh/ssh_host_ed25519_key"
        place.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", str(place)], check=True)
        return place.with_suffix(".pub").read_text().strip()

    @property
    def host_key(self) -> str:
        return (self.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().strip()

    # --- looked at from outside ---

    def http(self, path: str = "/", *, port: int = 8000) -> str:
        """What it serves, or an empty string when it does not."""
        try:
            with urllib.request.urlopen(f"http://{self.address}:{port}{path}", timeout=2) as answer:
                return str(answer.read().decode().strip())
        except (urllib.error.URLError, OSError):
            return ""

    def wait_for_ssh(self, *, limit_s: float = BOOT_S) -> None:
        until(lambda: self._answers(22), limit_s=limit_s, what=f"{self.name}: sshd\n{self._console()}")

    def wait_for_boot(self, *, limit_s: float = 90.0) -> None:
        """Every unit of the boot has had its turn."""
        self.wait_for_ssh()
        said = self.run("systemctl is-system-running --wait || true", limit_s=limit_s).strip()
        assert said in ("running", "degraded"), said
        assert not self.run("ls /run/nologin 2>/dev/null || true"), self.run("systemctl --failed --no-pager")

    def wait_until_it_serves(self, text: str, *, limit_s: float = 30.0) -> None:
        until(lambda: self.http() == text, limit_s=limit_s, what=f"{self.name} serves {self.http()!r}, not {text!r}")

    def sql(self, query: str) -> str:
        return self.run(f'psql -U postgres -h /var/run/postgresql -d shop -Atc "{query}"').strip()

    def leaks(self, planted: leaks.Planted, *, allowed: Iterable[str] = ()) -> list[str]:
        """Where a secret can be read: in all that was ever written there, to disk or memory, and in the journal."""
        console = (self.folder / "console.log").read_bytes()
        texts = {f"{self.name}'s journal": self._journal(), f"{self.name}'s console": console}
        found = leaks.in_texts(planted, texts)
        allowed = (*allowed, "*:/var/log/journal/*")  # read above, and as files they are packed
        found += leaks.in_files(planted, self.folder / "upper", called=f"{self.name}:", allowed=allowed)
        for place in self._in_memory():
            folder = Path(f"/proc/{self._leader()}/root{place}")
            found += leaks.in_files(planted, folder, called=f"{self.name}:{place}", allowed=allowed)
        return found

    def _journal(self) -> bytes:
        """Everything that the journal has, every boot and every field, also where the machine is off."""
        if self.is_on:
            self.run("journalctl --sync", check=False)
        place = self.root / "var/log/journal"
        read = ["journalctl", "--no-pager", "--quiet", "--all", "--output=export", f"--directory={place}"]
        done = subprocess.run(read, capture_output=True, check=False)
        assert done.stdout, f"{self.name} has no journal: {done.stderr.decode()}"
        return done.stdout

    def _in_memory(self) -> list[str]:
        """Where it has file systems that are in memory alone; none when it is off."""
        if not self.is_on:
            return []
        mounts = [line.split() for line in Path(f"/proc/{self._leader()}/mounts").read_text().splitlines()]
        return [
            words[1] for words in mounts if words[2] == "tmpfs" and not words[1].startswith(("/sys", "/dev", "/proc"))
        ]

    def _answers(self, port: int) -> bool:
        try:
            with socket.create_connection((self.address, port), timeout=0.3) as connection:
                return connection.recv(3) == b"SSH"
        except OSError:
            return False

    def _leader(self) -> int:
        return self._children()[0]

    def _children(self) -> list[int]:
        assert self._nspawn is not None
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text()
        return [int(child) for child in children.split()]

    def _console(self) -> str:
        return (self.folder / "console.log").read_text(errors="replace")[-1500:]
