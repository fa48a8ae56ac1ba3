"""Whatever is read from outside ends in a result or in a clear error: never in a trace, a hang or much memory.

The same targets run under atheris for as long as you like: `./dev fuzz`.
"""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.targets import FIELDS, TARGETS

_KEYS = (
    *FIELDS,
    *("event", "step", "answer", "claim", "ok", "exit", "cause", "was", "reports", "claims", "outcome", "machine"),
    *("kind", "fence", "holder", "length_s", "request", "what", "stage", "machines", "how", "why", "commits", "number"),
    *("once", "run", "verify", "inputs", "health", "unit", "http", "within_s", "seconds", "machine_id", "unsigned"),
)
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["ok", "failed", "asleep", "uat", "web", "migrate", "has", "1", "", "release-made", "hello"]),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(_KEYS) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
_OBJECTS = st.dictionaries(st.sampled_from(_KEYS), _VALUES, max_size=8)
_LINES = st.lists(_OBJECTS.map(json.dumps), max_size=4).map(lambda lines: "\n".join(lines).encode() + b"\n")
_BYTES = st.one_of(st.binary(max_size=400), _LINES, _OBJECTS.map(lambda each: json.dumps(each).encode()))

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_bad_bytes_end_in_a_result_or_a_clear_error(name):
    @QUICK
    @given(_BYTES)
    def hit(data):
        TARGETS[name](data)

    hit()


DEEP = b"[" * 100_000
HUGE_NUMBER = b'{"release": ' + b"9" * 5000 + b"}"


@pytest.mark.parametrize(
    "data", [b"", b"\x00" * 1000, b"\xff\xfe\x00", DEEP, b'{"a":' * 50_000, HUGE_NUMBER, b"\n" * 9]
)
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_bytes_that_broke_others_break_nothing_here(name, data):
    TARGETS[name](data)
