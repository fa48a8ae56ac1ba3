"""What a person has to do on GitHub once, as commands of its own program `gh`. Pure; no secret is in any of them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from wakeline.fleet import FleetFile
from wakeline.github.remote import Remote
from wakeline.github.run import DISPATCH_TOKEN, REPOSITORIES_TOKEN, SIGNING_KEY, SSH_KEY
from wakeline.github.workflow import needs_token, receivers_secrets


def secrets(file: FleetFile, *, app: Remote | None, others: Sequence[Remote]) -> list[str]:
    """The secrets that the workflows ask for, as the commands that set them; values come from a file or are typed."""
    place = f"--env {file.fleet.environment}" + (f" --repo {app.name}" if app else "")
    lines = [f"gh secret set {SSH_KEY} {place} <PRIVATE-KEY-FOR-THE-MACHINES"]
    lines.append(f"gh secret set {SIGNING_KEY} {place} <PRIVATE-KEY-OF-ONE-OF-ALLOWED_SIGNERS")
    if needs_token(file):
        names = ", ".join(each.name for each in others)
        lines.append(f"gh secret set {REPOSITORIES_TOKEN} {place}   # a token that may read {names}")
    lines += [f"gh secret set {name} {place}   # an address, as apprise takes it" for name in receivers_secrets(file)]
    for each in others:
        may = f"# a token that may start workflows of {app.name}" if app else ""
        lines.append(
            f"gh secret set {DISPATCH_TOKEN} --env {file.fleet.environment} --repo {each.name}   {may}".rstrip()
        )
    return lines


def guards(file: FleetFile, *, app: Remote | None) -> list[str]:
    """The commands that make the environment, and let no branch but the deployed one use its secrets."""
    name = app.name if app else "OWNER/NAME"
    place = f"repos/{name}/environments/{file.fleet.environment}"
    policy = "-F 'deployment_branch_policy[protected_branches]=false'"
    policy += " -F 'deployment_branch_policy[custom_branch_policies]=true'"
    return [
        f"gh api --method PUT {place} {policy}",
        f"gh api --method POST {place}/deployment-branch-policies -f name={shlex.quote(file.branch)}",
    ]
