"""What `doctor` makes of what it finds: the parts that only think, as tables."""

from __future__ import annotations

import pytest

from wakeline.agent.examination import (
    CANNOT_TELL,
    OK,
    PROBLEM,
    WARNING,
    _at_least,
    _database,
    database_of,
    judge_pooler,
    left_behind,
    libpq,
)


@pytest.mark.parametrize(
    ("found", "state"),
    [("2.30.2", OK), ("2.47", OK), ("3.0.0", OK), ("2.39.5.windows.1", OK), ("2.29.9", PROBLEM), ("1.8.3.1", PROBLEM)],
)
def test_a_version_of_git_is_new_enough_by_its_numbers(found, state):
    assert _at_least("git", found, "2.30")[1] == state


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("10.0.0.5 5432\n", OK),
        ("10.0.0.5 6432\n", WARNING),
        ("10.0.0.9 5432\n", WARNING),  # a pooler on the same port of another machine
        (" 0\n", WARNING),
        ("\n", CANNOT_TELL),
        ("psql: what?\n", CANNOT_TELL),
    ],
)
def test_nothing_is_in_between_only_where_address_and_port_are_those_that_were_asked(said, state):
    assert judge_pooler(said, address="10.0.0.5", port=5432)[1] == state


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"DATABASE_URL": "postgres://ann:x@db:6432/shop"}, ("db", 6432, "postgres://ann:x@db:6432/shop")),
        ({"DATABASE_URL": "mysql://ann:x@db:3306/shop"}, ("db", 3306, "")),
        ({"DATABASE_URL": "sqlite:///shop.db"}, ("", 5432, "")),
        ({"PGHOST": "db", "PGPORT": "6432"}, ("db", 6432, "")),
        ({"DATABASE_HOST": "db"}, ("db", 5432, "")),
        ({}, ("", 5432, "")),
    ],
)
def test_where_the_database_is(values, found):
    assert database_of(values) == found


@pytest.mark.parametrize("values", [{"DATABASE_URL": "postgres://ann:hunter2/5@db/shop"}, {"PGPORT": "hunter2"}])
def test_an_address_that_cannot_be_read_is_said_without_its_text(values, tmp_path):
    place = tmp_path / ".env"
    place.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    (finding,) = _database({"env_file": str(place)})
    assert (finding[1], "hunter2" in str(finding)) == (CANNOT_TELL, False)


def test_what_is_quoted_in_an_address_is_not_quoted_for_libpq():
    assert libpq("postgres://ann:p%40ss@db/shop")["PGPASSWORD"] == "p@ss"


SHOWN = """\
WorkingDirectory={work}
ExecStart={{ path={program} ; argv[]={program} --chdir {work} wsgi:app ; ignore_errors=no ; pid=0 ; status=0/0 }}
EnvironmentFiles={env} (ignore_errors=no)
"""


@pytest.mark.parametrize(
    ("work", "program", "env", "left"),
    [
        ("{path}/current", "{path}/current/.venv/bin/gunicorn", "{path}/shared/.env", []),
        ("{path}/current", "/usr/bin/gunicorn", "/etc/default/shop", []),
        ("{path}/current", "{old}/.venv/bin/gunicorn", "/etc/shop", ["ExecStart={old}/.venv/bin/gunicorn"]),
        (
            "{old}",
            "/usr/bin/gunicorn",
            "{old}/.env",
            ["WorkingDirectory={old}", "ExecStart={old}", "EnvironmentFiles={old}/.env"],
        ),
        ("{old}-beside", "/usr/bin/gunicorn", "/etc/shop", []),
        ("{other}/app", "/usr/bin/gunicorn", "/etc/shop", ["WorkingDirectory={other}/app", "ExecStart={other}/app"]),
        ("/", "/usr/bin/true", "", []),
        ("{path}/current", "{path}/releases/0/bin/serve", "{path}/shared/.env", []),
        ("{path}/current", "{path}/checkout/bin/serve", "/etc/shop", ["ExecStart={path}/checkout/bin/serve"]),
    ],
)
def test_what_starts_a_unit_and_lies_in_the_folder_from_before_is_named(tmp_path, work, program, env, left):
    """`old` is the folder of release 0, `other` a checkout that nobody has told us of."""
    names = {each: str(tmp_path / each) for each in ("old", "other", "path")}
    for checkout in ("other", "path/checkout"):
        (tmp_path / checkout / ".git").mkdir(parents=True)
    said = SHOWN.format(
        **{key: text.format(**names) for key, text in (("work", work), ("program", program), ("env", env))}
    )
    assert left_behind(said, path=names["path"], first=names["old"]) == [each.format(**names) for each in left]
