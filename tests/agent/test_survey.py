"""What setup sees of a machine's units and shared files: only what it needs, and nothing that may be a secret."""

from __future__ import annotations

import json

import pytest

from wakeline.agent import survey

OURS = "/etc/systemd/system/app.service.d/50-wakeline.conf"
CAT = """\
# /etc/systemd/system/app.service
[Unit]
Description=/opt/app is not a setting
[Service]
# ExecStart=/opt/app/commented
WorkingDirectory=/opt/app
Environment=SECRET_KEY=hunter2 PATH=/opt/app/.venv/bin:/usr/bin "TOKEN=a b"
EnvironmentFile=-/opt/app/.env
ExecStart=/opt/app/.venv/bin/gunicorn \\
    --bind 0.0.0.0:8000 \\
    site.wsgi
StandardOutput=append:/opt/app/out.log
User=ubuntu

# /etc/systemd/system/app.service.d/50-wakeline.conf
[Service]
WorkingDirectory=
WorkingDirectory=/srv/app/current

# /etc/systemd/system/app.service.d/60-theirs.conf
[Service]
ExecStart=
ExecStart=/usr/bin/env python3 app.py
"""
FILE, THEIRS = "/etc/systemd/system/app.service", "/etc/systemd/system/app.service.d/60-theirs.conf"


def test_what_holds_without_our_own_drop_in():
    assert survey.settings(CAT, but=OURS) == [
        ["WorkingDirectory", "/opt/app", FILE],
        ["Environment", "PATH=/opt/app/.venv/bin:/usr/bin", FILE],
        ["EnvironmentFile", "-/opt/app/.env", FILE],
        ["StandardOutput", "/opt/app/out.log", FILE],
        ["ExecStart", "/usr/bin/env python3 app.py", THEIRS],
    ]


def test_a_line_that_goes_on_is_one_setting():
    found = survey.settings(CAT.partition("# /etc/systemd/system/app.service.d/60")[0])
    (start,) = [value for key, value, _ in found if key == "ExecStart"]
    assert start.split() == ["/opt/app/.venv/bin/gunicorn", "--bind", "0.0.0.0:8000", "site.wsgi"]


def test_no_value_of_the_environment_that_is_not_a_path_leaves_the_machine():
    said = json.dumps(survey.settings(CAT))
    assert "hunter2" not in said
    assert "a b" not in said


@pytest.fixture
def asked(tmp_path):
    user = survey.pwd.getpwuid(survey.os.getuid()).pw_name
    return {
        "path": str(tmp_path),
        "user": user,
        "units": [],
        "drop_ins": {},
        "files": [],
        "tools": ["sh"],
        "shared": [".env"],
        "shared_in": str(tmp_path / "shared"),
    }


def test_a_shared_file_is_found_in_the_folder_that_a_unit_starts_in_or_in_its_checkout(tmp_path, asked, monkeypatch):
    backend = tmp_path / "checkout/backend"
    backend.mkdir(parents=True)
    (tmp_path / "checkout/.git").mkdir()
    (tmp_path / "checkout/.env").write_text("SECRET_KEY=hunter2")
    (tmp_path / "checkout/.env").chmod(0o640)
    unit = {"state": "loaded", "settings": [["WorkingDirectory", str(backend), FILE]]}
    monkeypatch.setattr(survey, "_unit", lambda _unit, *, but: unit)
    found = survey.survey({**asked, "units": ["app.service"], "drop_ins": {"app.service": OURS}})
    (shared,) = found["shared"]
    assert (shared["there"], shared["to"]) == (False, str(tmp_path / "shared/.env"))
    ((at, kind, mode),) = [(each["at"], each["kind"], each["mode"]) for each in shared["found"]]
    assert (at, kind, mode) == (str(tmp_path / "checkout/.env"), "file", "0640")
    assert "hunter2" not in json.dumps(found)
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/.env").write_text("")
    (shared,) = survey.survey({**asked, "units": ["app.service"], "drop_ins": {"app.service": OURS}})["shared"]
    assert (shared["there"], shared["found"]) == (True, [])


def test_what_is_missing_is_named(asked):
    found = survey.survey({**asked, "tools": ["sh", "no-such-tool"], "user": "nobody-of-that-name"})
    assert (found["missing"], found["user"]) == (["no-such-tool"], False)
