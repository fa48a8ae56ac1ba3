"""The program behind $WAKELINE_VERIFY, asked of a real Django, a real Alembic and a real Flask-Migrate."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wakeline.agent import verify_migrations

pytestmark = pytest.mark.slow

TOOL = verify_migrations.__file__
HAS, LACKS, CANNOT_TELL = 0, 10, 1
MANAGE = """\
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "shop." + "settings"
if __name__ == "__main__":
    from django.core.management import execute_from_command_line
    execute_from_command_line(sys.argv)
"""
SETTINGS = """\
SECRET_KEY = "x"
INSTALLED_APPS = ["orders"]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": "{database}"}}}}
"""
MIGRATION = """\
from django.db import migrations, models
class Migration(migrations.Migration):
    dependencies = {after}
    operations = [migrations.CreateModel("{name}", [("id", models.AutoField(primary_key=True))])]
"""
ENV = """\
from alembic import context
from sqlalchemy import create_engine
with create_engine("sqlite:///{database}").connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
FLASK = """\
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///{database}"
Migrate(app, SQLAlchemy(app))
"""
REVISION = """\
revision, down_revision = "{name}", {after}
def upgrade(): pass
"""


def verify(place: Path, *words: str) -> int:
    done = subprocess.run([sys.executable, TOOL, *words], cwd=place, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode


class Django:
    words = ("django", "manage.py")

    def __init__(self, place: Path) -> None:
        self.place = place
        for name in ("shop", "orders", "orders/migrations"):
            (place / name).mkdir()
            (place / name / "__init__.py").touch()
        (place / "manage.py").write_text(MANAGE)
        self.use(f"{place}/db.sqlite")
        self.add("one")

    def use(self, database: str) -> None:
        (self.place / "shop/settings.py").write_text(SETTINGS.format(database=database))

    def add(self, name: str) -> None:
        folder = self.place / "orders/migrations"
        before = sorted(each.stem for each in folder.glob("m*.py"))
        after = [("orders", before[-1])] if before else []
        (folder / f"m{len(before)}_{name}.py").write_text(MIGRATION.format(name=name, after=after))

    def take_away_newest(self) -> None:
        max((self.place / "orders/migrations").glob("m*.py")).unlink()

    def apply(self) -> None:
        command = [sys.executable, "-m", "django", "migrate", "-v0", "--pythonpath=.", "--settings=shop.settings"]
        subprocess.run(command, cwd=self.place, check=True)

    def replace_code(self, text: str) -> None:
        (self.place / "shop/settings.py").write_text(text)


class Alembic:
    words = ("alembic", "alembic.ini")

    def __init__(self, place: Path) -> None:
        self.place = place
        (place / "scripts/versions").mkdir(parents=True)
        (place / "scripts/script.py.mako").touch()
        (place / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/scripts\npath_separator = os\n")
        self.use(f"{place}/db.sqlite")
        self.add("one")

    def use(self, database: str) -> None:
        (self.place / "scripts/env.py").write_text(ENV.format(database=database))

    def add(self, name: str) -> None:
        folder = self.place / "scripts/versions"
        before = sorted(each.stem for each in folder.glob("r*.py"))
        new = f"r{len(before)}_{name}"
        (folder / f"{new}.py").write_text(REVISION.format(name=new, after=repr(before[-1] if before else None)))

    def take_away_newest(self) -> None:
        max((self.place / "scripts/versions").glob("r*.py")).unlink()

    def apply(self) -> None:
        subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"], cwd=self.place, check=True)

    def replace_code(self, text: str) -> None:
        (self.place / "scripts/env.py").write_text(text)


class Flask(Alembic):
    words = ("flask",)

    def __init__(self, place: Path) -> None:
        self.place = place
        self.use(f"{place}/db.sqlite")
        self.flask("db", "init")
        (place / "migrations/versions").rename(place / "scripts/versions")
        (place / "migrations/versions").symlink_to(place / "scripts/versions")
        self.add("one")

    def use(self, database: str) -> None:
        (self.place / "scripts/versions").parent.mkdir(exist_ok=True)
        (self.place / "app.py").write_text(FLASK.format(database=database))

    def flask(self, *words: str) -> None:
        subprocess.run([sys.executable, "-m", "flask", *words], cwd=self.place, check=True, capture_output=True)

    def apply(self) -> None:
        self.flask("db", "upgrade")

    def replace_code(self, text: str) -> None:
        (self.place / "app.py").write_text(text)


@pytest.fixture(params=[Django, Alembic])
def app(request, tmp_path):
    return request.param(tmp_path)


def test_pending_is_lacks_and_applied_is_has(app):
    assert verify(app.place, *app.words) == LACKS
    app.apply()
    assert verify(app.place, *app.words) == HAS
    app.add("two")
    assert verify(app.place, *app.words) == LACKS


def test_a_database_that_is_ahead_has_what_older_code_needs(app):
    app.add("two")
    app.apply()
    app.take_away_newest()
    assert verify(app.place, *app.words) == HAS


def test_a_dead_database_cannot_tell(app):
    app.use("/no/such/folder/db.sqlite")
    assert verify(app.place, *app.words) == CANNOT_TELL


@pytest.mark.parametrize("text", ["[\n", ""])
def test_broken_code_cannot_tell(app, text):
    app.apply()
    app.replace_code(text)
    assert verify(app.place, *app.words) == CANNOT_TELL


@pytest.mark.parametrize("code", [HAS, LACKS])
def test_code_that_leaves_early_is_no_answer_whatever_its_exit_code(app, code):
    app.replace_code(f"import sys; sys.exit({code})\n")
    assert verify(app.place, *app.words) == CANNOT_TELL


def test_flask_migrate_is_asked_inside_its_application(tmp_path):
    app = Flask(tmp_path)
    assert verify(app.place, *app.words) == LACKS
    app.apply()
    assert verify(app.place, *app.words) == HAS
    app.replace_code("import no_such_module\n")
    assert verify(app.place, *app.words) == CANNOT_TELL


def test_a_manage_that_does_more_on_migrate_is_not_told_migrate(tmp_path):
    app = Django(tmp_path)
    manage = app.place / "manage.py"
    manage.write_text('import sys\nif "migrate" in sys.argv:\n    open("started", "w")\n' + MANAGE)
    assert verify(app.place, *app.words) == LACKS
    assert not (app.place / "started").exists()


def test_a_manage_that_hands_nothing_to_django_cannot_tell(tmp_path):
    app = Django(tmp_path)
    (app.place / "manage.py").write_text("")
    assert verify(app.place, *app.words) == CANNOT_TELL


def test_django_is_asked_about_the_database_that_migrate_takes_and_others_by_name(tmp_path):
    app = Django(tmp_path)
    settings = app.place / "shop/settings.py"
    settings.write_text(settings.read_text() + 'DATABASES["old"] = {**DATABASES["default"], "NAME": "old.sqlite"}\n')
    app.apply()
    assert verify(app.place, *app.words) == HAS
    assert verify(app.place, *app.words, "default", "old") == LACKS


def test_one_of_two_databases_that_lacks_is_lacks(tmp_path):
    app = Alembic(tmp_path)
    app.apply()
    env = app.place / "scripts/env.py"
    env.write_text(env.read_text() + ENV.format(database=f"{tmp_path}/other.sqlite"))
    assert verify(app.place, *app.words) == LACKS


def test_alembic_finds_the_application_beside_it_as_its_own_command_does(tmp_path):
    app = Alembic(tmp_path)
    (app.place / "models.py").touch()
    env = app.place / "scripts/env.py"
    env.write_text("import models\n" + env.read_text())
    app.apply()
    assert verify(app.place, *app.words) == HAS


@pytest.mark.parametrize("words", [(), ("rails",), ("django", "no-such-file.py"), ("alembic", "no.ini"), ("flask",)])
def test_a_typing_error_cannot_tell(tmp_path, words):
    assert verify(tmp_path, *words) == CANNOT_TELL
