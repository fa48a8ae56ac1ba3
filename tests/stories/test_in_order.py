"""The scheduler first, the frontend only if it passed, migrations once; asleep is not failed, and catches up."""

from wakeline.edges.agent_file import agent_file


def test_both_awake_the_scheduler_goes_first_and_the_migration_runs_once(fleet):
    fleet.commit("one")
    said = fleet.wakeline("deploy")
    assert said.code == 0, said.err
    assert (fleet.serves("scheduler"), fleet.serves("uat")) == ("one", "one")
    assert (fleet.database, fleet.migrate_starts) == (["0001"], 1)
    order = [
        (r["kind"], r.get("machine") or r.get("stage")) for r in fleet.log() if r["kind"] in ("outcome", "approved")
    ]
    assert order == [
        ("outcome", "scheduler"),
        ("approved", "scheduler"),
        ("approved", "frontend"),
        ("outcome", "uat"),
    ]


def test_a_sleeping_frontend_is_a_warning_and_catches_up_in_one_hop(fleet):
    fleet.commit("one")
    assert fleet.wakeline("deploy").code == 0
    fleet.power("uat", on=False)
    for version in ("two", "three"):
        fleet.commit(version)
        said = fleet.wakeline("deploy")
        assert said.code == 0
        assert "uat is asleep: when it wakes, it brings itself to release" in said.err
    assert fleet.machine("uat")["presence"] == "asleep"
    fleet.power("uat", on=True)
    assert fleet.wakeline("catch-up", "uat").code == 0
    assert fleet.serves("uat") == "three"
    assert fleet.releases("uat") == ["1", "3"], "the release in between never ran on it"
    assert fleet.migrate_starts == 1


def test_a_failed_scheduler_withholds_the_frontend_and_moves_no_approval(fleet):
    fleet.commit("one")
    fleet.wakeline("deploy")
    fleet.commit("two", schema="0002", migrate_sh="echo 'no such column'; exit 1")
    said = fleet.wakeline("deploy")
    assert said.code == 1
    assert "error: scheduler: migrate: exit 1\nno such column\nhint: " in said.err
    assert (fleet.serves("scheduler"), fleet.serves("uat")) == ("one", "one")
    assert fleet.machine("uat")["approved"] == 1
    assert fleet.wakeline("catch-up", "uat").code == 0
    assert fleet.serves("uat") == "one", "a frontend that wakes now stays on the last good release"


def test_three_releases_while_it_sleeps_the_middle_one_bad(fleet):
    fleet.commit("one")
    fleet.wakeline("deploy")
    fleet.power("uat", on=False)
    fleet.commit("two")
    assert fleet.wakeline("deploy").code == 0
    fleet.commit("three", pages_sh="exit 1")
    assert fleet.wakeline("deploy").code == 1
    fleet.commit("four", pages_sh="exit 0")
    assert fleet.wakeline("deploy").code == 0
    fleet.power("uat", on=True)
    fleet.wakeline("catch-up", "uat")
    assert (fleet.serves("uat"), fleet.releases("uat")) == ("four", ["1", "4"])


def test_a_sleeping_scheduler_is_an_error(fleet):
    fleet.commit("one")
    fleet.power("scheduler", on=False)
    said = fleet.wakeline("deploy")
    assert said.code == 1
    assert "cannot be reached, and it is always on" in said.err
    assert fleet.serves("uat") == ""


def test_a_frontend_that_is_broken_is_red_and_keeps_what_it_runs(fleet):
    fleet.commit("one")
    fleet.wakeline("deploy")
    fleet.commit("two", health_sh='test "$WAKELINE_MACHINE" = scheduler || { echo not ready; exit 1; }')
    said = fleet.wakeline("deploy")
    assert said.code == 1
    assert "not ready" in said.err
    assert (fleet.serves("scheduler"), fleet.serves("uat")) == ("two", "one")
    assert fleet.current("uat") == "releases/1"


def test_a_code_only_change_runs_no_package_step_again_and_says_so(fleet):
    fleet.commit("one")
    fleet.wakeline("deploy")
    fleet.commit("two")
    said = fleet.wakeline("deploy")
    assert "packages: not run (its inputs are unchanged; vendor linked)" in said.err
    assert (fleet.packages_runs("scheduler"), fleet.packages_runs("uat")) == (1, 1)
    for version in ("three", "four", "five", "six", "seven", "eight"):
        fleet.commit(version)
        assert fleet.wakeline("deploy").code == 0
    assert "1" not in fleet.releases("uat"), "the release that made the outputs has been pruned"
    vendor = fleet.root / "machines" / "uat" / "app" / "current" / "vendor" / "installed"
    assert vendor.read_text() == "django 5.2\n"
    assert fleet.packages_runs("uat") == 1


def test_the_same_deploy_again_changes_nothing(fleet):
    fleet.commit("one")
    fleet.wakeline("deploy")
    said = fleet.wakeline("deploy", "--json")
    assert said.code == 0
    assert {each["outcome"] for each in said.data["machines"].values()} == {"unchanged"}
    assert fleet.migrate_starts == 1


def test_a_machine_gets_the_agent_once(fleet):
    fleet.commit("one")
    fleet.wakeline("deploy")
    agents = fleet.root / "machines" / "uat" / "home" / "agents"
    assert [each.name for each in agents.glob("[!.]*")] == [agent_file().digest]


def test_a_deploy_that_changes_nothing_writes_nothing_and_says_the_same(fleet):
    fleet.commit("one")
    fleet.wakeline("deploy")
    before = fleet.log()
    said = fleet.wakeline("deploy")
    assert said.code == 0
    assert fleet.log() == before
    for name in ("scheduler", "uat"):
        assert f"{name:<12} awake" in said.err
        assert f"{name:<12} unchanged" in said.err
        assert f"{name:<10} unchanged" in said.out
    assert "release 1: " in said.err


def test_a_sleeper_on_record_stays_a_promise_and_writes_nothing_again(fleet):
    fleet.commit("one")
    fleet.wakeline("deploy")
    fleet.power("uat", on=False)
    fleet.commit("two")
    fleet.wakeline("deploy")
    before = fleet.log()
    said = fleet.wakeline("deploy", "--json")
    assert said.code == 0
    assert said.data["asleep"] == ["uat"]
    assert fleet.log() == before


def test_a_machine_that_fell_asleep_or_woke_since_is_news_and_goes_on_record(fleet):
    fleet.commit("one")
    fleet.wakeline("deploy")
    fleet.power("uat", on=False)
    fleet.wakeline("deploy")
    assert [each["outcome"] for each in fleet.log() if each["kind"] == "outcome"][-1] == "asleep"
    fleet.power("uat", on=True)
    said = fleet.wakeline("deploy", "--json")
    assert said.data["machines"]["uat"]["outcome"] == "unchanged"
    assert [each["outcome"] for each in fleet.log() if each["kind"] == "outcome"][-1] == "unchanged"


def test_a_machine_that_runs_something_else_is_brought_back(fleet):
    fleet.commit("one")
    fleet.wakeline("deploy")
    fleet.commit("two")
    fleet.wakeline("deploy")
    link = fleet.root / "machines" / "uat" / "app" / "current"
    link.unlink()
    link.symlink_to("releases/1")
    said = fleet.wakeline("deploy", "--json")
    assert said.data["machines"]["uat"]["outcome"] == "ok"
    assert fleet.serves("uat") == "two"
