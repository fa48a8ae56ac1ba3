"""The fleet file is judged as a whole: every problem at once, each with its path and a way on."""

import pytest

from wakeline.core import messages
from wakeline.core.model import Presence
from wakeline.core.order import Layout
from wakeline.fleet import FleetFileError, json_schema, load

GOOD = """
app = "shop"
environment = "uat"
git = "git@example.com:shop.git"

[deploy]
path = "/opt/shop"

[[stage]]
name = "scheduler"
[[stage.machine]]
name = "scheduler"
address = "ubuntu@scheduler"
presence = "always"
roles = ["scheduler"]

[[stage]]
name = "frontend"
[[stage.machine]]
name = "uat"
address = "ubuntu@uat"
presence = "on-demand"
max_behind = "2d"
roles = ["web"]

[[step]]
name = "migrate"
once = true
run = "./manage migrate"
verify = "./manage verify"

[[step]]
name = "pages"
run = "npm run build"
roles = ["web"]
inputs = ["frontend/**"]
outputs = ["frontend/dist"]

[[service]]
unit = "gunicorn.service"
roles = ["web"]
health = { http = "http://127.0.0.1:8000/healthz", within = "5s" }
"""


def problems(text: str) -> list[str]:
    with pytest.raises(FleetFileError) as caught:
        load(text)
    return caught.value.message.splitlines()


def test_a_good_file_becomes_a_fleet():
    file = load(GOOD)
    assert [stage.name for stage in file.fleet.stages] == ["scheduler", "frontend"]
    assert [stage.gates for stage in file.fleet.stages] == [True, False]
    assert file.fleet.lead == "scheduler"
    assert file.fleet.machines[1].presence is Presence.ON_DEMAND
    assert file.fleet.machines[1].max_behind_s == 2 * 86400
    assert file.ledger == file.git


def test_orders_give_each_machine_what_is_its():
    file = load(GOOD)
    orders = file.orders(fleet=file.fleet, release=3, commit="c" * 40, pins={}, rollback=False, barrier=2)
    assert [step.name for step in orders["scheduler"].steps] == ["migrate"]
    assert [step.name for step in orders["uat"].steps] == ["migrate", "pages"]
    assert (orders["scheduler"].lead, orders["uat"].lead) == (True, False)
    assert orders["uat"].services[0].health.within_s == 5
    assert (orders["uat"].layout, orders["uat"].barrier) == (Layout.RELEASES, 2)


def test_a_teams_own_script_is_the_only_step_and_knows_its_role():
    text = GOOD[: GOOD.index("[[step]]")].replace(
        'path = "/opt/shop"', 'path = "/opt/shop"\nlayout = "in-place"\nscript = "deploy.sh main {role}"'
    )
    file = load(text)
    orders = file.orders(fleet=file.fleet, release=1, commit="c", pins={}, rollback=False, barrier=0)
    assert [step.run for step in orders["uat"].steps] == ["deploy.sh main web"]
    assert orders["uat"].layout is Layout.IN_PLACE


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("presence = ", "presense = ", "stage[0].machine[0].presense: is not a key here (did you mean `presence`?)"),
        ('"on-demand"', '"ondemand"', 'stage[1].machine[0].presence: "ondemand" is not one of always, on-demand (did'),
        ('"2d"', '"2 weeks"', 'stage[1].machine[0].max_behind: "2 weeks" is not a length of time such as "30s"'),
        ('name = "uat"', 'name = "scheduler"', '"scheduler" is a machine already, at stage[0].machine[0]'),
        ('name = "frontend"', 'name = "scheduler"', 'stage[1].name: "scheduler" is a stage already, at stage[0]'),
        ('verify = "./manage verify"\n', "", "step[0].verify: is missing; a once-step needs one: exit 0 has it, 10"),
        ('inputs = ["frontend/**"]\n', "", "step[1].inputs: is missing; outputs are kept by their inputs"),
        ('"frontend/dist"', '"../dist"', 'step[1].outputs[0]: "../dist" is not a path inside the release'),
        ('outputs = ["frontend/dist"]', 'outputs = ["/etc"]', "is not a path inside the release"),
        ('roles = ["web"]\ninputs', 'roles = ["wep"]\ninputs', '"wep" is no machine\'s role (did you mean `web`?)'),
        ('unit = "gunicorn.service"', 'unit = "gunicorn"', 'service[0].unit: "gunicorn" does not look right; wanted'),
        ('unit = "gunicorn.service"\n', "", "service[0]: needs one of `unit` and `restart`, and not both"),
        ('app = "shop"', 'app = "../shop"', 'app: "../shop" does not look right; wanted small letters, digits'),
        ('app = "shop"\n', "", "app: is missing"),
        ('path = "/opt/shop"', 'path = "opt/shop"', 'deploy.path: "opt/shop" does not look right; wanted an absolute'),
        (
            "[deploy]",
            'lead = "skeduler"\n[deploy]',
            'lead: "skeduler" is no machine of this fleet (did you mean `sched',
        ),
        ('name = "scheduler"\n[[', 'name = "scheduler"\ncontinue = true\n[[', "a stage that gates cannot continue"),
        ("[deploy]", "[deploy", "not TOML: "),
    ],
)
def test_bad_input_is_named_with_its_path_and_a_way_on(before, after, message):
    assert before in GOOD
    assert message in "\n".join(problems(GOOD.replace(before, after, 1)))


@pytest.mark.parametrize(
    ("notify", "message"),
    [
        (
            '[[notify]]\nname = "a"\nto = "slack://SECRET/B/C"',
            'notify[0].to: "slack://…" is not a reference: env:NAME, file',
        ),
        ('[[notify]]\nname = "a"\nto = "SECRET"', "notify[0].to: a str, which is not shown, is not a reference"),
        ('[[notify]]\nname = "a"\nto = "env: "', "notify[0].to: a str, which is not shown, is not a reference"),
        ('[[notify]]\nname = "a"\nto = ["SECRET"]', "notify[0].to: a list, which is not shown, is not a reference"),
        ('[notify]\nname = "a"\nto = "slack://SECRET"', "notify: is a list of tables: begin each with [[notify]]"),
        ('[[notify]]\nname = "a"\nto = "env:A"\nevents = ["fail"]', '"fail" is not one of failed, asleep, caught-up'),
        ('[[notify]]\nname = "a"\nto = "env:A"\nevents = []', "notify[0].events: "),
        ('[[notify]]\nname = "a"\nto = "env:A"\n' * 2, 'notify[1].name: "a" is a notify already, at notify[0]'),
    ],
)
def test_a_receivers_address_is_only_referred_to_and_never_repeated(notify, message):
    said = "\n".join(problems(f"{GOOD}\n{notify}\n"))
    assert message in said
    assert "SECRET" not in said


def test_receivers_want_every_event_unless_they_say_which():
    file = load(GOOD + '\n[[notify]]\nname = "a"\nto = "env:A"\n')
    assert file.receivers[0].events == messages.EVENTS


def test_all_problems_come_at_once():
    text = GOOD.replace("presence = ", "presense = ").replace('"/opt/shop"', '"opt"').replace('git = "', 'gti = "')
    paths = [line.split(": ")[1] for line in problems(text)]
    assert {"git", "gti", "deploy.path", "stage[0].machine[0].presense", "stage[1].machine[0].presence"} <= set(paths)


def test_an_empty_file_says_what_it_needs():
    assert "wakeline.toml: stage: is missing" in problems("")


def test_the_schema_for_editors_is_made_from_the_same_classes():
    assert set(json_schema()["properties"]) >= {"app", "stage", "step", "service", "deploy"}


def test_a_script_is_the_ordinary_step_and_may_be_the_once_step_too():
    text = GOOD[: GOOD.index("[[step]]")].replace(
        "[deploy]", '[deploy]\nscript = "./deploy.sh {role} {machine}"\nscript_once = true'
    )
    file = load(text)
    (order, *_) = file.orders(fleet=file.fleet, release=1, commit="c", pins={}, rollback=False, barrier=0).values()
    names = [(step.name, step.once) for step in order.steps if step.name.startswith("script")]
    assert names == [("script", False), ("script-once", True)]


def test_a_once_step_has_one_lead():
    text = GOOD.replace('environment = "uat"\n', 'environment = "uat"\nlead = ["scheduler", "uat"]\n')
    with pytest.raises(FleetFileError, match=r"lead: .*valid string"):
        load(text)
