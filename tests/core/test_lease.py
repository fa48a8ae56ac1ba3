"""The lease needs no common clock: a waiter believes its own eyes, a holder stops in time."""

from wakeline.core.lease import LENGTH_S, Watch, Watched, look, may_act, should_renew
from wakeline.core.state import Lease

HELD = Lease(number=3, holder="ann", length_s=180, renewed=1, free=False)


def test_a_free_lease_may_be_taken_at_once():
    assert look(Watch(), Lease(), now_s=0)[1] is Watched.FREE


def test_a_waiter_takes_only_after_it_has_itself_seen_no_renewal_for_the_whole_length():
    watch, word = look(Watch(), HELD, now_s=1000)
    assert word is Watched.SILENT
    assert look(watch, HELD, now_s=1179)[1] is Watched.SILENT
    assert look(watch, HELD, now_s=1180)[1] is Watched.DEAD


def test_a_renewal_between_two_looks_shows_that_the_holder_lives():
    watch, _ = look(Watch(), HELD, now_s=0)
    renewed = Lease(number=3, holder="ann", length_s=180, renewed=2, free=False)
    watch, word = look(watch, renewed, now_s=170)
    assert word is Watched.ALIVE
    assert look(watch, renewed, now_s=300)[1] is Watched.SILENT


def test_a_new_holder_starts_the_watch_again():
    watch, _ = look(Watch(), HELD, now_s=0)
    other = Lease(number=4, holder="bob", length_s=180, renewed=0, free=False)
    assert look(watch, other, now_s=179)[1] is Watched.SILENT


def test_a_holder_has_stopped_before_any_waiter_may_take():
    assert may_act(renewed_s=0, length_s=LENGTH_S, now_s=119)
    assert not may_act(renewed_s=0, length_s=LENGTH_S, now_s=120)
    assert should_renew(renewed_s=0, length_s=LENGTH_S, now_s=60)
