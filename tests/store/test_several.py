"""Files that are gone over several at a time: all are heard of, and the failure of one ends the others."""

from __future__ import annotations

import threading

import pytest

from tfsdeploy.store.several import WORKERS, Count, several


def test_answers_come_in_order_and_every_byte_counts() -> None:
    heard: list[tuple[int, int]] = []

    def twice(item: int, count: Count) -> int:
        for _ in range(2):
            count(item)
        return item

    found = several(twice, range(20), 2 * sum(range(20)), lambda done, total: heard.append((done, total)))
    assert found == tuple(range(20))
    assert heard == sorted(heard)
    assert heard[-1] == (380, 380)


def test_the_failure_of_one_ends_the_others() -> None:
    begun = threading.Barrier(WORKERS)

    def endless(number: int, count: Count) -> None:
        begun.wait(30)
        if number == 1:
            raise ValueError("the second one")
        while True:
            count(1)

    with pytest.raises(ValueError, match="the second one"):
        several(endless, range(WORKERS), 0, lambda done, total: None)
