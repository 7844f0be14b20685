"""A replica that reads its store in place from NFS, and the server goes away, comes back, and serves another folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.agent.replica.unit import Unit, unit
from tests.nfs.server import NfsServer
from tfsdeploy.protocol.agents import State
from tfsdeploy.store.example import write_example
from tfsdeploy.store.store import FileStore

pytestmark = pytest.mark.nfs


@pytest.fixture
def digests(nfs: NfsServer, tmp_path: Path) -> dict[int, str]:
    """Versions 1 and 2 of a model, on the server."""
    store = FileStore(nfs.behind)
    for number in (1, 2):
        write_example(tmp_path / str(number), float(number))
    return {number: store.publish("m", tmp_path / str(number), number)[0].digest for number in (1, 2)}


@pytest.fixture
def mounts(nfs: NfsServer, tmp_path: Path) -> Iterator[ExitStack]:
    """The mount of the store; whoever mounts it anew closes this first."""
    with ExitStack() as stack:
        stack.enter_context(nfs.mounted(tmp_path / "home" / "models"))
        yield stack


@pytest.fixture
def replica(mounts: ExitStack, digests: dict[int, str], tmp_path: Path) -> Iterator[Unit]:
    """A replica that serves version 1; its server is like the original at its most awkward."""
    with unit(tmp_path / "home", tmp_path, "--like-tfs") as made:
        made.release(m={1: digests[1]})
        made.start()
        made.until(1, State.AVAILABLE)
        yield made


def told(replica: Unit) -> str:
    """What the replica says of its store."""
    status = replica.status()
    return "no status" if status is None else str(status.store_error)


def test_a_server_that_is_lost_takes_nothing(
    replica: Unit, mounts: ExitStack, nfs: NfsServer, digests: dict[int, str]
) -> None:
    """A mount that hangs, and one that is stale: what is loaded serves on, what is not waits and says why."""
    nfs.end()
    replica.release(m=digests)
    replica.wait("words", lambda: "has not answered for" in told(replica))
    row = replica.row(2)
    assert (replica.row(1).state, row and row.state) == (State.AVAILABLE, State.PENDING)  # type: ignore[union-attr]
    assert replica.answer(1) == [1.0]
    nfs.start()
    replica.until(2, State.AVAILABLE)
    replica.wait("it is over", lambda: told(replica) == "None")
    assert replica.answer(2) == [2.0]

    nfs.replace_export()
    replica.wait("words", lambda: "Stale file handle" in told(replica))
    assert {replica.row(number).state for number in (1, 2)} == {State.AVAILABLE}  # type: ignore[union-attr]
    assert (replica.answer(1), replica.answer(2)) == ([1.0], [2.0])
    mounts.close()
    mounts.enter_context(nfs.mounted(replica.store.root))
    replica.wait("it is over", lambda: told(replica) == "None")
