"""Full disks, masked units, busy ports, restart loops, flapping health: the old release serves, and words say why."""

from __future__ import annotations

FLAPS = """\
import http.server, itertools
from pathlib import Path
VERSION = (Path(__file__).resolve().parent / "VERSION").read_text().strip()
ANSWERS = itertools.cycle([200, 500])

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(next(ANSWERS))
        self.end_headers()
        self.wfile.write(VERSION.encode())

http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Handler).serve_forever()
"""
BUSY = "import http.server\nhttp.server.HTTPServer(('0.0.0.0', 8001), http.server.BaseHTTPRequestHandler)\n"


def red(fleet, version: str, *causes: str, files: dict[str, str] | None = None) -> None:
    """The release fails with these words, and what ran before is what serves."""
    before = fleet.serves
    fleet.commit(version, files)
    said = fleet.wakeline("deploy")
    assert said.code == 1, said.err
    for cause in causes:
        assert cause in said.err, said.err
    assert "Traceback (most recent call last)" not in said.out
    for machine, text in zip(fleet.machines.values(), before, strict=True):
        if text:
            machine.wait_until_it_serves(text)


def green(fleet, version: str, files: dict[str, str] | None = None) -> str:
    fleet.commit(version, files)
    said = fleet.wakeline("deploy")
    assert said.code == 0, said.err
    assert fleet.serves == (version, version)
    return said.err


def test_14_a_disk_that_is_full_while_steps_run_at_the_journal_and_at_the_log(fleet):
    fleet.uat.run(
        "cp -a /opt/shop/shared /root/; mount -t tmpfs -o size=64m,uid=1000,gid=1000 tmpfs /opt/shop; "
        "cp -a /root/shared /opt/shop/"
    )
    fleet.rightly_in.append("uat:/root/shared/*")
    green(fleet, "one")
    fills = "dd if=/dev/zero of=big bs=1M count=100\n"
    scheduler = (fleet.app / "scheduler.py").read_text()
    fleet.commit("two", {"pages.sh": fills})
    said = fleet.wakeline("deploy")
    assert said.code == 1, said.err
    assert "No space left on device" in said.err
    assert fleet.serves == ("two", "one")
    green(fleet, "three", {"pages.sh": "exit 0\n"})  # the try that filled the disk is taken away first

    home = "/var/lib/wakeline/shop/uat"
    fleet.uat.run(f"cp -a {home} /root/home; mount -t tmpfs -o size=2m,uid=1000,gid=1000,mode=700 tmpfs {home}")
    fleet.uat.run(f"cp -a /root/home/. {home}/ 2>/dev/null; cat /dev/zero >{home}/filled; true")
    fleet.commit("four")
    said = fleet.wakeline("deploy")
    assert said.code == 1, said.err
    assert "No space left" in said.err or "no space left" in said.err
    assert fleet.uat.http() == "three"
    fleet.uat.run(f"umount {home}")
    green(fleet, "five", {"scheduler.py": scheduler})

    fleet.uat.run(f"mount -t tmpfs -o size=64k,uid=1000,gid=1000,mode=700 tmpfs {home}/logs")
    talks = "i=0\nwhile test $i -lt 4000; do echo a line that fills the log of a small disk $i; i=$((i+1)); done\n"
    green(fleet, "six", {"pages.sh": talks})
    assert fleet.uat.run(f"df --output=avail {home}/logs").split()[-1] == "0"


def test_16_17_a_masked_unit_a_busy_port_a_restart_loop_and_flapping_health_go_back(fleet):
    good = (fleet.app / "scheduler.py").read_text()
    file = fleet.app / "wakeline.toml"
    file.write_text(
        file.read_text().replace('8000/", within = "30s"', '8000/", within = "10s"')
    )  # waited out five times
    green(fleet, "one")
    fleet.uat.run("mv /etc/systemd/system/gunicorn-uat.service /root/ && systemctl mask gunicorn-uat")
    fleet.commit("two")
    said = fleet.wakeline("deploy")
    assert said.code == 1, said.err
    assert "gunicorn-uat.service is masked" in said.err
    assert fleet.serves == ("two", "one")
    fleet.uat.run("systemctl unmask gunicorn-uat && mv /root/gunicorn-uat.service /etc/systemd/system/")
    fleet.uat.run("systemctl daemon-reload")
    green(fleet, "three")

    fleet.scheduler.run("setsid python3 -m http.server 8001 >/dev/null 2>&1 &")
    red(fleet, "four", "scheduler.service is not healthy", files={"scheduler.py": BUSY + good})
    for version in ("five", "six", "seven"):  # more starts in a row than systemd's StartLimitBurst lets through
        red(fleet, version, "is not healthy", files={"scheduler.py": "raise SystemExit('again')\n"})
    red(fleet, "eight", "is not healthy", files={"scheduler.py": FLAPS})
    green(fleet, "nine", {"scheduler.py": good})
