"""Django's own commands, and `verify`: 0 the database has every migration, 10 it lacks some, 11 cannot tell."""

import os
import sys


def verify() -> int:
    try:
        import django

        django.setup()
        from django.db import connection
        from django.db.migrations.executor import MigrationExecutor

        executor = MigrationExecutor(connection)
        return 10 if executor.migration_plan(executor.loader.graph.leaf_nodes()) else 0
    except Exception as error:
        print(f"cannot tell: {error}", file=sys.stderr)
        return 11


def count_a_start() -> None:
    """In the database itself, beside Django: how often the migrate command was started."""
    import psycopg2

    with psycopg2.connect(host=os.environ["DATABASE_HOST"], dbname="shop", user="postgres") as connection:
        with connection.cursor() as cursor:
            cursor.execute("create table if not exists migrate_starts (machine text, release text)")
            machine, release = os.environ["WAKELINE_MACHINE"], os.environ["WAKELINE_RELEASE"]
            cursor.execute("insert into migrate_starts values (%s, %s)", (machine, release))


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_.settings")
if sys.argv[1:] == ["verify"]:
    sys.exit(verify())
if sys.argv[1:2] == ["migrate"]:
    count_a_start()

from django.core.management import execute_from_command_line  # noqa: E402

execute_from_command_line(sys.argv)
