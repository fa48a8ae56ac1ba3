"""Receivers' addresses: each is found once, hidden before anybody can show it, and never in an error."""

from __future__ import annotations

import concurrent.futures

import pytest

from wakeline.driver.addresses import Addresses
from wakeline.edges.notify import NotSent
from wakeline.github.run import secrets_in_address

TOKEN = "tOkEn4SeCrEt"


def counting(folder, *, then: str) -> str:
    """A reference to a command that leaves a line for each of its runs."""
    (folder / "ask").write_text(f"echo asked >>{folder}/asked\n{then}\n")
    return f"cmd:sh {folder}/ask"


def test_a_command_is_asked_once_however_many_receivers_want_it_at_the_same_time(tmp_path):
    addresses = Addresses(at=tmp_path)
    reference = counting(tmp_path, then=f"echo json://127.0.0.1/{TOKEN}")
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        found = set(threads.map(addresses.find, [reference] * 16))
    assert found == {f"json://127.0.0.1/{TOKEN}"}
    assert (tmp_path / "asked").read_text() == "asked\n"


def test_a_command_that_fails_is_not_asked_again_and_its_words_are_nobodys(tmp_path):
    addresses = Addresses(at=tmp_path)
    reference = counting(tmp_path, then=f"echo {TOKEN}; echo {TOKEN} >&2; exit 4")
    for _ in range(2):
        with pytest.raises(NotSent, match="exit 4") as refused:
            addresses.find(reference)
        assert TOKEN not in refused.value.message + refused.value.hint
    assert (tmp_path / "asked").read_text() == "asked\n"


def test_what_is_found_is_hidden_before_it_is_used_also_where_it_is_no_address(tmp_path):
    heard: list[str] = []
    addresses = Addresses(at=tmp_path, hide=heard.extend)
    (tmp_path / "lines").write_text("first-secret-line\nsecond-secret-line\n")
    with pytest.raises(NotSent, match="file:lines holds no address"):
        addresses.find("file:lines")
    assert {"first-secret-line", "second-secret-line"} <= set(heard)


def test_what_costs_a_process_is_not_found_early_and_the_rest_is(tmp_path, monkeypatch):
    heard: list[str] = []
    addresses = Addresses(at=tmp_path, hide=heard.extend)
    (tmp_path / "address").write_text("json://127.0.0.1/of-the-file-1\n")
    monkeypatch.setenv("TELL_TEAM", "json://127.0.0.1/of-the-environment-2")
    command = counting(tmp_path, then="echo json://127.0.0.1/of-the-command-3")
    addresses.hide_early([command, "env:TELL_TEAM", "file:address", "env:NOBODY_SET_THIS", "file:no/such/file"])
    assert {"of-the-file-1", "of-the-environment-2"} <= set(heard)
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize(
    ("address", "secret", "readable"),
    [
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOX", ["TIiajkdnlazkcOX", "A1BRTD4JD"], ["slack"]),
        ("https://hooks.slack.com/services/T1JJ3T3L2/B/x", ["T1JJ3T3L2"], ["hooks.slack.com", "services"]),
        ("mailtos://ann:p%40ssword@mail2.example.com?to=ops@example.com", ["p@ssword", "p%40ssword"], ["mail2"]),
        (
            "json://127.0.0.1:50000/of-the-team?key=s3cr3t-value",
            ["s3cr3t-value"],
            ["50000", "127.0.0.1", "of-the-team"],
        ),
    ],
)
def test_the_parts_of_an_address_that_are_secret_are_hidden_and_its_ordinary_words_are_not(address, secret, readable):
    hidden = set(secrets_in_address(f"{address}\n"))
    assert {address, *secret} <= hidden
    assert not any(each in part for each in readable for part in hidden - {address})
