"""Talks to GitHub: its REST API, and the files that it gives to a step. A GitHub that is down or slow changes nothing.

Calls are made one after the other by a thread of their own, each with a limit, and none after one that has failed. The
thread is left behind when we go. Redirects are not followed: the token is for one server alone.
"""

from __future__ import annotations

import json
import queue
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_CALL_S = 5.0
_ANSWER_BYTES_MAX = 1024 * 1024
_VERSION = "2022-11-28"


class ApiFailed(Exception):
    """GitHub did not do what it was asked."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any, **_more: Any) -> None:
        return None


class Api:
    """One repository's REST API, with the run's own token."""

    def __init__(self, base: str, repository: str, *, token: str) -> None:
        self._base = f"{base.rstrip('/')}/repos/{repository}"
        self._token = token
        self._opener = urllib.request.build_opener(_NoRedirect)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create something. Raises ApiFailed with what GitHub said of it."""
        if not self._base.startswith(("https://", "http://")):
            raise ApiFailed(f"{self._base} is no address of an API")
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/json",
            "User-Agent": "wakeline",
            "X-GitHub-Api-Version": _VERSION,
        }
        request = urllib.request.Request(  # noqa: S310 - the scheme was looked at
            self._base + path, data=json.dumps(body).encode(), headers=headers, method="POST"
        )
        try:
            with self._opener.open(request, timeout=_CALL_S) as answer:
                found = json.loads(answer.read(_ANSWER_BYTES_MAX))
        except urllib.error.HTTPError as error:
            with error:
                words = error.read(300).decode("utf-8", "replace")
            raise ApiFailed(f"HTTP {error.code}: {words}") from error
        except (OSError, ValueError) as error:
            raise ApiFailed(str(error) or type(error).__name__) from error
        if not isinstance(found, dict):
            raise ApiFailed("its answer is no object")
        return found


class Background:
    """Does things in order, beside us. After one that failed the others are left out."""

    def __init__(self) -> None:
        self.problem = ""
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="github", daemon=True)
        self._thread.start()

    def do(self, work: Callable[[], None]) -> None:
        """Put it behind what is waiting. It may raise ApiFailed."""
        self._work.put(work)

    def close(self, *, limit_s: float) -> str:
        """Wait for what is under way, at most so long. Returns what went wrong, or nothing."""
        self._work.put(None)
        self._thread.join(limit_s)
        return self.problem or ("it did not answer in time" if self._thread.is_alive() else "")

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            if not self.problem:
                try:
                    work()
                except ApiFailed as error:
                    self.problem = str(error)


def append(place: str, text: str) -> str:
    """Add to one of the step's files (GITHUB_OUTPUT, GITHUB_STEP_SUMMARY). Returns what went wrong, or nothing."""
    try:
        with Path(place).open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        return f"{place}: {error.strerror or error}"
    return ""


def read_notes(place: Path) -> dict[str, Any]:
    """What an earlier step of this job has noted for the next; nothing where there is none, or none to be read."""
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_notes(place: Path, notes: Mapping[str, Any]) -> None:
    """Note something for the next step of this job. Where that cannot be, the next one does without."""
    beside = place.with_suffix(".part")
    try:
        beside.write_text(json.dumps(notes), encoding="utf-8")
        beside.replace(place)
    except OSError:
        beside.unlink(missing_ok=True)
