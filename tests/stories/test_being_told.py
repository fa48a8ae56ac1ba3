"""Messages: one for a rollout, one for a sleeper that arrives, from real services; and none that does any harm."""

from __future__ import annotations

import datetime
import json
import ssl
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from stories.receivers import free_port, http_receiver, smtp_receiver

NOTIFY = '\n[[notify]]\nname = "{name}"\nto = "{to}"\n{more}'
TOKEN = "tOkEn4SeCrEt"


def tell(fleet, name: str, to: str, more: str = "") -> None:
    """Let a receiver be told from the next commit on."""
    fleet.write("wakeline.toml", (fleet.app / "wakeline.toml").read_text() + NOTIFY.format(name=name, to=to, more=more))


def of_environment(fleet, name: str, address: str, more: str = "") -> None:
    fleet.environment[f"TELL_{name.upper()}"] = address
    tell(fleet, name, f"env:TELL_{name.upper()}", more)


def address_of(receiver, path: str = "") -> str:
    """Its address, with patience: a busy machine answers late, and that is not what these tests are about."""
    return f"json://127.0.0.1:{receiver.port}/{path}?cto=30&rto=30"


def told(fleet) -> list[dict]:
    """Every record of what was told."""
    ref = "refs/wakeline/shop/uat/told"
    lines = fleet.git("log", "--reverse", "--format=%B", ref, at=fleet.root / "remote.git").splitlines()
    return [json.loads(line) for line in lines if line]


def everything_written(fleet) -> str:
    """All that is on the ledger, on the machines and in the caches, as text."""
    text = "".join(json.dumps(record) for record in [*fleet.log(), *told(fleet)])
    for place in (fleet.root / "machines", fleet.root / "cache"):
        for path in place.rglob("*"):
            if path.is_file():
                text += path.read_bytes().decode("latin-1")
    return text


def test_one_message_for_a_rollout_and_one_for_the_sleeper_that_arrives(fleet):
    with http_receiver() as team:
        of_environment(fleet, "team", address_of(team, TOKEN))
        fleet.commit("one")
        assert fleet.wakeline("deploy").code == 0
        fleet.power("uat", on=False)
        fleet.commit("two", schema="0002")
        said = fleet.wakeline("deploy")
        assert (said.code, TOKEN in said.out + said.err) == (0, False)
        assert [each["title"] for each in team.taken] == [
            "shop uat: release 1 passed",
            "shop uat: release 2 passed, uat asleep",
        ]
        text = team.taken[1]["message"]
        assert "1 of 2 on" in text
        assert "(1 commit, migrate ran)" in text
        assert "Asleep since" in text
        assert "Roll back: wakeline rollback" in text

        assert fleet.wakeline("notify").out == "nothing is due\n"
        fleet.power("uat", on=True)
        assert fleet.wakeline("catch-up", "uat").code == 0
        assert team.taken[2]["title"] == "shop uat: uat has caught up: release 2"
        assert fleet.wakeline("notify").out == "nothing is due\n"
        assert len(team.taken) == 3
    assert TOKEN not in everything_written(fleet)


def test_a_sleeper_that_caught_up_alone_is_heard_by_the_next_notify(fleet):
    with http_receiver() as team:
        of_environment(fleet, "team", address_of(team), 'events = ["caught-up"]')
        fleet.commit("one")
        fleet.wakeline("deploy")
        fleet.power("uat", on=False)
        fleet.commit("two")
        fleet.wakeline("deploy")
        assert team.taken == []
        fleet.power("uat", on=True)
        fleet.environment["TELL_TEAM"] = ""  # a catch-up of its own: no runner that could tell
        fleet.wakeline("catch-up", "uat")
        fleet.environment["TELL_TEAM"] = address_of(team)
        said = fleet.wakeline("notify")
        assert said.code == 0, said
        assert [each["title"] for each in team.taken] == ["shop uat: uat has caught up: release 2"]
        assert fleet.machine("uat")["release"] == 2


def test_a_failure_is_told_with_its_cause_and_the_way_on(fleet):
    with http_receiver() as team:
        of_environment(fleet, "team", address_of(team))
        fleet.commit("one")
        fleet.wakeline("deploy")
        fleet.commit("two", pages_sh="echo '<!channel> @everyone'; exit 3")
        assert fleet.wakeline("deploy").code == 1
        assert team.taken[1]["title"] == "shop uat: release 2 failed on scheduler"
        lines = team.taken[1]["message"].splitlines()
        assert lines[1:3] == ["scheduler: pages: exit 3", "Withheld: uat."]
        assert "wakeline rollback" in lines[-1]


def test_mail_and_chats_get_it_through_their_own_protocols(fleet, tmp_path):
    with smtp_receiver() as mail, http_receiver() as chat, http_receiver(tls=certificate(tmp_path)) as teams:
        of_environment(
            fleet,
            "mail",
            f"mailto://127.0.0.1:{mail.port}?from=ann@shop.test&to=ops@shop.test&mode=insecure&cto=30&rto=30",
        )
        of_environment(fleet, "chat", f"mmost://127.0.0.1:{chat.port}/3ccdd113474722377935511fc85d3dd4?cto=30&rto=30")
        of_environment(
            fleet, "teams", f"workflows://127.0.0.1:{teams.port}/643a03a1f06248/{TOKEN}?verify=no&cto=30&rto=30"
        )
        fleet.commit("one")
        said = fleet.wakeline("deploy")
        assert (said.code, "not told" in said.err) == (0, False), said.err
        (message,) = mail.mails
        assert "release 1 passed" in message["Subject"]
        assert message["X-RcptTo"] == "ops@shop.test"
        assert "2 of 2 on" in message.as_string()
        assert "release 1 passed" in json.dumps(chat.taken)
        assert "release 1 passed" in json.dumps(teams.taken)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"answer": 500}, "it answered 500"),
        ({"answer": 403}, "it answered 403"),
        ({"hangs": True}, "no answer within 10 s"),
    ],
)
def test_a_service_that_is_down_changes_no_outcome_and_is_told_later(fleet, how, why):
    with http_receiver(**how) as team:
        of_environment(fleet, "team", address_of(team, TOKEN))
        fleet.commit("one")
        said = fleet.wakeline("deploy")
        assert said.code == 0
        assert f"team was not told: {why}" in said.err
        assert TOKEN not in said.out + said.err
        assert team.asked >= 1
        ended = next(record for record in fleet.log() if record["kind"] == "release-ended")
        assert (ended["outcome"], fleet.log()[-1]["kind"]) == ("passed", "lease-freed")
        port = team.port
    with http_receiver(port=port) as team:
        assert fleet.wakeline("notify").code == 0
        assert [each["title"] for each in team.taken] == ["shop uat: release 1 passed"]
        assert fleet.wakeline("notify").out == "nothing is due\n"
    assert [record["kind"] for record in told(fleet)] == ["wanted", "telling", "not-told", "telling", "told"]
    assert TOKEN not in everything_written(fleet)


def test_nobody_there_is_said_without_the_address(fleet):
    of_environment(fleet, "team", f"json://127.0.0.1:{free_port()}/{TOKEN}")
    fleet.commit("one")
    said = fleet.wakeline("deploy")
    assert said.code == 0
    assert "team was not told: no connection, or no answer in time" in said.err
    assert TOKEN not in said.out + said.err
    failed = fleet.wakeline("notify")
    assert failed.code == 1
    assert TOKEN not in failed.out + failed.err


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("env:NOBODY_SET_THIS", "NOBODY_SET_THIS is not set here"),
        ("file:no/such/file", "cannot be read: No such file"),
        ("cmd:sh says-it-and-fails", "did not say an address: exit 4"),
        ("env:TELL_WORD", "env:TELL_WORD holds no address"),
        ("env:TELL_SCHEME", "its address is not one that apprise knows"),
    ],
)
def test_an_address_that_is_not_found_is_named_by_its_reference(fleet, to, why):
    fleet.environment.update(TELL_WORD=TOKEN, TELL_SCHEME=f"nosuch://{TOKEN}")
    fleet.write("says-it-and-fails", f"echo {TOKEN}; echo {TOKEN} >&2; exit 4")
    tell(fleet, "team", to)
    fleet.commit("one")
    said = fleet.wakeline("notify", "--test")
    assert said.code == 1
    assert "team was not told:" in said.err
    assert why in said.err
    assert TOKEN not in said.out + said.err


@pytest.mark.parametrize(
    ("to", "why", "remedy"),
    [
        ("env:NOBODY_SET_THIS", "NOBODY_SET_THIS is not set here", "export NOBODY_SET_THIS=…"),
        ("file:no/such/file", "no/such/file cannot be read: No such file", "write the address there"),
        ("cmd:sh says-it-and-fails", "`sh says-it-and-fails` did not say an address: exit 4", "run it by hand"),
        ("env:TELL_WORD", "env:TELL_WORD holds no address", "one line such as slack://…"),
        ("env:TELL_SCHEME", "its address is not one that apprise knows", "github.com/caronc/apprise/wiki"),
    ],
)
def test_doctor_finds_an_address_that_would_not_do_with_its_remedy_and_keeps_no_rollout(fleet, to, why, remedy):
    fleet.environment.update(TELL_WORD=TOKEN, TELL_SCHEME=f"nosuch://{TOKEN}")
    fleet.secrets["the address"] = TOKEN
    tell(fleet, "team", to)
    fleet.commit("one")
    (fleet.app / "says-it-and-fails").write_text(f"echo {TOKEN}; echo {TOKEN} >&2; exit 4")
    said = fleet.wakeline("doctor", "scheduler")
    finding = next(
        each for each in fleet.wakeline("doctor", "--json").data["findings"] if each["what"] == "notify team"
    )
    assert (said.code, finding["state"]) == (0, "warning"), said
    assert why in finding["found"]
    assert remedy in finding["wanted"]
    assert "notify team" in said.out
    assert TOKEN not in said.out + said.err


def test_doctor_says_of_an_address_that_is_fine_where_it_was_found_and_sends_nothing(fleet):
    with http_receiver() as team:
        of_environment(fleet, "team", address_of(team, TOKEN))
        fleet.commit("one")
        said = fleet.wakeline("doctor", "-v")
        assert "notify team: env:TELL_TEAM holds an address that apprise knows" in said.out
        assert (team.asked, TOKEN in said.out + said.err) == (0, False)


def test_addresses_come_from_files_and_commands_too(fleet):
    with http_receiver() as team:
        (fleet.root / "address").write_text(address_of(team))
        tell(fleet, "one", f"file:{fleet.root}/address")
        tell(fleet, "two", f"cmd:cat {fleet.root}/address")
        fleet.commit("one")
        said = fleet.wakeline("notify", "--test")
        assert said.code == 0, said.err
        assert [each["title"] for each in team.taken] == ["shop uat: a test"] * 2


def test_a_literal_address_is_a_problem_that_does_not_repeat_it(fleet):
    tell(fleet, "team", f"slack://{TOKEN}/B/C")
    fleet.commit("one")
    said = fleet.wakeline("deploy")
    assert said.code == 2
    assert 'notify[0].to: "slack://…" is not a reference: env:NAME, file:PATH or cmd:COMMAND' in said.err
    assert TOKEN not in said.err


def test_when_telling_is_switched_on_history_sends_nothing(fleet):
    for version in ("one", "two", "three"):
        fleet.commit(version)
        fleet.wakeline("deploy")
    with http_receiver() as team:
        of_environment(fleet, "team", address_of(team))
        fleet.commit("four")
        assert fleet.wakeline("notify").out == "nothing is due\n"
        fleet.wakeline("deploy")
        assert [each["title"] for each in team.taken] == ["shop uat: release 4 passed"]


def test_print_shows_what_is_due_and_sends_nothing(fleet):
    with http_receiver(answer=500) as team:
        of_environment(fleet, "team", address_of(team))
        fleet.commit("one")
        fleet.wakeline("deploy")
        asked, before = team.asked, told(fleet)
        said = fleet.wakeline("notify", "--print")
        assert said.out.startswith("team: shop uat: release 1 passed\n    2 of 2 on ")
        assert (team.asked, told(fleet)) == (asked, before)


def test_without_receivers_it_says_where_to_begin(fleet):
    said = fleet.wakeline("notify")
    assert said.code == 2
    assert "wakeline docs notify" in said.err


def test_an_argv_never_holds_an_address(fleet):
    """The process that sends is asked on stdin: its command line is the same for everybody."""
    with http_receiver(hangs=True) as team:
        of_environment(fleet, "team", address_of(team, TOKEN))
        fleet.commit("one")
        running = fleet.begin("deploy")
        ends = time.monotonic() + 60
        while not team.asked and time.monotonic() < ends:
            time.sleep(0.02)
        lines = command_lines()
        running.communicate(timeout=60)
    assert team.asked
    assert any("wakeline.edges.notify" in line for line in lines)
    assert not any(TOKEN in line for line in lines)


def command_lines() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:
            continue  # it has ended since
    return found


def certificate(folder) -> ssl.SSLContext:
    """A certificate of our own for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
    place = folder / "tls.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    place.write_bytes(secret + made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(place)
    return context
