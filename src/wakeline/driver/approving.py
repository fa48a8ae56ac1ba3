"""Writes approvals: the orders that they approve, and the signature that a machine asks for when it wakes alone."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping
from pathlib import Path

from wakeline.core import approval
from wakeline.core.order import Order
from wakeline.core.records import Draft
from wakeline.core.state import State
from wakeline.driver.project import Project
from wakeline.edges import git, keys, signing
from wakeline.errors import Usage

SIGNERS = "allowed_signers"


@dataclasses.dataclass(frozen=True)
class Approver:
    """Fills in an approval as it is about to be written. Without a key it is not signed."""

    app: str
    environment: str
    orders: Mapping[str, Order]
    agent: str
    key: Path | None

    def __call__(self, now: State, draft: Draft) -> Draft:
        """The approval as it stands behind the log's present tip."""
        stage = draft.body["stage"]
        orders = {name: order.to_json() for name, order in self.orders.items() if order.stage == stage}
        body = {**draft.body, "orders": orders, "agent": self.agent, "after": now.tip}
        if self.key is not None:
            body["expires"] = approval.expiry(time.time())
            words = approval.payload(body, app=self.app, environment=self.environment)
            body["signature"] = signing.sign(words, key=self.key, namespace=approval.NAMESPACE)
        return Draft(draft.kind, body)


def key_for(project: Project, state: State) -> Path | None:
    """The key to sign with, None for a fleet that was set up unsigned. Raises Usage where one is needed and missing."""
    strict = sorted(set(state.machines) - state.unsigned)
    if not strict:
        return None
    found = signing_key(project)
    if found is None:
        raise Usage(
            f"{', '.join(strict)} takes signed approvals alone, and no key to sign with was found",
            hint="WAKELINE_SIGNING_KEY=path of an ssh key; or: wakeline setup --unsigned",
        )
    return found


def signing_key(project: Project) -> Path | None:
    """The ssh key of whoever runs this, by $WAKELINE_SIGNING_KEY or git's `user.signingKey`."""
    given = os.environ.get("WAKELINE_SIGNING_KEY", "")
    if keys.is_text(given):
        return keys.file_of(given, name="signing_key")
    return signing.key_of_user(lambda: git.setting("user.signingKey", at=project.checkout) if project.checkout else "")


def signers_of(project: Project, given: str = "") -> str:
    """The text of the allowed signers file: the one that was named, or the one beside the fleet file.

    Where there is none, the key of whoever runs this becomes the first signer, and the file is written to be committed.
    Raises Usage when there is no key either.
    """
    place = Path(given) if given else (project.checkout or Path()) / SIGNERS
    if place.is_file():
        return place.read_text(encoding="utf-8")
    if given:
        raise Usage(f"{given} is not a file", hint="see ALLOWED SIGNERS in `man ssh-keygen`")
    key = signing_key(project)
    if key is None:
        raise Usage(
            f"who may approve releases? there is no {SIGNERS} beside wakeline.toml, and no key to begin it with",
            hint="WAKELINE_SIGNING_KEY=path of an ssh key wakeline setup; or: wakeline setup --unsigned",
        )
    text = f'wakeline namespaces="{approval.NAMESPACE}" {signing.public_key(key)}\n'
    place.write_text(text, encoding="utf-8")
    return text
