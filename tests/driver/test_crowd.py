"""Work side by side: on hundreds of machines for some of them at once, and none of it outlives the rest."""

import asyncio
import gc
import sys
import warnings

import pytest

from wakeline.driver.crowd import both, end, for_each


class Machines:
    """Counts who is worked on at the same time."""

    def __init__(self):
        self.now, self.most = 0, 0

    async def wait(self, _number):
        self.most += 1
        await asyncio.Event().wait()

    async def work(self, number):
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(number % 3 + 1):
            await asyncio.sleep(0)
        self.now -= 1
        if number < 0:
            raise ValueError(str(number))
        return number


def test_results_come_in_the_order_of_the_machines_and_only_some_are_worked_on_at_once():
    machines = Machines()
    assert asyncio.run(for_each(range(100), machines.work, at_once=7)) == list(range(100))
    assert (machines.now, machines.most) == (0, 7)


def test_an_error_is_told():
    with pytest.raises(ValueError, match="-3"):
        asyncio.run(for_each((1, -3), Machines().work))


def test_who_had_no_turn_when_it_was_stopped_is_not_begun_and_nothing_is_said_of_it():
    """Python warns on the terminal of work that was made and never begun."""
    machines = Machines()

    async def stopped():
        await asyncio.wait_for(for_each(range(9), machines.wait, at_once=2), 0.01)

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises(asyncio.TimeoutError):
            asyncio.run(stopped())
        gc.collect()
    assert (machines.most, said) == (2, [])


def test_where_one_fails_the_other_has_ended_before_its_error_is_told():
    """Seen: `wakeline status` never ended, where the ledger was refused just as a machine's agent was being started."""
    ended = []

    async def refused():
        raise ValueError("the ledger")

    async def starting():
        try:
            child = await asyncio.create_subprocess_exec(sys.executable, "-c", "", stdin=-1, stdout=-1, stderr=-1)
            await child.wait()
        finally:
            ended.append("a process")

    async def look():
        with pytest.raises(ValueError, match="the ledger"):
            await both(refused(), starting())
        assert ended == ["a process"]
        return len(asyncio.all_tasks())

    assert asyncio.run(look()) == 1


def test_a_task_that_misses_its_cancellation_is_ended_all_the_same():
    """Seen: stopped in the moment in which its agent had started, a preparation went on, and so did the command."""
    missed = []

    async def stubborn():
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                missed.append(1)
                if len(missed) == 2:
                    raise

    async def ends():
        task = asyncio.ensure_future(stubborn())
        await asyncio.sleep(0)
        await asyncio.wait_for(end([task]), 60)
        return task.cancelled()

    assert (asyncio.run(ends()), len(missed)) == (True, 2)
