"""The machines of a bench: booted ones where there are few, and ones with nothing but an sshd where there are many.

A light machine has its own disk overlay, network namespace, process tree and sshd, and no systemd: fifty of them share
two cores, and fifty systemds would be measured instead of the tools. What stands in for the service manager there is
one shell script, the same for every tool.
"""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from machines.machine import Machine, until
from machines.testbed import Testbed

BOOTED_MOST = 3
FIRST_PORT = 8001
_QUEUE = 1024

# Starts again what /opt/TOOL/current has. It waits until that is in a session of its own: who runs this script may end
# all of its process group with it.
_RESTART = """\
#!/bin/sh
set -eu
pid=/run/app/$1.pid
if [ -e "$pid" ] && old=$(cat "$pid") && kill "$old" 2>/dev/null; then
    while kill -0 "$old" 2>/dev/null; do sleep 0.01; done
fi
rm -f "$pid"
cd "/opt/$1/current"
setsid sh -c 'echo $$ >"$0.new" && mv "$0.new" "$0" && exec /usr/bin/python3 server.py "$1"' \\
    "$pid" "$(cat "/etc/app/$1")" </dev/null >/dev/null 2>&1 &
until [ -e "$pid" ]; do sleep 0.01; done
"""
# Until the service says the text, at most 20 s. bash alone, for what a script starts is what it costs.
_HEALTHY = """\
#!/bin/bash
for try in {1..1000}; do
    if { exec 3<>"/dev/tcp/127.0.0.1/$1"; } 2>/dev/null; then
        printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3
        answer=$(cat <&3)
        exec 3>&-
        [[ $answer == *"$2"* ]] && exit 0
    fi
    sleep 0.02
done
echo "port $1 does not say $2" >&2
exit 1
"""
_UNIT = """\
[Unit]
Description=The application, as {tool} deploys it
StartLimitIntervalSec=0

[Service]
User=ubuntu
WorkingDirectory=/opt/{tool}/current
ExecStart=/usr/bin/python3 server.py {port}
"""


class LightMachine(Machine):
    """An sshd in namespaces of its own."""

    def _start_command(self) -> list[str]:
        inside = f"ip link set lo up; ip link set host0 up; ip addr add {self.address}/16 dev host0; "
        inside += f"ip route add default via {'.'.join(self.address.split('.')[:2])}.0.1; "
        inside += "install -d /run/sshd; install -d -o ubuntu /run/app; exec /usr/sbin/sshd -D"
        command = ["systemd-nspawn", "-q", "-D", str(self.root), "--as-pid2", "--register=no", "--keep-unit"]
        command += [f"--network-bridge={self._bridge}", "-M", self._unit, "--console=pipe", "--resolv-conf=off"]
        return [*command, "/bin/sh", "-c", inside]


class Bed(Testbed):
    """A testbed for hundreds of machines.

    Its git server has a long queue, for git daemon's own holds five, and fifty machines ask at once. Light machines
    have a range of addresses of their own, wider than the one of booted machines.
    """

    def __init__(self) -> None:
        super().__init__()
        self._wide = f"10.{100 + int(self.network.rpartition('.')[2]) % 100}"
        subprocess.run(["ip", "addr", "add", f"{self._wide}.0.1/16", "dev", self.bridge], check=True)

    def light_machine(self, number: int) -> Machine:
        """A fresh light machine, switched off."""
        name, folder = f"m{number:03d}", self.folder / f"{number}-light"
        address = f"{self._wide}.{1 + number // 200}.{1 + number % 200}"
        public = self.key.with_suffix(".pub").read_text()
        made = LightMachine(name, address=address, folder=folder, rootfs=self._rootfs, bridge=self.bridge, key=public)
        self._machines[f"{name}-{number}"] = made
        return made

    def _serve_git(self) -> subprocess.Popen[bytes]:
        program = str(Path(__file__).with_name("git_daemon.py"))
        command = [sys.executable, program, f"{self.network}.1", str(self.git), str(_QUEUE)]
        with (self.folder / "git.log").open("ab") as log:
            daemon = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        (self.folder / "git.pid").write_text(str(daemon.pid))
        until(lambda: "ready" in (self.folder / "git.log").read_text(), limit_s=10, what="the git server")
        return daemon


class Machines:
    """All machines of a bench, in stages, with a place and a port for each tool.

    The last `asleep` of them are on demand. They are switched on at first, for nobody is asleep who was never there,
    and off when the measuring begins. `awake` are the others: those that every tool deploys to.
    """

    def __init__(self, bed: Bed, *, count: int, stages: int, asleep: int = 0, booted: bool) -> None:
        self.bed = bed
        self.booted = booted
        make = (lambda number: bed.machine(f"m{number:03d}")) if booted else bed.light_machine
        self.all = [make(number) for number in range(count)]
        self.on_demand = self.all[count - asleep :]
        self.awake = self.all[: count - asleep]
        self.behind: dict[str, tuple[str, int]] = {}
        self._stages = stages
        self._tools: list[str] = []

    def some(self, count: int) -> Machines:
        """The first of them, as a bench of its own among the others."""
        few = copy.copy(self)
        few.all, few.awake, few.on_demand = self.all[:count], self.awake[:count], []
        return few

    def boot(self) -> None:
        """Switch all of them on."""
        for machine in self.all:
            if not self.booted:
                machine.write("/etc/ssh/sshd_config.d/bench.conf", "SetEnv SYSTEMD_OFFLINE=1\n")
            machine.write("/etc/sudoers.d/bench", "ubuntu ALL=(ALL) NOPASSWD: ALL\n", mode=0o440)
            machine.write("/usr/local/bin/restart-app", _RESTART, mode=0o755)
            machine.write("/usr/local/bin/healthy", _HEALTHY, mode=0o755)
            machine.boot(wait=False)
        for machine in self.all:
            machine.wait_for_ssh()
            if self.booted:
                machine.wait_for_boot()

    def fall_asleep(self) -> None:
        """Switch off those on demand. A neighbour entry of each stays, so that what is sent there has no answer at all:

        without it the kernel itself says after a while that there is no route.
        """
        for machine in self.on_demand:
            command = ["ip", "neigh", "replace", machine.address, "lladdr", "02:00:00:00:00:01", "nud", "permanent"]
            subprocess.run([*command, "dev", self.bed.bridge], check=True)
            machine.power_cut()

    def where(self, machine: Machine) -> tuple[str, int]:
        """Host and port of its sshd as a client sees it: its own, or those of what stands before it."""
        return self.behind.get(machine.name, (machine.address, 22))

    def stages(self, machines: Sequence[Machine]) -> list[list[Machine]]:
        """The machines dealt out to the stages, in order; a stage that none is left for is not there."""
        size = -(-len(self.all) // self._stages)
        dealt = [self.all[start : start + size] for start in range(0, len(self.all), size)]
        return [kept for stage in dealt if (kept := [each for each in stage if each in machines])]

    def make_place(self, tool: str) -> None:
        """A folder and a service for a tool, on every machine that is awake."""
        self._tools.append(tool)
        for machine in self.all:
            machine.write(f"/etc/app/{tool}", f"{self.port(tool)}\n")
            unit = _UNIT.format(tool=tool, port=self.port(tool))
            machine.write(f"/etc/systemd/system/app-{tool}.service", unit)
            self._empty(machine, tool)
        if self.booted:
            self.each(lambda machine: machine.run("systemctl daemon-reload"))

    def port(self, tool: str) -> int:
        return FIRST_PORT + self._tools.index(tool)

    def restart_command(self, tool: str) -> str:
        """What every tool alike runs to restart its service."""
        if self.booted:
            return f"sudo -n /usr/bin/systemctl --no-pager restart app-{tool}.service"
        return f"/usr/local/bin/restart-app {tool}"

    def take_down(self, tool: str) -> None:
        """As if the tool had never deployed here."""
        stop = f"systemctl stop app-{tool}.service" if self.booted else f"kill $(cat /run/app/{tool}.pid)"
        self.each(lambda machine: machine.run(f"{stop} 2>/dev/null; rm -rf /opt/{tool} /run/app/{tool}.pid"))
        for machine in self.awake:
            self._empty(machine, tool)

    def each(self, work: Callable[[Machine], object]) -> list[object]:
        """The same on every machine that stays awake, some at a time."""
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(work, self.awake))

    @property
    def cpu_s(self) -> float:
        return sum(machine.cpu_s for machine in self.awake)

    @property
    def wire_bytes(self) -> int:
        return sum(machine.wire_bytes for machine in self.awake)

    def _empty(self, machine: Machine, tool: str) -> None:
        place = machine.root / "opt" / tool
        place.mkdir(parents=True, exist_ok=True)
        os.chown(place, 1000, 1000)


@contextmanager
def bed_of_machines(*, count: int, stages: int = 1, asleep: int = 0, booted: bool | None = None) -> Iterator[Machines]:
    """Machines that are switched on, and taken down at the end whatever happens."""

    def stop(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    bed = Bed()
    try:
        machines = Machines(
            bed, count=count, stages=stages, asleep=asleep, booted=count <= BOOTED_MOST if booted is None else booted
        )
        machines.boot()
        yield machines
    finally:
        _close(bed)
        signal.signal(signal.SIGTERM, before)


def _close(bed: Bed) -> None:
    """Many machines end faster side by side."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(Machine.remove, bed._machines.values()))
    bed._machines.clear()
    bed.close()


def settle(seconds: float = 0.2) -> None:
    """Let what the last run left behind end, so that the next one does not pay for it."""
    os.sync()
    time.sleep(seconds)


def folder_of(machine: Machine, path: str) -> Path:
    """A path of a machine as it is seen from here, with links of the machine followed inside it."""
    place = machine.root
    for part in Path(path.lstrip("/")).parts:
        place = place / part
        if place.is_symlink():
            target = place.readlink()
            place = machine.root / str(target).lstrip("/") if target.is_absolute() else place.parent / target
    return place
