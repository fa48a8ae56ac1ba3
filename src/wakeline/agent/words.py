"""What an app on this machine says of itself, in words: for somebody who is logged in here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def in_words(said: Mapping[str, Any]) -> list[str]:
    """The lines of one app. `said` is what `status` answers to a runner."""
    runs = said.get("current")
    commit = str(said.get("commit") or "")[:10]
    what = f"runs release {runs}" + (f" ({commit})" if commit else "") if runs else "runs no release yet"
    state = f", {said['state']}" if said.get("state") else ""
    lines = [f"{said.get('app')}/{said.get('environment')}: {said.get('machine') or 'this machine'} {what}{state}"]
    lines += ["at work now: a rollout, or a look at the ledger"] if said.get("busy") else []
    lines += ["files were changed by hand; they are saved before they are replaced"] if said.get("edited") else []
    lines += [f"problem: {said['problem']}"] if said.get("problem") else []
    return lines
