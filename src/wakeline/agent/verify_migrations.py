"""Asks a framework whether the database has what this release needs: exit 0 it has, 10 it lacks, 1 cannot tell.

`migrate --check` of Django exits 1 for pending migrations, for a dead database and for a typing error alike, which is
no answer to stand on. The agent puts this file beside itself and names it in $WAKELINE_VERIFY; the application's own
Python, which has the framework, runs it in the release:

    verify = ".venv/bin/python $WAKELINE_VERIFY django manage.py"
    verify = ".venv/bin/python $WAKELINE_VERIFY alembic alembic.ini"

A database that is ahead of the code is fine: every migration that the code knows has been applied.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from pathlib import Path

HAS, LACKS, CANNOT_TELL = 0, 10, 1
_SETTINGS = re.compile(r"""DJANGO_SETTINGS_MODULE["']\s*,\s*["']([\w.]+)["']""")


def django(manage: str = "manage.py") -> int:
    """Ask Django's own executor for what it would apply, on every database that may be migrated."""
    sys.path.insert(0, str(Path(manage).resolve().parent))
    found = _SETTINGS.search(Path(manage).read_text(encoding="utf-8"))
    if found:
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", found[1])
    importlib.import_module("django").setup()
    connections = importlib.import_module("django.db").connections
    executors = importlib.import_module("django.db.migrations.executor")
    pending = []
    for alias in connections:
        executor = executors.MigrationExecutor(connections[alias])
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        pending += [f"{alias}: {migration.app_label}.{migration.name}" for migration, _ in plan]
    for each in pending:
        sys.stdout.write(f"{each}\n")
    return LACKS if pending else HAS


def alembic(ini: str = "alembic.ini") -> int:
    """Compare the heads of the scripts with what the database says it has."""
    config = importlib.import_module("alembic.config").Config(ini)
    scripts = importlib.import_module("alembic.script").ScriptDirectory.from_config(config)
    environment = importlib.import_module("alembic.runtime.environment")
    applied: set[str] = set()

    def look(present: tuple[str, ...], _context: object) -> list[object]:
        known = {script.revision for script in scripts.walk_revisions()}
        for revision in present:
            if revision not in known:
                applied.update(known)  # the database is ahead: it was brought there through all that we know
            else:
                applied.update(each.revision for each in scripts.iterate_revisions(revision, "base"))
        return []

    with environment.EnvironmentContext(config, scripts, fn=look, dont_mutate=True):
        scripts.run_env()
    missing = set(scripts.get_heads()) - applied
    for each in sorted(missing):
        sys.stdout.write(f"{each}\n")
    return LACKS if missing else HAS


def main(arguments: list[str]) -> int:
    """Any problem at all is `cannot tell`, with its words."""
    frameworks = {"django": django, "alembic": alembic}
    if not arguments or arguments[0] not in frameworks:
        sys.stderr.write(f"usage: verify {'|'.join(frameworks)} [FILE]" + "\n")
        return CANNOT_TELL
    try:
        return frameworks[arguments[0]](*arguments[1:2])
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a dead database, code that ends us: it cannot tell
        sys.stderr.write(f"{type(error).__name__}: {error}" + "\n")
        return CANNOT_TELL


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
