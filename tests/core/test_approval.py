"""What is signed of an approval, and when a good signature is not enough."""

import pytest

from wakeline.core import approval

NOW_S = 1_800_000_000.0
BODY = {
    "release": 3,
    "stage": "web",
    "orders": {"uat": {}},
    "agent": "d",
    "after": "h",
    "expires": approval.expiry(NOW_S),
}


@pytest.mark.parametrize("key", ["release", "stage", "orders", "agent", "after", "expires"])
def test_each_of_these_words_is_signed(key):
    said = approval.payload(BODY, app="shop", environment="uat")
    assert said != approval.payload({**BODY, key: "another"}, app="shop", environment="uat")


def test_it_is_signed_for_one_fleet():
    said = approval.payload(BODY, app="shop", environment="uat")
    assert said != approval.payload(BODY, app="shop", environment="production")


def test_the_order_of_keys_and_what_is_added_later_change_nothing():
    turned = {**dict(reversed(list(BODY.items()))), "fence": 7, "signature": "s"}
    assert approval.payload(turned, app="a", environment="e") == approval.payload(BODY, app="a", environment="e")


@pytest.mark.parametrize(
    ("change", "now_s", "why"),
    [
        ({}, NOW_S, ""),
        ({}, NOW_S + approval.LASTS_S - 1, ""),
        ({}, NOW_S + approval.LASTS_S + 1, "it ended at"),
        ({}, 0.0, ""),  # a clock of 1970 must not keep a machine from waking up
        ({"expires": "soon"}, NOW_S, "does not say when it ends"),
        ({"expires": None}, NOW_S, "does not say when it ends"),
        ({"after": "elsewhere"}, NOW_S, "another place in the log"),
    ],
)
def test_a_good_signature_is_not_all(change, now_s, why):
    said = approval.problem({**BODY, **change}, now_s=now_s, known={"h"})
    assert said.startswith(why) if not why else why in said
    assert bool(said) == bool(why)
