"""What of a unit is moved to `current`, and what is said of the rest."""

import pytest

from wakeline.core.moving import Place, Setting, move

OLD = "/opt/app/checkout"
PLACE = Place("/opt/app", tracked=frozenset({"serve.py", "deploy/run.sh"}), made=frozenset({".venv", ".env"}))
TOPS = {OLD: OLD, f"{OLD}/backend": OLD, f"{OLD}/.venv/bin/gunicorn": OLD}
VENV = f"{OLD}/.venv/bin/gunicorn --bind 0.0.0.0:8000 site.wsgi"


def moved(*settings: tuple[str, str], file: str = "/etc/systemd/system/app.service", tops=None, place: Place = PLACE):
    made = [Setting(key, value, file) for key, value in settings]
    return move(made, place=place, tops=TOPS if tops is None else tops, last_name="50-wakeline.conf")


def test_what_starts_the_old_environment_starts_the_releases_own():
    found = moved(("WorkingDirectory", OLD), ("ExecStart", VENV))
    assert found.lines == (
        "WorkingDirectory=",
        "WorkingDirectory=/opt/app/current",
        "ExecStart=",
        "ExecStart=/opt/app/current/.venv/bin/gunicorn --bind 0.0.0.0:8000 site.wsgi",
    )
    assert found.changes[0] == f"starts in /opt/app/current (now: {OLD})"
    assert (found.doubts, found.old) == ((), OLD)


def test_what_no_release_is_sure_to_have_stays_and_is_said():
    found = moved(("WorkingDirectory", OLD), ("ExecStart", f"{OLD}/env/bin/gunicorn site.wsgi"))
    assert found.lines == ("WorkingDirectory=", "WorkingDirectory=/opt/app/current")
    (doubt,) = found.doubts
    assert doubt.startswith(f"ExecStart= {OLD}/env/bin/gunicorn stays: no step says that it makes env")


@pytest.mark.parametrize(
    ("key", "value", "new"),
    [
        ("EnvironmentFile", f"-{OLD}/.env", "-/opt/app/current/.env"),
        ("ExecStartPre", f"+{OLD}/deploy/run.sh --in={OLD}", "+/opt/app/current/deploy/run.sh --in=/opt/app/current"),
        ("ExecReload", f"/bin/sh -c 'cd {OLD} && ./x'", "/bin/sh -c 'cd /opt/app/current && ./x'"),
        ("Environment", f"PATH={OLD}/.venv/bin:/usr/bin", "PATH=/opt/app/current/.venv/bin:/usr/bin"),
        ("ExecStart", f"/usr/bin/python3 {OLD}/serve.py", "/usr/bin/python3 /opt/app/current/serve.py"),
    ],
)
def test_every_setting_that_is_read_when_it_starts_is_moved(key, value, new):
    found = moved(("WorkingDirectory", OLD), (key, value))
    assert f"{key}={new}" in found.lines
    assert (f"{key}=" in found.lines) is (key != "Environment")
    assert found.doubts == ()


def test_of_several_lines_of_a_key_all_are_said_again_in_their_order():
    found = moved(("WorkingDirectory", OLD), ("EnvironmentFile", "/etc/app"), ("EnvironmentFile", f"{OLD}/.env"))
    assert found.lines[2:] == ("EnvironmentFile=", "EnvironmentFile=/etc/app", "EnvironmentFile=/opt/app/current/.env")


@pytest.mark.parametrize("value", ["/opt/app/checkout-2/serve.py", "/srv/opt/app/checkout/serve.py", "/usr/bin/true"])
def test_what_only_looks_like_the_old_folder_is_left_alone(value):
    found = moved(("WorkingDirectory", OLD), ("ExecStart", value))
    assert (found.lines[2:], found.doubts) == ((), ())


def test_a_folder_inside_the_checkout_is_that_folder_of_the_release():
    found = moved(("WorkingDirectory", f"{OLD}/backend"), ("ExecStart", VENV))
    assert found.lines[1] == "WorkingDirectory=/opt/app/current/backend"
    assert "ExecStart=/opt/app/current/.venv/bin/gunicorn --bind 0.0.0.0:8000 site.wsgi" in found.lines
    assert found.old == OLD


def test_without_a_checkout_the_folder_that_it_starts_in_is_the_old_one():
    assert moved(("WorkingDirectory", "/srv/app"), ("ExecStart", "/srv/app/serve.py"), tops={}).lines[-1] == (
        "ExecStart=/opt/app/current/serve.py"
    )


def test_without_a_folder_the_checkout_that_it_runs_from_is_the_old_one():
    found = moved(("ExecStart", VENV))
    assert found.lines[1] == "WorkingDirectory=/opt/app/current"
    assert found.old == OLD
    assert moved(("ExecStart", "/usr/bin/gunicorn")).old == ""


def test_two_checkouts_are_a_doubt_and_not_a_guess():
    tops = {OLD: OLD, "/opt/b": "/opt/b"}
    found = moved(("ExecStart", f"{OLD}/serve.py /opt/b"), tops=tops)
    assert found.lines == ("WorkingDirectory=", "WorkingDirectory=/opt/app/current")
    assert "it runs from several checkouts (/opt/app/checkout, /opt/b)" in found.doubts[0]


def test_a_unit_that_starts_in_current_is_left_there():
    found = moved(("WorkingDirectory", "/opt/app/current"), ("ExecStart", "/opt/app/current/.venv/bin/gunicorn"))
    assert (found.changes, found.doubts, found.old) == ((), (), "")
    assert moved(("WorkingDirectory", "/opt/app/current/backend")).lines[1].endswith("/current/backend")


def test_a_variable_cannot_be_looked_into():
    found = moved(("WorkingDirectory", OLD), ("ExecStart", "$VENV/bin/gunicorn"))
    assert "in a variable" in found.doubts[0]


def test_where_it_writes_its_log_stays_and_is_said():
    found = moved(("WorkingDirectory", OLD), ("StandardOutput", f"{OLD}/logs/out.log"))
    assert found.lines == ("WorkingDirectory=", "WorkingDirectory=/opt/app/current")
    assert found.doubts == (f"StandardOutput={OLD}/logs/out.log stays as it is",)


def test_a_drop_in_that_is_read_after_ours_has_the_last_word_and_is_named():
    theirs = "/etc/systemd/system/app.service.d/60-theirs.conf"
    found = moved(("WorkingDirectory", OLD), ("ExecStart", VENV), file=theirs)
    assert found.doubts == (f"{theirs} has the last word over our drop-in: move the paths in it yourself",)


def test_releases_inside_the_old_checkout_are_not_moved_into_themselves():
    place = Place("/opt/app", made=frozenset({".venv"}))
    settings = [
        ("WorkingDirectory", "/opt/app"),
        ("EnvironmentFile", "/opt/app/shared/.env"),
        ("ExecStart", "/opt/app/.venv/x"),
    ]
    found = moved(*settings, tops={}, place=place)
    assert found.lines == (
        "WorkingDirectory=",
        "WorkingDirectory=/opt/app/current",
        "ExecStart=",
        "ExecStart=/opt/app/current/.venv/x",
    )
    assert found.doubts == ()
