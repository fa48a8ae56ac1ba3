"""Asks a framework whether the database has what this release needs: exit 0 it has, 10 it lacks, 1 cannot tell.

`migrate --check` of Django exits 1 for pending migrations, for a dead database and for a typing error alike, which is
no answer to stand on. The agent puts this file beside itself and names it in $WAKELINE_VERIFY; the application's own
Python, which has the framework, runs it where the migrate command itself runs:

    verify = ".venv/bin/python $WAKELINE_VERIFY django manage.py"        (further databases: manage.py default other)
    verify = ".venv/bin/python $WAKELINE_VERIFY alembic alembic.ini"
    verify = ".venv/bin/python $WAKELINE_VERIFY flask"      (Flask-Migrate)

An answer counts only when a database was asked: code that leaves early, with whatever exit code, is `cannot tell`. A
database that is ahead of the code is fine: every migration that the code knows has been applied. Alembic keeps no
list of what was applied, so for Alembic `ahead` means a revision that this release does not know.
"""

from __future__ import annotations

import importlib
import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HAS, LACKS, CANNOT_TELL = 0, 10, 1


class NotAsked(Exception):
    """The application's own code ended before a database was asked."""


def django(manage: str = "manage.py", *aliases: str) -> int:
    """Let manage.py set everything up as it always does, and ask where it would hand over to Django."""
    answers: list[int] = []
    through_django(manage, lambda *_: answers.append(_django_pending(aliases or ("default",))))
    return answers[0]


def through_django(manage: str, reach: Callable[..., object]) -> None:
    """Call `reach` where manage.py would hand over to Django. Raises NotAsked when it never does.

    It is told a command that only looks: there are files that do more than hand over when they are told `migrate`.
    """
    reached = []

    def instead(*_words: object) -> None:
        reach()
        reached.append(True)

    management: Any = importlib.import_module("django.core.management")
    management.execute_from_command_line = instead
    sys.path.insert(0, str(Path(manage).resolve().parent))
    sys.argv = [manage, "showmigrations"]
    try:
        runpy.run_path(manage, run_name="__main__")
    except SystemExit as end:
        if not reached:
            raise NotAsked(f"{manage} ended with {end.code!r} before Django was asked") from end
    if not reached:
        raise NotAsked(f"{manage} does not call execute_from_command_line")


def _django_pending(aliases: tuple[str, ...]) -> int:
    """What `migrate` would apply, on the database that it takes when nobody names one, or on those that are named."""
    importlib.import_module("django").setup()
    connections = importlib.import_module("django.db").connections
    executors = importlib.import_module("django.db.migrations.executor")
    pending = []
    for alias in aliases:
        executor = executors.MigrationExecutor(connections[alias])
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        pending += [f"{alias}: {migration.app_label}.{migration.name}" for migration, _ in plan]
    return _answer(pending)


def alembic(ini: str = "alembic.ini") -> int:
    """Compare the heads of the scripts with what the database says it has."""
    return _alembic_pending(alembic_config(ini))


def alembic_config(ini: str) -> Any:
    """What the file says. Raises NotAsked where there is none."""
    sys.path.insert(0, str(Path.cwd()))  # as `python -m alembic` does
    if not Path(ini).is_file():
        raise NotAsked(f"there is no {ini} in {Path.cwd()}")
    return importlib.import_module("alembic.config").Config(ini)


def flask(application: str = "") -> int:
    """The same for Flask-Migrate, whose env.py needs the application around it."""
    answers: list[int] = []
    through_flask(application, lambda config: answers.append(_alembic_pending(config)))
    return answers[0]


def through_flask(application: str, reach: Callable[[Any], object]) -> None:
    """Call `reach` with the configuration of Alembic, inside the application."""
    sys.path.insert(0, str(Path.cwd()))
    path = application or os.environ.get("FLASK_APP") or None
    app = importlib.import_module("flask.cli").ScriptInfo(app_import_path=path).load_app()
    with app.app_context():
        reach(app.extensions["migrate"].migrate.get_config(None))


def through_alembic(config: Any, reach: Callable[[Any, Any], object]) -> Any:
    """Call `reach` where env.py would run migrations, with what the database has. Returns the folder of scripts."""
    scripts = importlib.import_module("alembic.script").ScriptDirectory.from_config(config)
    environment = importlib.import_module("alembic.runtime.environment")

    def instead(present: Any, context: Any) -> list[object]:
        reach(present, context)
        return []

    with environment.EnvironmentContext(config, scripts, fn=instead, dont_mutate=True):
        scripts.run_env()
    return scripts


def _alembic_pending(config: Any) -> int:
    asked: list[tuple[str, ...]] = []  # one for each database that env.py asks
    scripts = through_alembic(config, lambda present, _context: asked.append(tuple(present)))
    known = {script.revision for script in scripts.walk_revisions()}
    if not asked:
        raise NotAsked("env.py did not ask any database")
    lacking = set()
    for present in asked:
        applied: set[str] = set()
        for revision in present:
            ahead = revision not in known  # it was brought there through all that we know
            applied |= known if ahead else {each.revision for each in scripts.iterate_revisions(revision, "base")}
        lacking |= set(scripts.get_heads()) - applied
    return _answer(sorted(lacking))


def _answer(pending: list[str]) -> int:
    for each in pending:
        sys.stdout.write(f"{each}\n")
    return LACKS if pending else HAS


def main(arguments: list[str]) -> int:
    """Any problem at all is `cannot tell`, with its words."""
    frameworks: dict[str, Callable[..., int]] = {"django": django, "alembic": alembic, "flask": flask}
    if not arguments or arguments[0] not in frameworks:
        sys.stderr.write(f"usage: verify {'|'.join(frameworks)} [FILE]" + "\n")
        return CANNOT_TELL
    try:
        return frameworks[arguments[0]](*arguments[1:])
    except BaseException as error:  # noqa: BLE001 - a dead database, a typing error, settings that exit: it cannot tell
        sys.stderr.write(f"{type(error).__name__}: {_words(error)}" + "\n")
        return CANNOT_TELL


def _words(error: BaseException) -> str:
    """What an error says; Flask puts a whole stack trace into its own, of which the ends are enough."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join([lines[0], lines[-1]] if any(line.startswith("Traceback") for line in lines) else lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
