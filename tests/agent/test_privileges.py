"""What a machine may do as root: exact lines, and none that could open a pager."""

from __future__ import annotations

import pytest

from wakeline.agent import privileges


def test_each_line_is_one_verb_of_one_unit_without_a_pager_and_none_is_status():
    lines = privileges.sudoers("ubuntu", ["web.service"])
    assert lines == [
        f"ubuntu ALL=(root) NOPASSWD: /usr/bin/systemctl --no-pager {verb} web.service"
        for verb in ("restart", "reload", "stop", "reset-failed")
    ]
    assert not any("*" in line or "status" in line for line in lines)


@pytest.mark.parametrize(
    "unit", ["web.service --all", "*.service", "-H.service", "web.service;sh", "web", "../x.service"]
)
def test_what_is_no_units_name_comes_into_no_line(unit):
    with pytest.raises(ValueError, match="not something that the agent may do as root"):
        privileges.sudoers("ubuntu", [unit])


def test_status_is_not_to_be_had():
    with pytest.raises(ValueError, match="status"):
        privileges.argv("status", "web.service", way=privileges.SUDO_WAY)
