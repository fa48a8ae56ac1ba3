"""Keys that arrive as text, from a secret: files of ours alone, for as long as this process lives.

ssh-keygen and jump hosts want files. They lie in a folder that nobody else may open, in the runner's own temporary
folder where there is one: that is emptied after the job, whatever becomes of us.
"""

from __future__ import annotations

import atexit
import functools
import os
from pathlib import Path

_MARK = "PRIVATE KEY-----"


def is_text(value: str) -> bool:
    """Whether a value is a private key itself, and not the path of one."""
    return _MARK in value


def file_of(text: str, *, name: str) -> Path:
    """A private key as a file. Line ends of other systems and a lost last one are put right: ssh refuses such keys."""
    return _placed(name, text.replace("\r\n", "\n").strip() + "\n")


def ssh_config(key: Path) -> Path:
    """Settings that offer this key to every machine, jump hosts too."""
    return _placed(f"{key.name}_config", f'Host *\n    IdentityFile "{key}"\n')


def _placed(name: str, text: str) -> Path:
    place = _folder() / name
    place.touch(mode=0o600)
    place.write_text(text, encoding="utf-8")
    return place


@functools.cache
def _folder() -> Path:
    import shutil  # noqa: PLC0415 - where a run has keys, and nowhere else
    import tempfile  # noqa: PLC0415 - same

    place = Path(tempfile.mkdtemp(prefix="wakeline-keys-", dir=os.environ.get("RUNNER_TEMP") or None))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place
