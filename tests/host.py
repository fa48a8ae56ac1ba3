"""What the tests want of this machine beyond Python and git: `python -m host` installs it where it may, and says so.

An sshd to talk to, and a second kind of Python 3.9 (Debian 12 has no CPython of that age, its pypy3 is 3.9). Without
root nothing is installed, and the tests that need it are skipped with the reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

WANTED = {"sshd": "openssh-server", "pypy3": "pypy3"}
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))


def missing() -> list[str]:
    """The packages of programs that are not there."""
    return [package for program, package in WANTED.items() if shutil.which(program, path=_PATH) is None]


def main() -> None:
    packages = missing()
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
    main()
