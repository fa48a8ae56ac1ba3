"""A database that is restarted, and a client that is killed, in the middle of a migration: on PostgreSQL and MariaDB.

In doubt, nothing else goes out, and it is settled by `verify`, once the statement that lives on in the server is gone.
"""

from __future__ import annotations

import json

import pytest

from machines.machine import until
from wakeline.agent.migration_lock import KEY

LOCK = 'lock = "python3 $WAKELINE_LOCK django manage.py"\n'
TAGGED = 'run = "python3 $WAKELINE_LOCK tagged manage.py migrate --noinput"'
MIGRATION = """\
from django.db import migrations

class Migration(migrations.Migration):
    dependencies = [("orders", "0002_one_order")]
    operations = [migrations.RunSQL("{slow}"), migrations.RunSQL("create table slow (id int)")]
"""
MARIADB = """
create database shop;
create user shop@'%' identified by '{password}', shop@localhost identified by '{password}';
grant all on shop.* to shop@'%', shop@localhost;
"""


class PostgreSQL:
    """The database beside the scheduler, as seen by its administrator."""

    unit = "postgresql"
    slow = "select pg_sleep(300) where exists (select 1 from gate)"
    find = "select pid from pg_stat_activity where application_name like 'wakeline:%' and query like '%sleep%'"

    def __init__(self, fleet) -> None:
        self.machine = fleet.scheduler

    def sql(self, query: str) -> str:
        return self.machine.sql(query)

    def end_sessions(self) -> None:
        self.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'wakeline:%'")


class MariaDB(PostgreSQL):
    unit = "mariadb"
    # not sleep(): that one ends when its client does, and a migration does not
    slow = "select benchmark(4000000000 * id, sha2('x', 512)) from gate limit 1"
    find = "select id from information_schema.processlist where info like '%benchmark(4%' and id <> connection_id()"

    def sql(self, query: str) -> str:
        return self.machine.run(f'mariadb -N shop -e "{query}"').strip()

    def end_sessions(self) -> None:
        for each in self.sql(self.find).split():
            self.sql(f"kill {each}")


@pytest.fixture(params=[PostgreSQL, MariaDB], ids=["postgresql", "mariadb"])
def database(request, fleet):
    """A fleet at release 1, whose next release has a migration that sleeps as long as there is a row in `gate`."""
    made = request.param(fleet)
    file = fleet.app / "wakeline.toml"
    text = file.read_text().replace(
        'verify = "python3 manage.py verify"\n', f'verify = "python3 manage.py verify"\n{LOCK}'
    )
    if request.param is MariaDB:
        password = fleet.secrets["the database's password"]
        fleet.scheduler.write("/root/shop.sql", MARIADB.format(password=password), mode=0o600)
        fleet.scheduler.run("systemctl start mariadb && mariadb </root/shop.sql; rm /root/shop.sql")
        text = text.replace('run = "python3 manage.py migrate --noinput"', TAGGED)
        for machine in fleet.machines.values():
            fleet.write_env_file(machine, DATABASE_KIND="mariadb")
    file.write_text(text)
    fleet.commit("one")
    said = fleet.wakeline("deploy")
    assert said.code == 0, said.err + said.out
    place = "/var/lib/wakeline/shop/uat/config.json"
    config = json.dumps({**json.loads(fleet.scheduler.read(place)), "session_s": 1})
    fleet.scheduler.write(place, config, mode=0o600, owner=1000)
    made.sql("create table gate (id int)")
    made.sql("insert into gate values (1)")
    fleet.commit("two", {"orders/migrations/0003_slow.py": MIGRATION.format(slow=made.slow)})
    return made


def starts(database) -> list[str]:
    return database.sql("select at_release from migrate_starts order by at_release").split()


def test_a_client_that_is_killed_leaves_a_statement_that_is_found_and_waited_for(fleet, database):
    running = fleet.begin("deploy")
    until(lambda: database.sql(database.find), limit_s=120, what="the migration is in its sleep")
    fleet.scheduler.run("pkill -9 -f '[m]anage.py migrate'")
    out, err = running.communicate(timeout=180)
    assert running.returncode == 4, err + out
    assert "its session is still in the database" in err + out
    said = fleet.wakeline("deploy")
    assert said.code == 4, said.err + said.out
    assert "in the database: wakeline:" in said.err
    assert starts(database) == ["1", "2"]
    database.sql("delete from gate")
    database.end_sessions()
    said = fleet.wakeline("deploy")
    assert said.code == 0, said.err + said.out
    assert fleet.serves == ("two", "two")
    assert starts(database) == ["1", "2", "2"]  # the second one with a settlement between, by verify
    assert [each["how"] for each in fleet.log() if each["kind"] == "resolved"] == ["ended"]


def test_a_database_that_goes_away_in_a_migration_is_in_doubt_until_it_is_back(fleet, database):
    running = fleet.begin("deploy")
    until(lambda: database.sql(database.find), limit_s=120, what="the migration is in its sleep")
    fleet.scheduler.run(f"systemctl stop {database.unit}", limit_s=120)
    out, err = running.communicate(timeout=240)
    in_doubt = running.returncode == 4  # or it answered for as long as it took to say that nothing is left: failed
    assert running.returncode in (1, 4), err + out
    said = fleet.wakeline("deploy")
    assert said.code in (1, 3, 4), said.err + said.out  # nothing goes out
    assert fleet.serves[0] == "one"
    fleet.scheduler.run(f"systemctl start {database.unit}", limit_s=120)
    database.sql("delete from gate")
    said = fleet.wakeline("deploy" if in_doubt else "retry")
    assert said.code == 0, said.err + said.out
    assert fleet.serves == ("two", "two")
    assert starts(database) == ["1", "2", "2" if in_doubt else "3"]


def test_a_lead_that_loses_its_power_in_a_migration_leaves_it_in_doubt_until_it_is_back(fleet, database):
    """Its database goes with it. What its journal cannot know, the database does: the session is gone."""
    fleet.scheduler.run(f"systemctl enable {database.unit}")
    running = fleet.begin("deploy")
    until(lambda: database.sql(database.find), limit_s=120, what="the migration is in its sleep")
    fleet.scheduler.power_cut()
    out, err = running.communicate(timeout=240)
    assert running.returncode == 4, err + out
    for again in ("deploy", "rollback"):
        said = fleet.wakeline(again)
        assert said.code == 4, said.err + said.out
    assert fleet.uat.http() == "one", "nothing goes out behind it"
    fleet.scheduler.boot()
    fleet.scheduler.wait_for_boot()
    fleet.scheduler.wait_until_it_serves("one", limit_s=60)
    assert starts(database) == ["1", "2"]
    database.sql("delete from gate")
    said = fleet.wakeline("deploy")
    assert said.code == 0, said.err + said.out
    assert (fleet.serves, starts(database)) == (("two", "two"), ["1", "2", "2"])
    assert [each["how"] for each in fleet.log() if each["kind"] == "resolved"] == ["ended"]


def test_a_lock_behind_a_pooler_in_transaction_mode_is_refused_and_doctor_finds_the_pooler(fleet):
    machine = fleet.scheduler
    settings = f"""
[databases]
shop = host={machine.address} dbname=shop user=postgres
[pgbouncer]
listen_addr = *
listen_port = 6432
auth_type = any
pool_mode = transaction
"""
    machine.write("/etc/pgbouncer/pgbouncer.ini", settings)
    machine.run("systemctl restart pgbouncer")
    password = fleet.secrets["the database's password"]
    url = f"postgresql://postgres:{password}@{machine.address}:6432/shop"
    fleet.write_env_file(machine, DATABASE_URL=url)
    file = fleet.app / "wakeline.toml"
    lock = LOCK.replace("django manage.py", "url")
    file.write_text(
        file.read_text().replace(
            'verify = "python3 manage.py verify"\n', f'verify = "python3 manage.py verify"\n{lock}'
        )
    )
    fleet.commit("one")
    said = fleet.wakeline("deploy")
    assert said.code == 1, said.err + said.out
    assert "a pooler in transaction mode is in between" in said.err
    assert "relation" not in machine.sql("select to_regclass('migrate_starts')")
    found = fleet.wakeline("doctor", "scheduler")
    assert "a pooler in transaction mode" in found.out, found.out
    fleet.write_env_file(machine, DATABASE_URL=url.replace("6432", "5432"))
    assert fleet.wakeline("retry", "scheduler").code == 0
    said = fleet.wakeline("deploy")
    assert said.code == 0, said.err + said.out


def test_a_lock_that_another_session_has_starts_nothing(fleet):
    file = fleet.app / "wakeline.toml"
    file.write_text(
        file.read_text().replace(
            'verify = "python3 manage.py verify"\n', f'verify = "python3 manage.py verify"\n{LOCK}'
        )
    )
    fleet.commit("one")
    hold = f"select pg_advisory_lock({KEY}), pg_sleep(600)"
    fleet.scheduler.run(
        f"PGAPPNAME=somebody setsid psql -U postgres -h /var/run/postgresql -d shop -c '{hold}' >/dev/null 2>&1 &"
    )
    until(lambda: fleet.scheduler.sql("select 1 from pg_locks where locktype='advisory'"), limit_s=30, what="the lock")
    said = fleet.wakeline("deploy")
    assert said.code == 1, said.err + said.out
    assert "the migration lock is held by another session: process" in said.err
    assert "somebody" in said.err
    assert fleet.scheduler.sql("select count(*) from pg_tables where tablename = 'migrate_starts'") == "0"
