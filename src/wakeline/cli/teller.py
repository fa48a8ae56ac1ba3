"""Who tells a rollout while it runs. Chosen here, and nowhere else, by where the talk goes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from wakeline.driver.progress import Tell


@contextlib.contextmanager
def telling(*, verbose: bool) -> Iterator[Tell]:
    """What a rollout is told to, for as long as it runs. `verbose` also shows what the steps print."""
    from wakeline.cli.lines import Lines  # noqa: PLC0415 - only what is used

    yield Lines(verbose=verbose)
