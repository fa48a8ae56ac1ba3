"""The workflows that `wakeline init github` writes. Pure: a fleet file goes in, YAML comes out.

What holds in all of them: no action but checkout, pinned by commit; no permission that is not used; no secret in a
command line, and none for a step that does not need it; never `continue-on-error`; a run that has begun is not
cancelled by the next one. What deploys is started by `exec`: GitHub signals the step's own process alone, which is the
shell, and a shell passes nothing on (actions/runner#1309).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from wakeline.core.model import Presence, Stage
from wakeline.fleet import FleetFile
from wakeline.github.remote import Remote, remote_of
from wakeline.github.run import DISPATCH_TOKEN, REPOSITORIES_TOKEN, RUN_TOKEN, SIGNING_KEY, SSH_KEY

DEPLOY, NOTIFY = ".github/workflows/deploy.yml", ".github/workflows/notify.yml"
CHECKOUT = "actions/checkout@9c091bb21b7c1c1d1991bb908d89e4e9dddfe3e0 # v7.0.0"
RUNNER = "ubuntu-24.04"
_ROLLBACK = "ROLLBACK_TO"
SECRET = re.compile(r"env:((?!GITHUB_)[A-Za-z_][A-Za-z0-9_]*)\Z")  # GitHub: "Naming your secrets"
_PATTERN = re.compile(r"([*?+\[\]!\\])")


def deploy(file: FleetFile, *, install: str) -> str:
    """The workflow of the app's own repository. `install` is what pipx installs, with its version."""
    fleet = file.fleet
    steps = "".join(_stage(stage, first=index == 0, file=file) for index, stage in enumerate(fleet.stages))
    return f"""\
# Deploys {fleet.app} to its {fleet.environment} machines, stage by stage. Made by `wakeline init github`; change it as
# you like. Machines that are asleep are a warning, and catch up when they wake; machines that fail are an error.
name: Deploy {fleet.app} to {fleet.environment}
run-name: ${{{{ inputs.rollback_to && format('Go back to release {{0}}', inputs.rollback_to) || '' }}}}

on:
  push:
    branches: [{_pattern(file.branch)}]
  workflow_dispatch:
    inputs:
      rollback_to:
        description: "A release to go back to (0: the last good one). Empty: deploy the newest commit"
        default: ""

permissions: {{}}

# One rollout at a time. The one that has begun is never cancelled; of those waiting GitHub keeps the newest.
concurrency:
  group: wakeline-{fleet.app}-{fleet.environment}
  cancel-in-progress: false

jobs:
  deploy:
    name: Deploy
    if: {quoted("github.ref == " + _literal("refs/heads/" + file.branch))}
    runs-on: {RUNNER}
    timeout-minutes: 120
    # Its secrets, and its rule which branch may use them. wakeline reports the deployment itself, stage by stage.
    environment:
      name: {quoted(fleet.environment)}
      deployment: false
    permissions:
      contents: write     # the ledger is a ref of this repository: refs/wakeline/{fleet.app}/{fleet.environment}/…
      deployments: write  # the deployment, with a status for each stage
    steps:
{_prepared(install)}
      # `exec`, so that cancelling the run reaches wakeline: it stops in good order, says so on record, frees the lease.
{steps.lstrip(chr(10))}"""


def notify(file: FleetFile, *, install: str) -> str:
    """The workflow that sends later what was not yet due when a rollout ended. It has no key that approves anything."""
    fleet = file.fleet
    env = _env({**_receivers(file), RUN_TOKEN: "github.token", SSH_KEY: f"secrets.{SSH_KEY}"})
    return f"""\
# Says when a sleeper of {fleet.app} in {fleet.environment} has arrived, or is past its max_behind, and sends again
# what a service did not take. Made by `wakeline init github`; change it as you like.
name: Tell of {fleet.app} in {fleet.environment}

on:
  schedule:
    - cron: "13,43 * * * *"  # not on the hour, when GitHub is busy and drops some
  workflow_dispatch:

permissions: {{}}

concurrency:
  group: wakeline-{fleet.app}-{fleet.environment}-notify
  cancel-in-progress: false

jobs:
  notify:
    name: Notify
    if: {quoted("github.ref == " + _literal("refs/heads/" + file.branch))}
    runs-on: {RUNNER}
    timeout-minutes: 10
    environment:
      name: {quoted(fleet.environment)}
      deployment: false
    permissions:
      contents: write     # what was told to whom is a ref of this repository, too
    steps:
{_prepared(install)}
      # It asks sleepers that may not write to the ledger whether they have arrived: that is what the key is for.
      - name: Send what is due
        env:
{env}        run: exec wakeline notify
"""


def trigger(file: FleetFile, *, app: Remote, branch: str) -> str:
    """The workflow of a further repository: a push there starts the deploy here, which pins both."""
    fleet = file.fleet
    return f"""\
# A push to this repository deploys {app.name}, which lays it into its release. Made by `wakeline init github` there.
name: Deploy {fleet.app} to {fleet.environment}

on:
  push:
    branches: [{_pattern(branch)}]

permissions: {{}}

concurrency:
  group: wakeline-{fleet.app}-{fleet.environment}
  cancel-in-progress: false

jobs:
  trigger:
    name: Start the deploy of {app.name}
    runs-on: {RUNNER}
    timeout-minutes: 5
    environment:
      name: {quoted(fleet.environment)}
      deployment: false
    steps:
      - name: Start it
        env:
          GH_HOST: {quoted(app.host)}
          GH_TOKEN: ${{{{ secrets.{DISPATCH_TOKEN} }}}}
          REF: {quoted(file.branch)}
        run: exec gh workflow run deploy.yml --repo {app.name} --ref "$REF"
"""


def _prepared(install: str) -> str:
    """The checkout, and wakeline: what a job of ours begins with."""
    return f"""\
      # For wakeline.toml, known_hosts (whom to believe) and allowed_signers (who may approve), as they were reviewed.
      - uses: {CHECKOUT}
        with:
          persist-credentials: false

      - name: Install wakeline
        env:
          SPEC: {quoted(install)}
        run: pipx install "$SPEC"
"""


def _stage(stage: Stage, *, first: bool, file: FleetFile) -> str:
    """One step a stage, so that the run's page shows each by itself. The first one begins the release."""
    machines = ", ".join(_shown(each.name, each.presence) for each in stage.machines)
    tokens = {RUN_TOKEN: "github.token", SSH_KEY: f"secrets.{SSH_KEY}", SIGNING_KEY: f"secrets.{SIGNING_KEY}"}
    if needs_token(file):
        tokens[REPOSITORIES_TOKEN] = f"secrets.{REPOSITORIES_TOKEN}"
    env = _env({**_receivers(file), **tokens})
    how = f"--stage {stage.name} --wait"
    again = f"""\
          # Somebody pressed "Re-run": a release that failed is tried again, as a new one.
          if [ "$GITHUB_RUN_ATTEMPT" != 1 ]; then exec wakeline retry --commit "$GITHUB_SHA" {how}; fi
"""
    return f"""
      - name: {quoted(f"Stage {stage.name}: {machines}")}
        id: stage-{stage.name}
        env:
          {_ROLLBACK}: ${{{{ inputs.rollback_to }}}}
{env}        run: |
          if [ -n "${_ROLLBACK}" ]; then exec wakeline rollback --to "${_ROLLBACK}" {how}; fi
{again if first else ""}          exec wakeline deploy "$GITHUB_SHA" {how}
"""


def receivers_secrets(file: FleetFile) -> list[str]:
    """The secrets of GitHub's that hold an address of [[notify]]: those of `env:`. A runner has no other's."""
    found = (SECRET.match(each.to) for each in file.receivers)
    return list(dict.fromkeys(each[1] for each in found if each and each[1] != _ROLLBACK))


def _receivers(file: FleetFile) -> dict[str, str]:
    return {name: f"secrets.{name}" for name in receivers_secrets(file)}


def _env(values: Mapping[str, str]) -> str:
    return "".join(f"          {name}: ${{{{ {value} }}}}\n" for name, value in values.items())


def _shown(name: str, presence: Presence) -> str:
    return f"{name} (may be asleep)" if presence is Presence.ON_DEMAND else name


def needs_token(file: FleetFile) -> bool:
    """Whether a further repository is on the same server: private ones are not opened by the run's own token."""
    app = remote_of(file.git)
    return app is not None and any(
        (other := remote_of(each.git)) and other.host == app.host for each in file.repositories
    )


def quoted(text: str) -> str:
    """Any text as one YAML scalar: every JSON string is one (YAML 1.2, section 1.3)."""
    return json.dumps(text, ensure_ascii=False)


def _pattern(branch: str) -> str:
    """A branch as a filter that matches it and no other."""
    return quoted(_PATTERN.sub(r"\\\1", branch))


def _literal(text: str) -> str:
    """Any text as a string of GitHub's expression language."""
    return "'" + text.replace("'", "''") + "'"
