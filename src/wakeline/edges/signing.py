"""Signatures by the ssh-keygen program: the keys that users have, no library and no server.

`ssh-keygen -Y` has been in OpenSSH since 8.1 (ssh-keygen(1), ALLOWED SIGNERS). A key may be a private key, or a public
one whose private half is in the ssh agent.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from wakeline.edges import process
from wakeline.errors import Usage, WakelineError

_LIMIT_S = 30.0


class SignatureRefused(WakelineError):
    """A signature that is not there, not good, or not by somebody who may sign."""


def sign(data: bytes, *, key: Path, namespace: str) -> str:
    """An armoured signature. Raises Usage for a key that cannot sign."""
    with tempfile.TemporaryDirectory(prefix="wakeline-") as folder:
        message = Path(folder, "message")
        message.write_bytes(data)
        _keygen(["-Y", "sign", "-q", "-n", namespace, "-f", str(key), str(message)], f"{key} cannot sign")
        return message.with_suffix(".sig").read_text("ascii")


def check(data: bytes, signature: str, *, signers: str, namespace: str) -> str:
    """Who signed. Raises SignatureRefused with the reason. `signers` is the text of an allowed signers file."""
    if not signature:
        raise SignatureRefused("it is not signed")
    with tempfile.TemporaryDirectory(prefix="wakeline-") as folder:
        allowed, signed = Path(folder, "signers"), Path(folder, "signature")
        allowed.write_text(signers)
        signed.write_text(signature)
        who = _run(["-Y", "find-principals", "-f", str(allowed), "-s", str(signed)])
        name = who.out.decode("utf-8", "replace").split("\n")[0].strip()
        if who.code != 0 or not name:
            raise SignatureRefused("it is signed by somebody who may not")
        argv = ["-Y", "verify", "-f", str(allowed), "-I", name, "-n", namespace, "-s", str(signed)]
        if _run(argv, data=data).code != 0:
            raise SignatureRefused(f"its words are not those that {name} signed")
    return name


def public_key(key: Path) -> str:
    """The public half of a key, as it stands in an allowed signers file. Raises Usage for what is no key."""
    if key.suffix == ".pub":
        text = key.read_text("ascii", "replace")
    else:
        text = _keygen(["-y", "-P", "", "-f", str(key)], f"{key} is no key that can be read without a passphrase")
    return " ".join(text.split()[:2])


def key_of_user(git_key: Callable[[], str]) -> Path | None:
    """The key to sign with: $WAKELINE_SIGNING_KEY, or git's own `user.signingKey` where it is a file."""
    found = os.environ.get("WAKELINE_SIGNING_KEY", "") or git_key()
    if not found:
        return None
    place = Path(found).expanduser()
    if not place.is_file():
        raise Usage(f"the signing key {found} is not a file", hint="WAKELINE_SIGNING_KEY=path of an ssh key")
    return place


def _keygen(arguments: list[str], what: str) -> str:
    finished = _run(arguments)
    if finished.code != 0:
        words = finished.err.decode("utf-8", "replace").strip()[-300:]
        raise Usage(f"{what}: {words}", hint="WAKELINE_SIGNING_KEY names an ssh key")
    return finished.out.decode("utf-8", "replace")


def _run(arguments: list[str], *, data: bytes = b"") -> process.Finished:
    try:
        return process.run(["ssh-keygen", *arguments], timeout_s=_LIMIT_S, input=data)
    except process.CommandMissing as error:
        raise Usage("ssh-keygen is not installed here", hint="apt-get install openssh-client") from error
    except process.CommandTimedOut as error:
        raise Usage("ssh-keygen did not answer: a passphrase? put the key into the ssh agent") from error
