"""Waits until a service is healthy: twice in a row, within a limit of the monotonic clock.

Every look is followed by the next after a tenth of the time waited so far: a service that was long in coming is looked
at again later than one that came at once.

`contains` names what only the new release says, so that an old process that still answers 200 is not taken for it;
`{release}` and `{commit}` in it stand for this order's.
"""

from __future__ import annotations

import importlib
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, cast

from wakeline.agent import services, steps
from wakeline.core.order import Health, Order, Service
from wakeline.errors import RolloutFailed

_IN_A_ROW = 2
_SHARE = 0.1
_PAUSE_MIN_S, _PAUSE_MAX_S = 0.02, 1.0
_PAUSE_GOOD_S_MAX = 0.25
_BODY_MAX = 1024 * 1024
_ONE_TRY_S = 5.0


def wait(bench: steps.Bench, service: Service) -> None:
    """Wait until the service is healthy. Raises RolloutFailed with what it last said."""
    if service.health is None:
        problem = services.stays_up(service.unit, within_s=30.0) if service.unit else ""
    else:
        look = _look(bench, service, service.health)
        problem = poll(look, within_s=service.health.within_s)
    if problem:
        raise RolloutFailed(f"{service.name} is not healthy: {problem}")


def poll(
    look: Callable[[], str],
    *,
    within_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Look until it was fine twice in a row (empty), or time is up (what was last wrong)."""
    began = clock()
    ends = began + within_s
    good = 0
    while True:
        problem = look()
        good = 0 if problem else good + 1
        if good >= _IN_A_ROW:
            return ""
        if clock() >= ends:
            return problem or f"it did not stay healthy within {within_s:g} s"
        waited = clock() - began
        pause = min(max(_PAUSE_MIN_S, waited * _SHARE), _PAUSE_MAX_S if problem else _PAUSE_GOOD_S_MAX)
        sleep(min(pause, max(0.0, ends - clock())))


def ask(url: str, *, contains: str, timeout_s: float = _ONE_TRY_S) -> str:
    """One HTTP request. Empty when the answer is good, else what was wrong with it."""
    from urllib.parse import urlsplit  # noqa: PLC0415 - a seventh of an agent's start, paid while the service starts

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return f"{url} is not an http address"
    client = _client(tls=parts.scheme == "https")
    kind = client.HTTPSConnection if parts.scheme == "https" else client.HTTPConnection
    try:
        connection = kind(parts.hostname, parts.port, timeout=timeout_s)
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            if parts.scheme == "http":
                connection.sock = _connected(parts.hostname, connection.port, timeout_s=timeout_s)
            connection.request("GET", target, headers={"User-Agent": "wakeline", "Connection": "close"})
            answer = connection.getresponse()
            body = answer.read(_BODY_MAX)
        finally:
            connection.close()
    except (OSError, client.HTTPException, ValueError) as error:
        return f"{url}: {type(error).__name__}: {error}"
    if not 200 <= answer.status < 400:
        return f"{url} answered {answer.status}"
    if contains and contains.encode() not in body:
        return f"{url} answered {answer.status}, without {contains!r}: another release may be answering"
    return ""


def _client(*, tls: bool) -> Any:
    """The library. It takes TLS along where there is any, which is 5 ms: for an http address there is none."""
    hides = not tls and "ssl" not in sys.modules
    if hides:
        sys.modules["ssl"] = cast(Any, None)  # as good as not installed, see sys.modules
    try:
        import http.client  # noqa: PLC0415 - see above
    finally:
        if hides:
            del sys.modules["ssl"]
    return importlib.reload(http.client) if tls and not hasattr(http.client, "HTTPSConnection") else http.client


def _connected(host: str, port: int, *, timeout_s: float) -> socket.socket:
    """A name of ASCII is given as bytes: then the tables of other alphabets are not loaded, which is 1 ms."""
    name: Any = host.encode() if host.isascii() else host
    return socket.create_connection((name, port), timeout_s)


def _look(bench: steps.Bench, service: Service, health: Health) -> Callable[[], str]:
    if health.http:
        contains = _filled_in(health.contains, bench.order)
        return lambda: ask(health.http, contains=contains)
    name, limit = f"health of {service.name}", max(1.0, health.within_s)
    return lambda: steps.run_command(bench, name, health.run, timeout_s=limit, may_stop=False).cause


def _filled_in(text: str, order: Order) -> str:
    return text.replace("{release}", str(order.release)).replace("{commit}", order.commit)
