"""The shell script that takes wakeline off a machine again: the counterpart of machine_script.py.

It has two modes, and they are one text: a look says `would be removed` where the other says `removed`. What the
application needs to go on running stays: its folders, `current`, its units. So does what nobody else has: saved
changes, logs, the journal, and words that wait for their next contact (law 9).
"""

from __future__ import annotations

import shlex

from wakeline.core.model import Machine
from wakeline.driver import machine_script
from wakeline.driver.machine_script import DROP_IN, name_of
from wakeline.fleet.file import FleetFile

KEPT = ("saved", "logs", "reports", "journal.jsonl")
BUSY = 75  # EX_TEMPFAIL: the agent is at work there


def render(file: FleetFile, machine: Machine, *, home: str, path: str, really: bool) -> str:
    """The whole script for one machine. A machine that is a folder has nothing of root's."""
    parts = ["set -eu", f"really={'yes' if really else 'no'}", _WORDS, _lock(file, home)]
    if not machine.address.startswith("local:"):
        parts.append(_of_root(file, machine))
    parts += [_of_agent(file, home), _what_stays(path)]
    return "\n".join(parts) + "\n"


_WORDS = """\
drop() {
    for each in "$@"; do
        [ -e "$each" ] || [ -L "$each" ] || continue
        if [ "$really" = yes ]; then rm -rf -- "$each"; fi
        done_to "$each" removed
    done
}
done_to() {
    if [ "$really" = yes ]; then echo "$1 $2"; else echo "$1 would be $2"; fi
}"""


def _lock(file: FleetFile, home: str) -> str:
    """The lock of the agent itself: what it has begun there is not cut off, and it begins nothing meanwhile."""
    lock = shlex.quote(f"{_mine(file, home)}/lock")
    return f"""\
if [ -e {lock} ]; then
    exec 9<{lock}
    flock -n 9 || {{ echo 'its agent is at work; try again when that has ended' >&2; exit {BUSY}; }}
fi"""


def _of_root(file: FleetFile, machine: Machine) -> str:
    name = name_of(file)
    files = [each for each in machine_script.files_of(file, machine) if not each.endswith(f"/{DROP_IN}")]
    units = [each.rpartition("/")[2] for each in files if each.startswith("/etc/systemd/system/") and "@" not in each]
    return f"""\
for unit in {" ".join(units)}; do
    [ -e "/etc/systemd/system/$unit" ] || continue
    [ "$really" = yes ] || continue
    systemctl --no-pager stop "$unit"
    if grep -q '^\\[Install\\]' "/etc/systemd/system/$unit"; then systemctl --no-pager --quiet disable "$unit"; fi
done
{_drop_ins(name)}
drop {" ".join(files)} /run/{name}.sock
if [ "$really" = yes ]; then
    rmdir /usr/local/lib/wakeline 2>/dev/null || true  # another fleet's helper may be in it
    systemctl --no-pager daemon-reload
fi"""


def _drop_ins(name: str) -> str:
    """Found by what is in them, so that those of units that left the fleet file are found too.

    A drop-in without which the unit would start somewhere else, or something else, is kept, and says so in itself. One
    that sets nothing (`layout = "in-place"`) only orders the unit after ours, and goes.
    """
    return f"""\
own_of() {{
    systemctl --no-pager cat "$1" 2>/dev/null |
        awk -v ours="# $2" -v key="$3" '
            /^# \\// {{ skip = ($0 == ours) }}
            skip {{ next }}
            /\\\\$/ {{ line = line substr($0, 1, length($0) - 1); next }}
            {{ line = line $0 }}
            index(line, key "=") == 1 {{
                value = substr(line, length(key) + 2)
                if (value == "") count = 0; else values[++count] = value
            }}
            {{ line = "" }}
            END {{ for (i = 1; i <= count; i++) print values[i] }}'
}}
same_place() {{
    [ -n "$1" ] && [ "$(readlink -f "${{1#-}}")" = "$(readlink -f "$2")" ]
}}
said_by() {{
    sed -n "s/^$2=\\(.\\)/\\1/p" "$1"
}}
for file in /etc/systemd/system/*.d/{DROP_IN}; do
    [ -e "$file" ] || continue
    grep -qxF -e 'After={name}-boot.service' -e '# {name}: kept by `wakeline leave`' "$file" || continue
    unit=$(basename "$(dirname "$file")" .d)
    wanted=$(said_by "$file" WorkingDirectory | tail -n 1)
    own=$(own_of "$unit" "$file" WorkingDirectory | tail -n 1)
    known=$(systemctl --no-pager show --property=LoadState --value "$unit")
    without=
    [ -z "$wanted" ] || same_place "$own" "$wanted" || without="starts in ${{own:-/}} and not in $wanted"
    for key in $(sed -n '/^\\[Service\\]/,$s/^\\([A-Za-z]*\\)=..*/\\1/p' "$file" | sort -u); do
        [ "$key" != WorkingDirectory ] || continue
        [ "$(own_of "$unit" "$file" "$key")" = "$(said_by "$file" "$key")" ] ||
            without="${{without:+$without, }}has another $key="
    done
    if [ -z "$without" ] || [ "$known" = not-found ]; then
        drop "$file"
        if [ "$really" = yes ]; then rmdir "$(dirname "$file")" 2>/dev/null || true; fi
        continue
    fi
    echo "$file is kept: without it $unit $without; it runs on"
    [ "$really" = yes ] || continue
    {{
        echo '# {name}: kept by `wakeline leave`'
        echo "# Without it the unit $without."
        echo '# Write these settings into the unit itself, then remove this file.'
        sed -n '/^\\[Service\\]/,$p' "$file"
    }} >"$file.wakeline-new"
    chmod 644 "$file.wakeline-new"
    mv "$file.wakeline-new" "$file"
done"""


def _of_agent(file: FleetFile, home: str) -> str:
    """What the agent knows of this app, and the agent itself when no other fleet has the machine."""
    mine, root = shlex.quote(_mine(file, home)), shlex.quote(home)
    but = " ".join(f"! -name {name}" for name in KEPT)
    kept = " ".join(KEPT)
    return f"""\
mine={mine} home={root}
if [ -d "$mine" ]; then
    if [ -n "$(find "$mine" -mindepth 1 -maxdepth 1 {but} -print -quit)" ]; then
        if [ "$really" = yes ]; then find "$mine" -mindepth 1 -maxdepth 1 {but} -exec rm -rf -- {{}} +; fi
        done_to "what the agent knows of this fleet, in $mine," removed
    fi
    for each in {kept}; do
        [ ! -d "$mine/$each" ] || [ "$really" = no ] || rmdir "$mine/$each" 2>/dev/null || true
        [ ! -e "$mine/$each" ] || echo "$mine/$each stays: nobody else has what is in it"
    done
    [ "$really" = no ] || rmdir "$mine" "$(dirname "$mine")" 2>/dev/null || true
fi
if [ -d "$home" ]; then
    other=$(find "$home" -mindepth 3 -maxdepth 3 -name config.json ! -path "$mine/*" -print -quit)
    if [ -n "$other" ]; then
        echo "the agent stays: it has another fleet here, $(dirname "$other")"
    else
        drop "$home/agent.pyz" "$home/agents" "$home/tools"
        [ "$really" = no ] || rmdir "$home" 2>/dev/null || true
    fi
fi"""


def _what_stays(path: str) -> str:
    place = shlex.quote(path)
    return f"""\
if [ -L {place}/current ]; then
    echo {place} stays: current is "$(readlink {place}/current)"
elif [ -d {place} ]; then
    echo {place} stays as it is
fi"""


def _mine(file: FleetFile, home: str) -> str:
    return f"{home}/{file.fleet.app}/{file.fleet.environment}"
