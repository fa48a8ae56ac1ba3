"""The root file system that every machine is an overlay on: built once, kept by the list of what is in it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

HOST_PACKAGES = ("systemd-container", "debootstrap", "openssh-client", "iproute2", "git")
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "openssh-server", "git", "python3", "iproute2", "ca-certificates", "sudo"),
    *("postgresql", "python3-django", "gunicorn", "python3-psycopg2"),
    *("mariadb-server", "python3-mysqldb", "pgbouncer", "strace", "fuse3"),
)
USER = "ubuntu"
PLACE = Path(os.environ.get("WAKELINE_TESTBED", "/var/tmp/wakeline-testbed"))


def ensure_host_packages() -> None:
    """Install what the host lacks. Root only."""
    programs = {"systemd-container": "systemd-nspawn", "openssh-client": "ssh-keygen", "iproute2": "ip"}
    missing = [name for name in HOST_PACKAGES if shutil.which(programs.get(name, name)) is None]
    if missing:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing]
        subprocess.run(["apt-get", "update", "-q"], check=True, capture_output=True)
        subprocess.run(run, check=True, capture_output=True, env=environment)


def ensure_rootfs() -> Path:
    """The folder of the root file system, made when it is not there: a minute, once."""
    PLACE.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(repr((PACKAGES, USER, Path(__file__).read_bytes())).encode()).hexdigest()[:16]
    done = PLACE / f"rootfs-{key}"
    with (PLACE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            ensure_host_packages()
            _build(PLACE / "rootfs.part")
            (PLACE / "rootfs.part").rename(done)
    return done


def _build(folder: Path) -> None:
    """Make it with debootstrap, and leave out what no test looks at.

    systemd starts fifteen generators at each boot and each daemon-reload, for kinds of disks, consoles and scripts that
    no machine of ours has: seen to take a fifth of the whole suite's processor time. PostgreSQL's is the one we need.
    """
    if folder.exists():
        shutil.rmtree(folder)
    include = ",".join(PACKAGES)
    made = subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={include}", "bookworm", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise RuntimeError(f"debootstrap: {made.stdout[-2000:]} {made.stderr[-500:]}")
    (folder / "etc/systemd/network/10-host.network").parent.mkdir(parents=True, exist_ok=True)
    inside = ["systemd-nspawn", "-q", "-D", str(folder), "--register=no", "--keep-unit", "--pipe", "/bin/sh", "-euc"]
    script = f"""
        useradd --create-home --shell /bin/bash {USER}
        install -d -m 700 -o {USER} -g {USER} /home/{USER}/.ssh
        install -d -m 700 /root/.ssh
        systemctl enable systemd-networkd ssh
        systemctl disable postgresql mariadb pgbouncer || true
        systemctl disable e2scrub_reap.service apt-daily.timer apt-daily-upgrade.timer || true
        rm -f /etc/ssh/ssh_host_* /etc/machine-id
        touch /etc/machine-id
        mkdir /etc/systemd/system-generators
        for each in /usr/lib/systemd/system-generators/*; do
            ln -s /dev/null "/etc/systemd/system-generators/${{each##*/}}"
        done
        rm /etc/systemd/system-generators/postgresql-generator
        echo 'UseDNS no' >>/etc/ssh/sshd_config
        echo "listen_addresses = '*'" >>/etc/postgresql/15/main/postgresql.conf
        echo 'host all all 10.0.0.0/8 trust' >>/etc/postgresql/15/main/pg_hba.conf
        sed -i 's/^local.*all.*postgres.*peer/local all all trust/' /etc/postgresql/15/main/pg_hba.conf
        sed -i 's/^bind-address.*/bind-address = 0.0.0.0/' /etc/mysql/mariadb.conf.d/50-server.cnf
    """
    subprocess.run([*inside, script], check=True, capture_output=True)
