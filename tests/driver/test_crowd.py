"""Work on hundreds of machines is done for some of them at once."""

import asyncio

import pytest

from wakeline.driver.crowd import all_of


class Machines:
    """Counts who is worked on at the same time."""

    def __init__(self):
        self.now, self.most = 0, 0

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
    assert asyncio.run(all_of((machines.work(n) for n in range(100)), at_once=7)) == list(range(100))
    assert (machines.now, machines.most) == (0, 7)


def test_an_error_is_told():
    with pytest.raises(ValueError, match="-3"):
        asyncio.run(all_of([Machines().work(n) for n in (1, -3)]))
