"""Laws 4, 6, 8 and 10 in the fold, and what a waking machine makes of it."""

import itertools

import pytest

from wakeline.core import carrying_out
from wakeline.core.carrying_out import CutOff
from wakeline.core.catch_up import ATTEMPTS, Verdict, decide
from wakeline.core.fold import fold
from wakeline.core.records import GENESIS, BadLog, Draft, chain

STAGES = [
    {"name": "scheduler", "gates": True, "machines": [{"name": "scheduler", "presence": "always"}]},
    {"name": "frontend", "gates": False, "machines": [{"name": "uat", "presence": "on-demand"}]},
]


def state(*drafts: tuple[str, dict]):
    ids = (f"id{number}" for number in itertools.count())
    records = chain([Draft(*each) for each in drafts], ids=ids, previous=GENESIS, at="t", by="ann")
    return fold(records)


def taken(fence: int = 1, holder: str = "ann"):
    return ("lease-taken", {"fence": fence, "holder": holder, "length_s": 180})


def made(number: int, *, stages=None, fence: int = 1, **more):
    body = {"fence": fence, "release": number, "commit": f"c{number}", "lead": "scheduler", **more}
    return ("release-made", {**body, "stages": stages or STAGES})


def approved(number: int, *stages: str, fence: int = 1):
    return [("approved", {"fence": fence, "release": number, "stage": each}) for each in stages]


def outcome(number: int, machine: str, word: str, fence: int = 1):
    return ("outcome", {"fence": fence, "release": number, "machine": machine, "outcome": word})


def claimed(claim: str = "c", fence: int = 1):
    return ("claimed", {"fence": fence, "claim": claim, "release": 1, "step": "migrate", "machine": "scheduler"})


BOTH = ("scheduler", "frontend")


def test_law_8_a_record_with_an_old_fencing_number_counts_for_nothing():
    old = state(taken(1), made(1), taken(2, "bob"), *approved(1, "frontend", fence=1))
    assert old.releases[1].approved == frozenset()
    assert old.lease.holder == "bob"


def test_law_8_a_lease_is_not_taken_with_a_number_that_was_used():
    assert state(taken(2, "ann"), taken(2, "bob")).lease.holder == "ann"


def test_any_record_of_the_holder_renews_the_lease():
    before = state(taken(), made(1)).lease.renewed
    assert state(taken(), made(1), *approved(1, "scheduler")).lease.renewed == before + 1


def test_release_numbers_only_grow():
    assert max(state(taken(), made(3), made(2)).releases) == 3


def test_law_4_a_claim_without_an_outcome_is_in_doubt_when_its_rollout_is_over():
    assert state(taken(), made(1), claimed()).in_doubt == ()
    freed = state(taken(), made(1), claimed(), ("lease-freed", {"fence": 1}))
    assert [claim.step for claim in freed.in_doubt] == ["migrate"]


@pytest.mark.parametrize("how", ["done", "not-run"])
def test_law_4_a_person_settles_what_is_in_doubt(how):
    settled = state(taken(), made(1), claimed(), ("resolved", {"claim": "c", "how": how}))
    assert settled.open_claims == ()
    assert ((1, "migrate") in settled.receipts) is (how == "done")


def test_law_4_a_recorded_failure_is_not_in_doubt():
    failed = ("once-failed", {"fence": 1, "claim": "c", "release": 1, "step": "migrate", "cause": "exit 1"})
    assert state(taken(), made(1), claimed(), failed).open_claims == ()


def test_law_5_a_receipt_that_breaks_older_releases_raises_the_barrier():
    receipt = ("receipt", {"fence": 1, "claim": "c", "release": 1, "step": "migrate", "breaks_older": True})
    assert state(taken(), made(1), claimed(), receipt).barrier == 1


def test_law_6_a_waking_machine_goes_to_the_newest_approved_in_one_hop():
    now = state(taken(), *itertools.chain(*[(made(n), *approved(n, *BOTH)) for n in (1, 2, 3)]))
    decision = decide(now, machine="uat", runs=1)
    assert (decision.verdict, decision.release) == (Verdict.RUN, 3)


def test_law_6_a_release_that_failed_its_gate_is_never_taken():
    now = state(taken(), made(1), *approved(1, *BOTH), made(2), outcome(2, "scheduler", "failed"))
    assert decide(now, machine="uat", runs=1).verdict is Verdict.NOTHING
    assert decide(now, machine="uat", runs=0).release == 1


def test_law_6_without_an_approval_nothing_is_taken_not_even_in_the_first_stage():
    now = state(taken(), made(1))
    assert decide(now, machine="scheduler", runs=0).verdict is Verdict.NOTHING


def test_law_6_never_below_what_it_has_run():
    now = state(taken(), made(1), *approved(1, *BOTH))
    assert decide(now, machine="uat", runs=4).verdict is Verdict.NOTHING


def test_law_6_a_rollback_is_a_higher_number_and_is_followed():
    back = made(3, commit="c1", rollback_to=1)
    now = state(taken(), made(1), *approved(1, *BOTH), made(2), *approved(2, *BOTH), back, *approved(3, *BOTH))
    assert decide(now, machine="uat", runs=2).release == 3


def test_law_10_a_failure_on_one_machine_holds_the_release_for_its_stage():
    wide = [STAGES[0], {**STAGES[1], "machines": [*STAGES[1]["machines"], {"name": "b", "presence": "on-demand"}]}]
    drafts = [taken(), made(1, stages=wide), *approved(1, *BOTH), made(2, stages=wide), *approved(2, *BOTH)]
    held = [*drafts, outcome(2, "b", "failed"), outcome(2, "uat", "asleep")]
    assert decide(state(*held), machine="uat", runs=0).release == 1
    retried = ("retried", {"release": 2, "machine": "b"})
    assert decide(state(*held, retried), machine="uat", runs=0).release == 2


def test_law_10_an_unknown_outcome_is_no_failure_and_holds_nobody_back():
    now = state(taken(), made(1), *approved(1, *BOTH), outcome(1, "uat", "unknown"))
    assert decide(now, machine="uat", runs=0).release == 1


def test_an_order_that_was_sent_is_open_until_its_outcome_is_heard():
    sent = ("sent", {"fence": 1, "release": 1, "machines": ["scheduler", "uat"]})
    now = state(taken(), made(1), sent, outcome(1, "scheduler", "ok"), outcome(1, "uat", "unknown"))
    assert now.releases[1].sent == {"uat"}


def test_a_withheld_machine_that_had_begun_is_still_open():
    """Found by the simulation (seed 586): withholding forgot that the order had been sent."""
    sent = ("sent", {"fence": 1, "release": 1, "machines": ["uat"]})
    assert state(taken(), made(1), sent, outcome(1, "uat", "withheld")).releases[1].sent == {"uat"}


def test_law_10_a_release_that_fails_here_is_given_up_after_some_attempts():
    now = state(taken(), made(1), *approved(1, *BOTH))
    assert decide(now, machine="uat", runs=0, attempts={(1, 0): ATTEMPTS}).verdict is Verdict.GIVEN_UP


@pytest.mark.parametrize("machine", ["uat", ""])
def test_a_hold_stops_catch_up_until_it_is_lifted(machine):
    drafts = [taken(), made(1), *approved(1, *BOTH), ("held", {"machine": machine, "why": "demo at ten"})]
    assert decide(state(*drafts), machine="uat", runs=0).verdict is Verdict.HELD
    assert decide(state(*drafts, ("unheld", {"machine": machine})), machine="uat", runs=0).verdict is Verdict.RUN


def test_a_machine_without_an_order_in_the_newest_approved_release_is_retired():
    now = state(taken(), made(1), *approved(1, *BOTH), made(2, stages=STAGES[:1]), *approved(2, "scheduler"))
    assert decide(now, machine="uat", runs=1).verdict is Verdict.RETIRED


def test_a_machine_that_had_been_taken_out_when_its_stage_was_approved_is_retired_and_takes_nothing_older():
    """Found by the simulation: a release was carried on without it, and its looks ended in an error."""
    without = ("approved", {"fence": 1, "release": 2, "stage": "frontend", "orders": {"web": {}}})
    now = state(taken(), made(1), *approved(1, *BOTH), made(2), *approved(2, "scheduler"), without)
    decision = decide(now, machine="uat", runs=0)
    assert (decision.verdict, "uat is retired" in decision.why) == (Verdict.RETIRED, True)


def test_a_machine_that_only_a_release_knows_which_came_to_nothing_is_new_and_not_retired():
    now = state(taken(), made(1, stages=STAGES[:1]), *approved(1, "scheduler"), made(2))
    decision = decide(now, machine="uat", runs=0)
    assert (decision.verdict, "uat is new" in decision.why) == (Verdict.NOTHING, True)


def test_a_kind_of_record_that_nobody_here_wrote_is_named():
    with pytest.raises(BadLog, match="record 2: unknown kind 'party'"):
        state(taken(), ("party", {}))


def test_a_record_of_a_newer_version_is_not_guessed_at():
    (record,) = chain([Draft(*taken())], ids=["1"], previous=GENESIS, at="t", by="a")
    with pytest.raises(BadLog, match="record 1: written by a newer wakeline"):
        fold([record._replace(version=2)])


def test_folding_on_top_of_a_state_is_the_same_as_folding_all():
    drafts = [taken(), made(1), *approved(1, *BOTH), made(2), outcome(2, "uat", "failed")]
    records = chain([Draft(*d) for d in drafts], ids=[str(n) for n in range(9)], previous=GENESIS, at="t", by="a")
    assert fold(records[3:], start=fold(records[:3])) == fold(records)


def set_up(machine: str, **more):
    return ("set-up", {"machine": machine, "machine_id": f"id of {machine}", **more})


def test_a_machine_that_was_left_is_no_longer_known_until_it_is_set_up_again():
    left = state(set_up("uat", unsigned=True), ("left", {"machine": "uat"}))
    assert (dict(left.machines), left.unsigned, left.left) == ({}, frozenset(), {"uat"})
    again = state(set_up("uat"), ("left", {"machine": "uat"}), set_up("uat"))
    assert (set(again.machines), again.left) == ({"uat"}, frozenset())


def test_law_7_a_run_that_was_cut_off_after_its_switch_is_finished_some_times_and_gives_way_to_a_newer_release():
    now = state(taken(), made(1), *approved(1, *BOTH))
    here = CutOff(1)
    cut = decide(now, machine="uat", runs=1, cut_off=here)
    assert (cut.verdict, cut.release) == (Verdict.FINISH, 1)
    assert decide(now, machine="uat", runs=1, cut_off=here, attempts={(1, 0): ATTEMPTS}).verdict is Verdict.GIVEN_UP
    newer = state(taken(), made(1), made(2), *approved(2, *BOTH))
    assert decide(newer, machine="uat", runs=1, cut_off=here).release == 2


def test_law_7_a_run_that_was_cut_off_is_finished_where_the_newer_release_has_been_given_up():
    """Found by the simulation (seed 200034): what ran stayed as it was, and nobody had confirmed it."""
    now = state(taken(), made(1), *approved(1, *BOTH), made(2), *approved(2, *BOTH))
    finish = decide(now, machine="uat", runs=1, cut_off=CutOff(1), attempts={(2, 0): ATTEMPTS})
    assert (finish.verdict, finish.release) == (Verdict.FINISH, 1)


def test_law_7_a_way_back_that_was_cut_off_is_gone_to_its_end_however_often_and_gives_way_to_a_newer_release():
    now, back = state(taken(), made(1), *approved(1, *BOTH), made(2)), CutOff(2, back=True)
    for runs in (1, 2):
        finish = decide(now, machine="uat", runs=runs, cut_off=back, attempts={(1, 0): ATTEMPTS, (2, 0): ATTEMPTS})
        assert (finish.verdict, finish.release) == (Verdict.FINISH, 2)
    newer = state(taken(), made(1), made(2), made(3), *approved(3, *BOTH))
    assert decide(newer, machine="uat", runs=1, cut_off=back).release == 3


@pytest.mark.parametrize("machine", ["uat", ""])
def test_retry_lets_a_machine_that_gave_up_try_again(machine):
    """Seen in reading: the message named `retry`, and the machine's own count went on standing in its way."""
    drafts = [taken(), made(1), *approved(1, *BOTH), ("retried", {"release": 1, "machine": machine})]
    once_more = decide(state(*drafts), machine="uat", runs=0, attempts={(1, 0): ATTEMPTS})
    assert (once_more.verdict, once_more.retries) == (Verdict.RUN, 1)
    assert decide(state(*drafts), machine="uat", runs=0, attempts={(1, 1): ATTEMPTS}).verdict is Verdict.GIVEN_UP


def test_law_10_a_retry_before_the_first_attempt_does_not_add_to_those_that_follow():
    """Found by the simulation (seed 4662): failed because nobody reached it, retried, and then tried six times."""
    drafts = [taken(), made(1), *approved(1, *BOTH), outcome(1, "uat", "failed"), ("retried", {"release": 1})]
    journal = [{"what": "attempt", "release": 1, "retries": decide(state(*drafts), machine="uat", runs=0).retries}]
    tried = carrying_out.attempts(journal * ATTEMPTS)
    assert decide(state(*drafts), machine="uat", runs=0, attempts=tried).verdict is Verdict.GIVEN_UP


@pytest.mark.parametrize("known", [True, False])
def test_what_is_said_of_a_machine_by_its_new_name_counts_before_anything_was_deployed_under_it(known):
    """Seen in reading: until the next deploy, `hold web` did not stop the catch-up of what the log knew as uat."""
    was = {} if known else {"renamed_from": "uat"}
    renamed = [("set-up", {"machine": "web", "machine_id": "id of uat", "renamed_from": "uat"})] if known else []
    drafts = [set_up("uat"), taken(), made(1), *approved(1, *BOTH), *renamed]
    held = state(*drafts, ("held", {"machine": "web", "why": "demo", **was}))
    assert decide(held, machine="uat", runs=0).verdict is Verdict.HELD
    failed = [*drafts, outcome(1, "uat", "failed"), ("retried", {"release": 1, "machine": "web", **was})]
    assert decide(state(*failed), machine="uat", runs=0).verdict is Verdict.RUN
    assert state(*failed).releases[1].results == {}


def test_a_retry_by_an_older_name_counts_for_a_machine_that_was_renamed_since():
    renamed = ("set-up", {"machine": "new", "machine_id": "id of uat", "renamed_from": "uat"})
    drafts = [taken(), made(1), *approved(1, *BOTH), ("retried", {"release": 1, "machine": "uat"}), renamed]
    assert decide(state(*drafts), machine="new", runs=0, attempts={(1, 0): ATTEMPTS}).verdict is Verdict.RUN


def test_a_stage_without_a_machine_that_was_taken_out_keeps_the_others_and_who_is_always_on():
    stage = state(taken(), made(1)).releases[1].stage("scheduler")
    assert stage.among({"scheduler", "uat"}) == stage
    assert (stage.among({"uat"}).machines, stage.among({"uat"}).always) == ((), frozenset())


def receipt(number: int, *, how: str = "ran", breaks: bool = True):
    return ("receipt", {"fence": 1, "release": number, "step": "migrate", "how": how, "breaks_older": breaks})


@pytest.mark.parametrize(
    ("said", "barrier"),
    [
        ([receipt(1)], 1),
        ([receipt(1), receipt(2, how="verified")], 1),  # the flag was left in the fleet file
        ([receipt(1, breaks=False), receipt(2, how="verified")], 2),  # somebody ran it by hand
        ([receipt(1), receipt(2, how="verified", breaks=False), receipt(3, how="verified")], 1),  # the way back
        ([receipt(1), receipt(2)], 2),
    ],
)
def test_law_5_the_barrier_rises_when_the_schema_has_moved_and_not_when_it_is_looked_at_again(said, barrier):
    """Found by the simulation (seed 10270): a rollback raised the barrier above releases that were fine."""
    assert state(taken(), made(1), made(2), made(3, rollback_to=1), *said).barrier == barrier


def test_law_5_a_breaking_step_that_a_person_settled_as_done_raises_the_barrier():
    claim = ("claimed", {**claimed()[1], "breaks_older": True})
    drafts = [taken(), made(1), claim, ("resolved", {"claim": "c", "how": "done"})]
    assert state(*drafts).barrier == 1
    assert state(*drafts[:-1], ("resolved", {"claim": "c", "how": "not-run"})).barrier == 0
