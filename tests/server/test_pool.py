"""A pool of things that one at a time can use."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from tfsdeploy.server.pace import WouldWait
from tfsdeploy.server.pool import Pool


def test_no_more_are_made_than_are_needed_and_none_is_used_by_two() -> None:
    pool, busy, together = Pool(count().__next__, 3), set[int](), threading.Barrier(3)

    def use(number: int) -> int:
        thing = pool.take()
        assert thing not in busy
        busy.add(thing)
        if number < 3:
            together.wait(60)  # three at once, so that all are made
        busy.remove(thing)
        pool.give_back(thing)
        return thing

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(use, range(200))) == {0, 1, 2}


def test_who_does_not_wait_gets_what_is_idle_or_nothing() -> None:
    pool = Pool(count().__next__, 2)
    assert pool.take(wait=False) == 0
    with pytest.raises(WouldWait):
        pool.take(wait=False)
    assert pool.take() == 1
    pool.give_back(0)
    assert pool.take(wait=False) == 0


def test_what_is_of_no_more_use_is_made_anew() -> None:
    pool = Pool(count().__next__, 1)
    assert pool.take() == 0
    pool.give_back(None)
    assert pool.take() == 1


def test_what_cannot_be_made_leaves_its_place_to_the_next() -> None:
    outcomes = iter([0, OSError("no memory"), 2])

    def make() -> int:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    pool = Pool(make, 1)
    pool.take()
    pool.give_back(None)
    with pytest.raises(OSError, match="no memory"):
        pool.take()
    assert pool.take() == 2
