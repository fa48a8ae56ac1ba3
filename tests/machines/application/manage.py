"""Django's own commands, and `verify`: 0 the database has every migration, 10 it lacks some, 11 cannot tell."""

import os
import sys
from pathlib import Path


def verify() -> int:
    """From Django's own table, without Django: it would say the same half a second later, at each of many deploys."""
    wanted = {file.stem for file in Path(__file__).parent.glob("orders/migrations/0*.py")}
    try:
        cursor = connect().cursor()
        cursor.execute("select name from django_migrations where app = 'orders'")
        return 10 if wanted - {name for (name,) in cursor.fetchall()} else 0
    except Exception as error:
        if "django_migrations" in str(error) and "exist" in str(error):  # it does not: nothing was ever migrated
            return 10
        print(f"cannot tell: {error}", file=sys.stderr)
        return 11


def count_a_start() -> None:
    """In the database itself, beside Django: how often the migrate command was started. It says all that it was given."""
    print(*(f"{name}={value}" for name, value in os.environ.items()), sep="\n", flush=True)
    connection = connect()
    cursor = connection.cursor()
    cursor.execute("create table if not exists migrate_starts (machine text, at_release text)")
    machine, release = os.environ["WAKELINE_MACHINE"], os.environ["WAKELINE_RELEASE"]
    cursor.execute("insert into migrate_starts values (%s, %s)", (machine, release))
    connection.commit()
    connection.close()


def connect():
    host, password = os.environ["DATABASE_HOST"], os.environ.get("DATABASE_PASSWORD")
    if os.environ.get("DATABASE_KIND") == "mariadb":
        import MySQLdb

        return MySQLdb.connect(host=host, db="shop", user="shop", password=password or "", connect_timeout=3)
    import psycopg2

    return psycopg2.connect(host=host, dbname="shop", user="postgres", password=password, connect_timeout=3)


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_.settings")
if sys.argv[1:] == ["verify"]:
    sys.exit(verify())
if sys.argv[1:2] == ["migrate"]:
    count_a_start()

from django.core.management import execute_from_command_line  # noqa: E402

execute_from_command_line(sys.argv)
