"""The program behind $WAKELINE_VERIFY, asked of a real Django and a real Alembic."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wakeline.agent import verify_migrations

TOOL = verify_migrations.__file__
HAS, LACKS, CANNOT_TELL = 0, 10, 1
MANAGE = 'import os\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")\n'
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

    def break_code(self) -> None:
        (self.place / "shop/settings.py").write_text("INSTALLED_APPS = [\n")


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

    def break_code(self) -> None:
        (self.place / "scripts/env.py").write_text("import no_such_module\n")


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


def test_broken_code_cannot_tell(app):
    app.break_code()
    assert verify(app.place, *app.words) == CANNOT_TELL


@pytest.mark.parametrize("code", [0, 10])
def test_code_that_ends_the_process_cannot_tell_whatever_it_says(app, code):
    name = "shop/settings.py" if app.words[0] == "django" else "scripts/env.py"
    (app.place / name).write_text(f"import sys\nsys.exit({code})\n")
    assert verify(app.place, *app.words) == CANNOT_TELL


@pytest.mark.parametrize("words", [(), ("rails",), ("django", "no-such-file.py")])
def test_a_typing_error_cannot_tell(tmp_path, words):
    assert verify(tmp_path, *words) == CANNOT_TELL
