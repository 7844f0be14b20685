"""A hundred replicas that want the same version at the same moment: spread, bounded, and all of them get it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fault_proxy import Faults, fault_proxy
from tests.s3 import S3
from tfsdeploy.agent.replica.files import RETRY_SECONDS, pause
from tfsdeploy.store.answers import StoreAway
from tfsdeploy.store.cache import Cache
from tfsdeploy.store.example import write_example
from tfsdeploy.store.fetch import Fetcher
from tfsdeploy.store.objects import ObjectStore
from tfsdeploy.store.tree import silent
from tfsdeploy.store.verify import verify

REPLICAS = 100


@given(st.integers(0, 10**6), st.floats(0, 1))
def test_pauses_grow_up_to_a_minute_and_are_never_short(tries: int, chance: float) -> None:
    found = pause(tries, chance)
    assert pause(tries, 0) <= found <= pause(tries, 1) == 2 * pause(tries, 0)
    assert RETRY_SECONDS[0] / 2 <= found <= 60
    assert pause(tries, 1) <= pause(tries + 1, 1)


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.floats(1, 900))
def test_an_outage_ends_without_a_stampede(seed: int, outage: float) -> None:
    """By the agents' own pauses over a simulated clock: the store answers nobody, and then ten a second."""
    chance, capacity = random.Random(seed), 10
    due, tries = dict.fromkeys(range(REPLICAS), 0.0), Counter[int]()
    asked, answered = Counter[int](), Counter[int]()
    while due:
        replica = min(due, key=lambda one: due[one])
        now = due[replica]
        asked[int(now)] += 1
        if now >= outage and answered[int(now)] < capacity:
            answered[int(now)] += 1
            del due[replica]
        else:
            due[replica] = now + pause(tries[replica], chance.random())
            tries[replica] += 1
    assert max(tries.values()) <= 6 + outage / 30 + REPLICAS / capacity
    # All at once only at the start; a minute later they are spread over half a minute and more.
    later = [count for second, count in asked.items() if second > 60]
    assert max(later, default=0) <= 20
    assert max(asked) <= outage + 60 + 2 * REPLICAS / capacity


@pytest.fixture
def crowded(s3: S3, s3_bucket: str) -> Iterator[Faults]:
    """A way to the store that is too narrow at first."""
    with fault_proxy(s3.endpoint) as proxy:
        proxy.too_many = 3 * REPLICAS
        yield proxy


def test_a_hundred_fetch_from_a_store_that_asks_to_slow_down(
    s3: S3, s3_bucket: str, crowded: Faults, tmp_path: Path
) -> None:
    """Each has all of it, true; and what was refused is asked for again, but not all over again."""
    write_example(tmp_path / "source")
    record, _ = ObjectStore(s3.open(s3_bucket)).publish("m", tmp_path / "source", 1)
    needed = REPLICAS * (1 + sum(file.size > 0 for file in record.files))

    def fetch(number: int) -> None:
        store = ObjectStore(s3.open(s3_bucket, endpoint=crowded.endpoint))
        fetcher = Fetcher(store, Cache(tmp_path / str(number)))
        for _ in range(3):
            # An agent would pause before it asks again; the store has to bear it without.
            with suppress(StoreAway):
                fetcher.bring("m", 1, record.digest, silent)
                break
        verify(fetcher.local.version_path("m", 1), record)

    with ThreadPoolExecutor(REPLICAS) as pool:
        list(pool.map(fetch, range(REPLICAS)))
    assert crowded.too_many == 0
    assert needed + 3 * REPLICAS <= crowded.asked <= needed + 4 * REPLICAS
