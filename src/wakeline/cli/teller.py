"""Who tells a rollout while it runs. Chosen here, and nowhere else, by where the talk goes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from wakeline.cli.render import is_screen
from wakeline.driver.progress import Tell
from wakeline.github.run import is_run


@contextlib.contextmanager
def telling(*, verbose: bool) -> Iterator[Tell]:
    """What a rollout is told to, for as long as it runs. `verbose` also shows what the steps print, as lines."""
    if is_run(os.environ):
        from wakeline.cli.render_github import RunLog  # noqa: PLC0415 - only what is used

        with RunLog() as log:
            yield log
        return
    if not verbose and is_screen(sys.stderr):
        from rich.console import Console  # noqa: PLC0415 - only on a terminal

        from wakeline.cli.live import live  # noqa: PLC0415 - same

        with live(Console(stderr=True, highlight=False), leave=not sys.stdout.isatty()) as tell:
            yield tell
        return
    from wakeline.cli.lines import Lines  # noqa: PLC0415 - only what is used

    yield Lines(verbose=verbose)
