"""Whatever a repository looks like, what `init` writes is a fleet file that loads."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wakeline.fleet import load
from wakeline.starting import page, write
from wakeline.starting.facts import Address, Front, Packages, Repository, Unit, Workflow

ANYTHING = st.text(max_size=12)
PART = st.text("abcé-_.@ '\"$*[]#{}\x1b\x7f\u2028", min_size=1, max_size=6).map(
    lambda text: f"x{text}".replace("..", ".")
)
FOLDER = st.lists(PART, max_size=2).map(lambda parts: "".join(f"{part}/" for part in parts))


def file(*names: str) -> st.SearchStrategy[str]:
    return st.builds(str.__add__, FOLDER, st.sampled_from(names))


UNIT = st.builds(
    Unit,
    file=st.builds(str.__add__, FOLDER, PART.map(lambda name: f"{name}.service")),
    user=ANYTHING,
    folder=st.one_of(ANYTHING, FOLDER.map(lambda folder: f"/{folder.rstrip('/')}".rstrip("/"))),
    command=st.one_of(ANYTHING, PART.map(lambda name: f"/x/{name}/bin/gunicorn -b :80")),
    env_file=st.one_of(ANYTHING, PART.map(lambda name: f"/x/{name}")),
    oneshot=st.booleans(),
)
PACKAGES = st.builds(
    Packages,
    tool=st.sampled_from(["uv", "poetry", "pip", "project"]),
    file=file("uv.lock", "requirements.txt", "pyproject.toml"),
    reads=st.tuples(file("base.txt")),
    installs_code=st.booleans(),
)
FRONT = st.builds(
    Front, file=file("package.json"), lock=st.one_of(st.just(""), file("yarn.lock", "pnpm-lock.yaml")), build=ANYTHING,
    starts=st.booleans(), says_where=st.booleans(),
)  # fmt: skip
HOST = st.text("abé.019-${}:_", min_size=1, max_size=8)
ADDRESS = st.builds(
    Address,
    text=HOST.map(lambda host: f"me@{host}"),
    behind=st.one_of(st.just(""), ANYTHING),
    may_fail=st.booleans(),
)
WORKFLOW = st.builds(
    Workflow,
    file=ANYTHING,
    addresses=st.lists(ADDRESS, max_size=4).map(tuple),
    calls=st.lists(st.lists(PART, min_size=1, max_size=3).map(tuple), max_size=3).map(tuple),
)
REPOSITORY = st.builds(
    Repository,
    name=ANYTHING,
    url=ANYTHING,
    password_left_out=st.booleans(),
    branch=st.text(min_size=1, max_size=8),
    manage=st.one_of(st.just(""), file("manage.py")),
    alembic=st.one_of(st.just(""), file("alembic.ini")),
    flask=st.booleans(),
    packages=st.one_of(st.none(), PACKAGES),
    front=st.one_of(st.none(), FRONT),
    units=st.lists(UNIT, max_size=3).map(tuple),
    workflow=WORKFLOW,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(REPOSITORY)
def test_what_is_written_loads_and_every_question_stands_in_it(seen):
    draft = write(seen)
    load(draft.text)
    assert all(page.ASK + question in draft.text for question in draft.asked)
    assert all(line.isprintable() for line in draft.taken)
