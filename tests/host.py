"""What the tests want of this machine beyond Python and git: `python -m host` installs it where it may, and says so.

An sshd to talk to, a second kind of Python 3.9 (Debian 12 has no CPython of that age, its pypy3 is 3.9), and what cuts
our programs short: strace, and FUSE for a disk that loses what was not fsynced. Without root nothing is installed, and
the tests that need it are skipped with the reason. Programs that are named are the only ones asked for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable

WANTED = {"sshd": "openssh-server", "pypy3": "pypy3", "strace": "strace", "fusermount3": "fuse3"}
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))


def missing(programs: Iterable[str]) -> list[str]:
    """The packages of programs that are not there."""
    return [WANTED[program] for program in programs if shutil.which(program, path=_PATH) is None]


def main(programs: Iterable[str]) -> None:
    packages = missing(programs)
    if not packages:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        sys.stderr.write(f"not installed, and what needs it is skipped: {' '.join(packages)}\n")
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    options = ["-y", "-q", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"]
    for arguments in (["update", "-q"], ["install", *options, *packages]):
        done = subprocess.run(["apt-get", *arguments], capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            sys.stderr.write(f"apt-get {arguments[0]}: {done.stderr.strip()[-300:]}\n")
            return
    sys.stderr.write(f"installed for the tests: {' '.join(packages)}\n")


if __name__ == "__main__":
    main(sys.argv[1:] or WANTED)
