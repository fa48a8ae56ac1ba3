"""`wakeline`: the verbs and their options. Each verb's work is in a file of its own, imported when it is asked for."""

from __future__ import annotations

import functools
import gc
import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from wakeline import __version__
from wakeline.errors import ExitCode, Usage, WakelineError
from wakeline.github.run import is_run

# A long ledger is hundreds of thousands of values that all stay: looking through them for cycles, again and again, took
# 40 % of reading it.
_COLLECT_AFTER = (100_000, 20, 20)
_WITHOUT_A_CHECKOUT = ("demo", "docs")
_LOOKING = ("status", "plan", "history", "explain")
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON envelope on stdout.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="wakeline")
def cli() -> None:
    """Deploy an application to Linux machines in order, over SSH, when not every machine is awake."""


def _run(verb: str, *, as_json: bool = False, **options: Any) -> None:
    """Do a verb's work and leave with its exit code. A stack trace is shown for a bug of ours alone."""
    from wakeline.edges import git  # noqa: PLC0415 - `--help` need not pay for it

    folder = _here()
    if folder is not None and verb not in _WITHOUT_A_CHECKOUT:
        git.begin(folder)
    from wakeline.cli import render  # noqa: PLC0415 - same

    try:
        if folder is None:
            raise Usage("the folder that this is run in is gone", hint="cd to your app's repository")
        code = render.show(_result(verb, folder, options), as_json=as_json)
    except WakelineError as error:
        code = render.show_error(error, verb=verb, as_json=as_json)
    except (KeyboardInterrupt, click.Abort):  # click's word for Ctrl-C and Ctrl-D at a question
        code = int(ExitCode.INTERRUPTED)
    except Exception:  # noqa: BLE001 - the last line of defence, with its own exit code
        import traceback  # noqa: PLC0415 - only then

        traceback.print_exc()
        click.echo("error: this is a bug of wakeline's; what it had done is on the ledger", err=True)
        code = int(ExitCode.OUR_BUG)
    sys.exit(code)


def _here() -> Path | None:
    """The folder that the command is run in; None for one that has been removed meanwhile."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None


def _result(verb: str, folder: Path, options: Mapping[str, Any]) -> Any:
    """What came of a verb. One that only looks is imported while its project is opened: that is git's work."""
    name = f"wakeline.cli.{verb.replace('-', '_')}"
    if verb not in _LOOKING:
        return importlib.import_module(name).run(folder, **options)
    from wakeline.driver.project import open_project  # noqa: PLC0415 - `--help` need not pay for it
    from wakeline.edges import importing  # noqa: PLC0415 - same

    importing.begin(name)
    project = open_project(folder)
    return importlib.import_module(name).run(project, **options)


@cli.command()
@click.argument("commit", default="")
@click.option("--stage", default="", help="One stage alone; the first one begins the release, the next carry it on.")
@click.option("--wait", is_flag=True, help="Wait for the lease instead of saying busy.")
@click.option("-v", "--verbose", is_flag=True, help="Show what the steps print.")
@_JSON
def deploy(commit: str, stage: str, wait: bool, verbose: bool, as_json: bool) -> None:
    """Deploy COMMIT (default: the newest of the branch), stage by stage."""
    _run("deploy", what="deploy", commit=commit, stage=stage, wait=wait, verbose=verbose, as_json=as_json)


@cli.command()
@click.option("--to", default=0, help="The release to go back to; default: the last good one.")
@click.option("--stage", default="", help="One stage alone; the first one begins, the next carry it on.")
@click.option("--wait", is_flag=True, help="Wait for the lease instead of saying busy.")
@click.option("-v", "--verbose", is_flag=True, help="Show what the steps print.")
@_JSON
def rollback(as_json: bool, **asked: Any) -> None:
    """Make a new, higher release of an older commit."""
    _run("deploy", what="rollback", **asked, as_json=as_json)


@cli.command()
@click.argument("machine", default="")
@click.option("--commit", default="", help="Of this commit; default: the newest of the branch.")
@click.option("--stage", default="", help="The first stage alone; `deploy --stage` carries on with the next.")
@click.option("--wait", is_flag=True, help="Wait for the lease instead of saying busy.")
@click.option("-v", "--verbose", is_flag=True, help="Show what the steps print.")
@_JSON
def retry(machine: str, as_json: bool, **asked: Any) -> None:
    """Try a failed release again, as a new one; with MACHINE, let that machine try again."""
    if machine:
        _run("settle", what="retry", machine=machine, as_json=as_json)
    _run("deploy", what="retry", **asked, as_json=as_json)


@cli.group(invoke_without_command=True)
@_JSON
@click.pass_context
def init(context: click.Context, as_json: bool) -> None:
    """Look at this repository and write a wakeline.toml for it; or what else there is to begin with."""
    if context.invoked_subcommand is None:
        _run("init", ask=_ask if sys.stdin.isatty() and not as_json else None, as_json=as_json)


def _ask(question: str, default: str) -> str:
    """Put a question to the person at the terminal. What was asked of machines and files was cleaned already."""
    return str(click.prompt(question, default=default, show_default=bool(default), err=True))


@init.command()
@click.option("--install", default="", help="What pipx installs there; default: this very version, wakeline==X.")
@click.option("--print", "only_print", is_flag=True, help="Show the workflow, and write nothing.")
@_JSON
def github(install: str, only_print: bool, as_json: bool) -> None:
    """Write the workflow that deploys from GitHub Actions, and known_hosts; print the secrets that it needs."""
    _run("init-github", install=install, only_print=only_print, as_json=as_json)


@cli.command()
@click.argument("commit", default="")
@click.option("--exit-code", is_flag=True, help="Exit 8 when there is something to do.")
@_JSON
def plan(commit: str, exit_code: bool, as_json: bool) -> None:
    """Show what deploy would do on each machine, and why; changes nothing."""
    _run("plan", commit=commit, exit_code=exit_code, as_json=as_json)


@cli.command()
@click.argument("machine", default="")
@click.option("-v", "--verbose", is_flag=True, help="Show what is as it should be, too.")
@_JSON
def doctor(machine: str, verbose: bool, as_json: bool) -> None:
    """Look at every precondition of a rollout, each with its remedy; changes nothing."""
    _run("doctor", machine=machine, verbose=verbose, as_json=as_json)


@cli.command()
@click.argument("topic", default="")
@click.option("--schema", is_flag=True, help="The JSON Schema of wakeline.toml, for editors.")
@_JSON
def docs(topic: str, schema: bool, as_json: bool) -> None:
    """Every key of wakeline.toml with an example, or those of one TOPIC."""
    _run("docs", topic=topic, schema=schema, as_json=as_json)


@cli.group()
def ledger() -> None:
    """The append-only memory of decisions and outcomes."""


@ledger.command()
@_JSON
def adopt(as_json: bool) -> None:
    """Believe the ledger as it stands now, though it lacks what was seen before. For a person to decide."""
    _run("ledger", as_json=as_json)


@cli.command()
@click.argument("machine", default="")
@click.option("--root-user", default="root", help="Who may become root there: root, or a user with sudo.")
@click.option("--print", "only_print", is_flag=True, help="Show the script for each machine, and do nothing.")
@click.option("--unsigned", is_flag=True, help="Let the machines act on approvals that nobody signed.")
@click.option("--signers", default="", help="Whose approvals they act on; without it, allowed_signers of the checkout.")
@click.option("--replace", is_flag=True, help="The machine was built anew: bind its name to the new one.")
@click.option("--copy-shared", is_flag=True, help="Copy missing `shared` paths from the folder that is in use now.")
@_JSON
def setup(as_json: bool, **asked: Any) -> None:
    """Make machines ready: folders, sudoers lines, units, agent, allowed signers. Says what it will do. Safe twice."""
    ask = functools.partial(click.confirm, err=True) if sys.stdin.isatty() and not as_json else None
    _run("setup", **asked, ask=ask, as_json=as_json)


@cli.command()
@click.argument("machines", nargs=-1)
@click.option("--root-user", default="root", help="Who may become root there: root, or a user with sudo.")
@click.option("--yes", is_flag=True, help="Do it. Without it you see what would be done.")
@_JSON
def leave(machines: tuple[str, ...], as_json: bool, **asked: Any) -> None:
    """Take wakeline off MACHINES (default: all); the application's folders and services stay as they are."""
    _run("leave", machines=machines, **asked, as_json=as_json)


@cli.command()
@_JSON
def status(as_json: bool) -> None:
    """What each machine runs, and whether it is there."""
    _run("status", as_json=as_json)


@cli.command()
@click.option("--verify", is_flag=True, help="Check every record's hash; name the first bad one.")
@click.option("-n", "--last", default=20, help="How many releases.")
@_JSON
def history(verify: bool, last: int, as_json: bool) -> None:
    """What was decided, and how it ended."""
    _run("history", verify=verify, last=last, as_json=as_json)


@cli.command()
@click.argument("machine", default="")
@click.option("--why", default="", help="The reason, shown wherever the hold stops something.")
@_JSON
def hold(machine: str, why: str, as_json: bool) -> None:
    """Keep MACHINE (default: the whole fleet) on what it runs."""
    _run("settle", what="hold", machine=machine, why=why, as_json=as_json)


@cli.command()
@click.argument("machine", default="")
@_JSON
def unhold(machine: str, as_json: bool) -> None:
    """Lift a hold, and after a rollback let the commits that were left be deployed again."""
    _run("settle", what="unhold", machine=machine, as_json=as_json)


@cli.command()
@click.argument("step")
@click.option("--done", "how", flag_value="done", help="It has run: write the receipt.")
@click.option("--not-run", "how", flag_value="not-run", help="It has not run: the next release may claim it.")
@_JSON
def resolve(step: str, how: str | None, as_json: bool) -> None:
    """Settle a once-step that is in doubt, after a look at the database."""
    _run("settle", what="resolve", step=step, how=how or "", as_json=as_json)


@cli.command()
@click.option("--test", is_flag=True, help="Send a message to every receiver that says it is a test.")
@click.option("--print", "only_print", is_flag=True, help="Show what is due, and send nothing.")
@_JSON
def notify(as_json: bool, **asked: Any) -> None:
    """Hear what sleepers have done since, and send the messages that are due. For a timer."""
    _run("notify", **asked, as_json=as_json)


@cli.command("catch-up")
@click.argument("machine", default="")
@_JSON
def catch_up(machine: str, as_json: bool) -> None:
    """Let MACHINE look at the ledger now, instead of at its timer. On the machine itself: wakeline-APP-ENVIRONMENT."""
    _run("catch-up", machine=machine, as_json=as_json)


@cli.command()
@click.argument("machine")
@_JSON
def explain(machine: str, as_json: bool) -> None:
    """Why MACHINE runs what it runs, and what would change that."""
    _run("explain", machine=machine, as_json=as_json)


@cli.command()
@click.option("--keep", is_flag=True, help="Leave the demo's folder for a look around.")
def demo(keep: bool) -> None:
    """A small fleet on this machine: deploy, sleep, wake, fail. Needs no root."""
    _run("demo", keep=keep)


def main() -> None:
    """The entry point."""
    gc.set_threshold(*_COLLECT_AFTER)
    if is_run(os.environ):
        from wakeline.cli import render_github  # noqa: PLC0415 - only what is used

        render_github.begin()
    try:
        cli(prog_name="wakeline")
    finally:
        gc.freeze()  # or Python's end looks through all that was imported once more: 20 to 50 ms
