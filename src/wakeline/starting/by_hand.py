"""What a deploy by hand gives away of services whose units are not in the repository: `cd /srv/shop`, `systemctl …`.

Most projects that deploy over ssh keep their unit files on the machine alone. Pure: text in, facts out.
"""

from __future__ import annotations

import re

from wakeline.starting.facts import Unit

_ENTERS = re.compile(r"\bcd\s+[\"']?(/[\w./-]+)")
_RESTARTS = re.compile(
    r"\bsystemctl\s+(?:-\S+\s+)*(?:restart|reload|reload-or-restart|start)\s+([\w.:-]+(?:[ \t]+[\w.:-]+)*)"
)
_ACTIVATES = re.compile(r"(?:\bsource|(?<![\w.])\.)\s+[\"']?(?:(?P<folder>/[\w./-]+)/)?(?P<name>[\w.-]+)/bin/activate")
_NOT_OURS = re.compile(
    r"(nginx|apache2?|httpd|caddy|haproxy|traefik|varnish|postgresql.*|mysqld?|mariadb|redis.*|memcached|rabbitmq-server|"
    r"mongod|docker|containerd|supervisord?|cron|sshd?|systemd-.*)\Z"
)


def services(file: str, text: str) -> tuple[Unit, ...]:
    """The units that a script or a workflow restarts, in the folder that it works in; none of the system's own."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    entered = (each.rstrip("/") for each in _ENTERS.findall(lines))
    folder = next((each for each in entered if each.split("/")[1:2] not in ([], ["tmp"])), "")
    venv = next((found["name"] for found in _ACTIVATES.finditer(lines) if found["folder"] in (None, folder)), "")
    names = (name.removesuffix(".service") for found in _RESTARTS.findall(lines) for name in found.split())
    ours = dict.fromkeys(name for name in names if not _NOT_OURS.match(name) and "." not in name and name[0] != "-")
    return tuple(Unit(file, folder=folder, called=f"{name}.service", venv=venv) for name in ours)
