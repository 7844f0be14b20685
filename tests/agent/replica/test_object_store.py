"""A replica on a new machine, whose models are in S3: what it says while it lacks them, and how it recovers."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.replica.unit import Unit, unit
from tests.gcs import Gcs
from tests.s3_outage import MortalS3
from tfsdeploy.protocol.agents import State
from tfsdeploy.store.cache import Cache
from tfsdeploy.store.fetch import Fetcher
from tfsdeploy.store.objects import ObjectStore
from tfsdeploy.store.tree import silent

TLS = Path(__file__).parents[2] / "cases" / "server" / "tls"


@pytest.fixture
def replica(own_s3: MortalS3, tmp_path: Path, samples: Path) -> Iterator[Unit]:
    """A replica of which nothing is on this machine yet; its release names version 1."""
    with unit(tmp_path / "home", samples, "--open_early", "--keep_missing") as made:
        made.bucket = ("s3://models/prod", own_s3.options)
        made.release(m={1: publish(own_s3, samples, 1)})
        yield made


def publish(own_s3: MortalS3, samples: Path, version: int) -> str:
    """Put a version into the bucket; its digest."""
    return ObjectStore(own_s3.open("prod")).publish("m", samples / f"constant-{version}", version)[0].digest


def test_a_store_that_refuses_is_waited_for(replica: Unit, own_s3: MortalS3) -> None:
    """Without rights, bucket or version: not ready, in a sentence, until the store is itself again."""
    own_s3.allow("writer")
    replica.start()
    row = replica.until(1, State.FAILED)
    assert "the store denies this to these credentials" in row.error
    assert_idle(replica)
    own_s3.allow("writer", "Admin", "Read", "Write", "List")
    replica.until(1, State.AVAILABLE)
    replica.wait("ready", lambda: (status := replica.status()) and status.ready)
    assert replica.answer(1) == [1.0]

    # What it has, it serves, whatever becomes of the bucket; what it has not, it says, and waits.
    own_s3.remove_bucket()
    one = replica.status().models["m"][1]  # type: ignore[union-attr]
    assert one.state is State.AVAILABLE
    record = replica.store.record("m", 1)
    assert record is not None
    replica.release(m={1: record.digest, 2: "sha256:of a version that went with the bucket"})
    row = replica.until(2, State.FAILED)
    assert "there is no such bucket" in row.error
    own_s3.make_bucket()
    two = publish(own_s3, replica.samples, 2)
    # Somebody else's bytes of the same number are not what the release names.
    replica.wait("other bytes", lambda: (row := replica.row(2)) and "the release names" in (row.error or ""))
    assert replica.answer(1) == [1.0]
    replica.release(m={1: record.digest, 2: two})
    replica.until(2, State.AVAILABLE)
    assert replica.answer(2) == [2.0]


def assert_idle(replica: Unit) -> None:
    """It tells whoever rolls the fleet that it takes no other one's place."""
    status = replica.status()
    assert status is not None
    assert not status.ready
    assert replica.ask("/readyz")[0] == 503


def test_what_rotted_is_not_served_while_the_store_is_away(replica: Unit, own_s3: MortalS3) -> None:
    """A server that starts anew may load it before anybody looked, and then it cannot be mended."""
    replica.start()
    replica.until(1, State.AVAILABLE)
    replica.kill_server()
    file = replica.store.version_path("m", 1) / "saved_model.pb"
    file.chmod(0o644)
    file.write_bytes((replica.samples / "constant-2" / "saved_model.pb").read_bytes())
    own_s3.kill()
    replica.start_server()
    said: set[tuple[State, bool]] = set()

    def taken_out() -> bool:
        row = replica.row(1)
        if row is not None:
            said.add((row.state, "cannot be fetched anew" in (row.error or "")))
        return "versions" not in replica.config()

    replica.wait("the version is out", taken_out)
    assert State.AVAILABLE not in {state for state, _ in said}
    own_s3.start()
    replica.until(1, State.AVAILABLE)
    assert replica.answer(1) == [1.0]


def test_what_opens_the_store_is_broken_while_it_starts(replica: Unit, own_s3: MortalS3, tmp_path: Path) -> None:
    """What is on the machine is served, what is wrong is told, and what is mended needs no other start."""
    authority = tmp_path / "ca.crt"
    replica.bucket = ("s3://models/prod", {**own_s3.options, "ca_file": str(authority)})
    Fetcher(ObjectStore(own_s3.open("prod")), Cache(replica.store.root)).bring("m", 1, None, silent)
    replica.start()
    replica.until(1, State.AVAILABLE)
    reason = f"{authority}: the CA file cannot be read: No such file or directory (put it there, or correct"
    replica.wait("ready, and the reason", lambda: (told := replica.status()) and told.ready and told.store_error)
    assert (replica.status().store_error or "").startswith(reason)  # type: ignore[union-attr]
    assert replica.answer(1) == [1.0]

    one = replica.store.record("m", 1)
    assert one is not None
    replica.release(m={1: one.digest, 2: publish(own_s3, replica.samples, 2)})
    replica.wait("what waits says why", lambda: (row := replica.row(2)) and reason in (row.error or ""))
    assert replica.log("agent").count(f"WARNING {reason}") == 2  # of the store, and of the version that waits for it
    shutil.copy(TLS / "ca.crt", authority)
    replica.until(2, State.AVAILABLE)
    replica.wait("nothing to tell", lambda: (told := replica.status()) and told.store_error is None)


def test_a_workload_of_google_is_let_in_by_its_identity(
    gcs: Gcs, tmp_path: Path, samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on GKE: nothing is handed over, and the metadata server has a token as soon as the account is bound."""
    url = gcs.make_bucket("models")
    digest = ObjectStore(gcs.open(url)).publish("m", samples / "constant-1", 1)[0].digest
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    for name in ("GCE_METADATA_HOST", "GCE_METADATA_IP"):
        monkeypatch.setenv(name, f"127.0.0.1:{gcs.port}")
    with unit(tmp_path / "home", samples, "--open_early", "--keep_missing") as replica:
        replica.bucket = (url, gcs.options)
        replica.release(m={1: digest})
        replica.start()
        assert "no credentials were found" in replica.until(1, State.FAILED).error
        gcs.has_identity = True
        replica.until(1, State.AVAILABLE)
        assert replica.answer(1) == [1.0]
