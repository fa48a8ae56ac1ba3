"""The shell script that makes a machine ready, as root: folders, sudoers lines, the helper, the units.

It is what `wakeline setup --print` shows, word for word. Every file is written beside and renamed, and only when it
differs, so a second run changes nothing and says so.

None of our units calls sudo: a unit that may, cannot be protected (tried: the best score of `systemd-analyze security`
was 5.9). What needs root at boot goes through a root-owned helper on a socket that only the deploy user may open; it
knows a fixed list of lines.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence

from wakeline.agent import privileges
from wakeline.core.model import Machine
from wakeline.core.order import Layout, Service
from wakeline.driver import machine_command
from wakeline.fleet.file import FleetFile

HOME = "/var/lib/wakeline"
DROP_IN = "50-wakeline.conf"


@dataclasses.dataclass(frozen=True)
class Copy:
    """A shared path that is copied from where it is now: as it is, with mode and owner, and never over another."""

    name: str
    to: str
    at: str
    kind: str
    mode: str
    owner: str


@dataclasses.dataclass(frozen=True)
class Found:
    """What the script does beyond the fleet file, from what was found on a machine.

    `units` has the lines of each drop-in's [Service] section, `adopted` the folder that is release 0.
    """

    units: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    adopted: str = ""
    copies: tuple[Copy, ...] = ()


def render(file: FleetFile, machine: Machine, *, agent_digest: str, found: Found = Found()) -> str:
    """The whole script for one machine."""
    user = machine.address.rpartition("@")[0] or "root"
    name = name_of(file)
    lines = ["set -eu", _ENSURE, *_folders(file, user)]
    lines += _adopt(file, user, found.adopted) if found.adopted else []
    lines += [_copy(each) for each in found.copies]
    lines += [
        f"ensure {shlex.quote(path)} {mode:o} <<'WAKELINE'\n{text}WAKELINE"
        for path, (mode, text) in files_of(file, machine, found=found).items()
    ]
    lines += _checks(name)
    lines.append(f"echo 'agent {agent_digest[:12]} is sent at the first contact'")
    return "\n".join(lines) + "\n"


def name_of(file: FleetFile) -> str:
    """What everything of ours on a machine is named after: one machine can be in several fleets."""
    return f"wakeline-{file.fleet.app}-{file.fleet.environment}"


def drop_in_of(unit: str) -> str:
    """Our drop-in of a unit of the application."""
    return f"/etc/systemd/system/{unit}.d/{DROP_IN}"


def units_of(file: FleetFile, machine: Machine) -> list[str]:
    """The units of a machine's services."""
    return [each.unit for each in _services(file, machine) if each.unit]


def files_of(file: FleetFile, machine: Machine, *, found: Found = Found()) -> dict[str, tuple[int, str]]:
    """Every file that `setup` writes on a machine, with mode and text; `leave` takes them away again."""
    user, name = machine.address.rpartition("@")[0] or "root", name_of(file)
    units = units_of(file, machine)
    files = {
        f"/etc/sudoers.d/{name}": (0o440, _sudoers(user, units)),
        f"/usr/local/lib/wakeline/{name}-helper": (0o755, _helper(units)),
        f"/usr/local/bin/{name}": (0o755, machine_command.render(file, name=name, user=user, home=HOME)),
        f"/etc/systemd/system/{name}-helper.socket": (0o644, _helper_socket(name, user)),
        f"/etc/systemd/system/{name}-helper@.service": (0o644, _helper_service(name)),
        f"/etc/systemd/system/{name}-boot.service": (0o644, _boot(file, name, user, units)),
        f"/etc/systemd/system/{name}-confirm.service": (0o644, _confirm(file, name, user, units)),
        f"/etc/systemd/system/{name}-catchup.service": (0o644, _catch_up(file, name, user)),
        f"/etc/systemd/system/{name}-catchup.timer": (0o644, _timer()),
        f"/etc/systemd/system/{name}-resume.service": (0o644, _resume(file, user)),
    }
    for unit in units:
        files[drop_in_of(unit)] = (0o644, _drop_in(file, name, found.units.get(unit)))
    return files


TOOLS = ("git", "python3", "systemctl")
_ENSURE = """\
ensure() {
    mkdir -p "$(dirname "$1")"
    cat >"$1.wakeline-new"
    chmod "$2" "$1.wakeline-new"
    if cmp -s "$1" "$1.wakeline-new"; then
        rm "$1.wakeline-new"
        echo "$1 is as it should be"
    else
        mv "$1.wakeline-new" "$1"
        echo "$1 written"
    fi
}"""


def _folders(file: FleetFile, user: str) -> list[str]:
    owner = shlex.quote(user)
    path, in_place = shlex.quote(file.deploy.path), file.deploy.layout is Layout.IN_PLACE
    return [
        f"id -u {owner} >/dev/null || {{ echo 'there is no user {user} here' >&2; exit 1; }}",
        f'install -d -m 0700 -o {owner} -g "$(id -gn {owner})" {HOME}',
        *(
            []
            if in_place
            else [f'install -d -m 0755 -o {owner} -g "$(id -gn {owner})" {path} {path}/shared {path}/releases']
        ),
        *(f"command -v {tool} >/dev/null || {{ echo 'missing: {tool}' >&2; exit 1; }}" for tool in TOOLS),
    ]


def _adopt(file: FleetFile, user: str, folder: str) -> list[str]:
    """Release 0 is the folder that the services run from now, and `current` leads there until the first release."""
    path, owner, old = shlex.quote(file.deploy.path), shlex.quote(user), shlex.quote(folder)
    return [
        f"if [ ! -e {path}/current ] && [ ! -L {path}/current ]; then",
        f"    ln -sfn {old} {path}/releases/0",
        f"    ln -s releases/0 {path}/current",
        f"    chown -h {owner}: {path}/releases/0 {path}/current",
        f"    echo {path}/current leads to {old}: release 0",
        "fi",
    ]


def _copy(copy: Copy) -> str:
    """Beside, then renamed: an interrupted copy is not taken for the whole. Its content is never shown."""
    to, at, new = shlex.quote(copy.to), shlex.quote(copy.at), shlex.quote(f"{copy.to}.wakeline-new")
    return f"""\
if [ ! -e {to} ] && [ ! -L {to} ]; then
    mkdir -p "$(dirname {to})"
    rm -rf {new}
    cp -a -- "$(readlink -f {at})" {new}
    mv -n -T -- {new} {to}
    rm -rf {new}
    echo {to} copied from {at}
fi"""


def _checks(name: str) -> list[str]:
    return [
        f"if command -v visudo >/dev/null; then visudo -cqf /etc/sudoers.d/{name}; fi",
        "systemctl daemon-reload",
        f"systemctl enable --quiet {name}-boot.service {name}-confirm.service",
        f"systemctl enable --quiet {name}-catchup.timer {name}-helper.socket {name}-resume.service",
        f"systemctl start {name}-helper.socket {name}-catchup.timer",
        "echo 'units enabled'",
    ]


def _services(file: FleetFile, machine: Machine) -> list[Service]:
    mine = set(machine.roles)
    return [each for each in file.services if not each.roles or mine & set(each.roles)]


def _sudoers(user: str, units: list[str]) -> str:
    lines = [
        "# Written by `wakeline setup`: exactly what a rollout may do as root here.",
        *privileges.sudoers(user, units),
    ]
    return "\n".join(lines) + "\n"


def _helper(units: list[str]) -> str:
    """Root's side of the socket: one line in, its exit code and words out. What is not on the list is refused."""
    cases = [
        f"    '{verb} {unit}') {' '.join(privileges.argv(verb, unit, way=privileges.ROOT_WAY))} 2>&1 ;;"
        for unit in units
        for verb in privileges.VERBS
    ]
    cases.append(f"    '{privileges.HOLD_OFF}') exec {shlex.join(privileges.HOLD_OFF_ARGV)} >/dev/null ;;")
    return "\n".join(
        [
            "#!/bin/sh",
            "# Started by the socket of the same name, as root, for the deploy user's agent alone.",
            "IFS= read -r line || exit 1",
            'case "$line" in',
            *cases,
            "    *) echo 'not on the list'; false ;;",
            "esac",
            'echo "exit $?"',
            "",
        ]
    )


def _helper_socket(name: str, user: str) -> str:
    return f"""\
[Unit]
Description=What wakeline's catch-up may ask root for

[Socket]
ListenStream=/run/{name}.sock
SocketUser={user}
SocketMode=0600
Accept=yes

[Install]
WantedBy=sockets.target
"""


def _helper_service(name: str) -> str:
    return f"""\
[Unit]
Description=One request of wakeline's catch-up
CollectMode=inactive-or-failed

[Service]
ExecStart=/usr/local/lib/wakeline/{name}-helper
StandardInput=socket
StandardOutput=socket
StandardError=journal
RuntimeMaxSec=180
{_SANDBOX_OF_HELPER}"""


def _agent(file: FleetFile, *flags: str) -> str:
    which = f"--app {file.fleet.app} --environment {file.fleet.environment}"
    return " ".join(["/usr/bin/python3", f"{HOME}/agent.pyz", "--home", HOME, "catch-up", which, *flags])


def _boot(file: FleetFile, name: str, user: str, units: list[str]) -> str:
    """Before the services: lay out and switch, within a limit. Nothing requires it, so a failure keeps what runs.

    What did not get ready within the limit is taken up again at once by the unit that nothing waits for.
    """
    return f"""\
[Unit]
Description=Bring {file.fleet.app} to its newest approved release before it starts
OnFailure={name}-catchup.service
Wants=network-online.target
After=network-online.target
Before={" ".join(units)}
ConditionPathExists={HOME}/agent.pyz

[Service]
Type=oneshot
ExecStart={_agent(file, "--boot")}
TimeoutStartSec={int(file.deploy.boot_limit_s)}
TimeoutStopSec=15
{_sandbox(user)}
[Install]
WantedBy=multi-user.target
"""


def _confirm(file: FleetFile, name: str, user: str, units: list[str]) -> str:
    """After the services: healthy, or back. Nothing is ordered after it, so it may restart them."""
    return f"""\
[Unit]
Description=Confirm the release of {file.fleet.app} that this boot switched to, or go back
After={name}-boot.service {" ".join(units)}
ConditionPathExists={HOME}/agent.pyz

[Service]
Type=oneshot
ExecStart={_agent(file, "--confirm")}
TimeoutStartSec=600
{_sandbox(user)}
[Install]
WantedBy=multi-user.target
"""


def _catch_up(file: FleetFile, name: str, user: str) -> str:
    return f"""\
[Unit]
Description=Look whether {file.fleet.app} should run a newer release
ConditionPathExists={HOME}/agent.pyz
After={name}-confirm.service

[Service]
Type=oneshot
ExecStart={_agent(file)}
TimeoutStartSec=3600
Restart=on-failure
RestartSec=30
{_sandbox(user)}"""


def _resume(file: FleetFile, user: str) -> str:
    """After a resume: these targets are reached when the machine is awake again (systemd.special(7), suspend.target).

    A unit of its own, because one that is at work when the machine is suspended is not started anew by its target.
    """
    sleeps = "suspend.target hibernate.target hybrid-sleep.target suspend-then-hibernate.target"
    return f"""\
[Unit]
Description=Look whether {file.fleet.app} should run a newer release, now that this machine is awake again
ConditionPathExists={HOME}/agent.pyz
After={sleeps}

[Service]
Type=oneshot
ExecStart={_agent(file)}
TimeoutStartSec=3600
Restart=on-failure
RestartSec=30
{_sandbox(user)}
[Install]
WantedBy={sleeps}
"""


def _timer() -> str:
    """Boot and a slow beat. Its clock stands still while the machine is suspended: a resume has a unit of its own."""
    return """\
[Unit]
Description=Look now and then whether a newer release is approved

[Timer]
OnBootSec=20
OnUnitInactiveSec=15min
RandomizedDelaySec=60
FixedRandomDelay=true
WakeSystem=false

[Install]
WantedBy=timers.target
"""


def _drop_in(file: FleetFile, name: str, lines: Sequence[str] | None) -> str:
    """What moves a unit to `current`; without a look at the unit (`lines` None) only where it starts is known."""
    head = f"# Written by `wakeline setup`; `wakeline leave` removes it.\n[Unit]\nAfter={name}-boot.service\n"
    if file.deploy.layout is Layout.IN_PLACE:
        return head  # the unit starts in the checkout already
    start = ("WorkingDirectory=", f"WorkingDirectory={file.deploy.path}/current")
    body = "\n".join(start if lines is None else lines)
    return f"{head}\n[Service]\n{body}\n"


def _sandbox(user: str) -> str:
    """What our units may do: what the deploy user may on a push, and nothing that makes more of it.

    Steps must find at boot what they find on a push, so what that user may write is writable here too.
    """
    return f"""\
User={user}
UMask=0022
NoNewPrivileges=yes
ProtectSystem=full
ProtectHome=no
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictSUIDSGID=yes
RestrictRealtime=yes
RestrictNamespaces=yes
LockPersonality=yes
RemoveIPC=yes
CapabilityBoundingSet=
AmbientCapabilities=
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
"""


_SANDBOX_OF_HELPER = """\
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateNetwork=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
RestrictNamespaces=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
CapabilityBoundingSet=
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
RestrictAddressFamilies=AF_UNIX
"""
