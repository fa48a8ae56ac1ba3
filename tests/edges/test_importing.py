"""Imports beside other work: two at once leave the interpreter's turns as they were."""

import functools
import sys
import threading

from wakeline.edges import importing


def test_the_turns_are_as_before_when_the_last_of_two_has_ended():
    """Found by CI: the second took the first one's short turns for what was before, and left them so for good."""
    before = sys.getswitchinterval()
    begun, may_end = threading.Barrier(3), (threading.Event(), threading.Event())

    def work(event):
        begun.wait(10)
        event.wait(10)

    ours = []
    for event in may_end:
        importing.beside(functools.partial(work, event))
        ours += [each for each in threading.enumerate() if each not in (threading.current_thread(), *ours)]
    begun.wait(10)
    found = [sys.getswitchinterval()]
    for event, thread in zip(may_end, ours):
        event.set()
        thread.join(10)
        found.append(sys.getswitchinterval())
    assert found == [found[0], found[0], before]
    assert found[0] < before


def test_a_module_that_cannot_be_imported_shows_no_stack_trace_beside_the_error(monkeypatch):
    told = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(args.exc_type))
    threads = set(threading.enumerate())
    before = sys.getswitchinterval()
    importing.begin("wakeline.no_such_module")
    for each in set(threading.enumerate()) - threads:
        each.join(10)
    assert (told, sys.getswitchinterval()) == ([], before)
