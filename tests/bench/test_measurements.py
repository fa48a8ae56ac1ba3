"""What the measurements beside the comparison read and count, without a machine."""

from __future__ import annotations

import pytest

from bench.modes import ledger, without_a_gap

WRK = """\
Running 10m test @ http://10.77.1.11:8001/
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    14.61ms   52.14ms   1.21s    98.68%
    Req/Sec     1.93k   300.32     2.21k    90.00%
  5821 requests in 3.04s, 1.05MB read
"""


@pytest.mark.parametrize("server", ["gunicorn", "uvicorn"])
def test_the_how_to_has_a_socket_and_a_service_that_go_on_trying(server):
    units = without_a_gap.units(server)
    assert set(units) == {f"{server}-uat.socket", f"{server}-uat.service"}
    assert "TriggerLimitIntervalSec=0" in units[f"{server}-uat.socket"]
    assert "StartLimitIntervalSec=0" in units[f"{server}-uat.service"]
    assert f"Requires={server}-uat.socket" in units[f"{server}-uat.service"]


def test_the_how_to_has_the_file_that_uvicorn_is_started_by():
    compile(without_a_gap.server_of_the_how_to(), "serve.py", "exec")
    assert "/bin/python serve.py\n" in without_a_gap.units("uvicorn")["uvicorn-uat.service"]


def test_a_load_without_errors_lost_nothing():
    said = without_a_gap.counted(WRK)
    assert said == {"requests": 5821, "lost": 0, "bad_answers": 0, "slowest": "1.21s"}


def test_every_kind_of_loss_is_counted():
    more = "  Socket errors: connect 1, read 20, write 300, timeout 4000\n  Non-2xx or 3xx responses: 7\n"
    said = without_a_gap.counted(WRK + more)
    assert (said["lost"], said["bad_answers"]) == (4321, 7)


def test_a_release_told_again_has_another_number_and_everything_else_stays():
    body = {
        "version": 1,
        "id": "x",
        "release": 2,
        "fence": 2,
        "body": {"number": 2},
        "least": 2,
        "orders": ['{"a": 2}'],
    }
    again = ledger.renumbered(body, 17)
    assert again == {"release": 17, "fence": 17, "body": {"number": 17}, "least": 2, "orders": ['{"a": 2}']}
