"""The replica agent as a process beside a real model server: what it loads, what it tells, and how it survives."""

from __future__ import annotations

import os
import shutil
import signal

from tests.agent.replica.unit import Unit
from tfsdeploy.names import RECORD_FILE
from tfsdeploy.protocol.agents import State
from tfsdeploy.release.model import Rollout


def test_loads_promotes_and_takes_away(replica: Unit) -> None:
    """A version, a second one beside it, and the first leaves only when the gateway has let go of it."""
    one, two = replica.push(1, "constant-1"), replica.push(2, "constant-2")
    replica.release(m={1: one})
    replica.start()
    replica.until(1, State.AVAILABLE)
    replica.wait("readiness", lambda: replica.ask("/readyz")[0] == 200)
    assert replica.answer(1) == [1.0]
    replica.release(m={1: one, 2: two})
    replica.until(2, State.AVAILABLE)
    assert (replica.answer(1), replica.answer(2)) == ([1.0], [2.0])

    seen = replica.poll("g1")
    replica.release(m={2: two})
    replica.until(1, State.DRAINING)
    for _ in range(30):
        replica.poll("g1", seen)  # it still has what was so before
        assert replica.row(1).state is State.DRAINING
    assert replica.answer(1) == [1.0]
    replica.wait("the unload", lambda: replica.acknowledge("g1") or replica.row(1) is None)
    assert replica.answer(1) == 404
    assert replica.answer(2) == [2.0]
    assert b'tfsdeploy_replica_version_state{model="m",state="AVAILABLE",version="2"} 1.0' in replica.ask("/metrics")[1]


def test_version_that_cannot_load_says_why_and_takes_nothing_away(replica: Unit) -> None:
    """FAILED in the server's own words, out of the configuration at once, also for the next server and agent."""
    one, bad = replica.push(1, "constant-1"), replica.push(2, "broken")
    replica.release(m={1: one, 2: bad})
    replica.start()
    row = replica.until(2, State.FAILED)
    assert "NoSuchOperation" in row.error
    replica.until(1, State.AVAILABLE)
    assert replica.ask("/readyz")[0] == 200
    assert "versions: 2" not in replica.config()
    replica.kill_agent()
    replica.kill_server()
    replica.start()
    replica.until(1, State.AVAILABLE)
    assert replica.row(2) == row
    assert "versions: 2" not in replica.config()


def test_bad_model_alone_does_not_keep_the_server_from_coming_up(like_tfs: Unit) -> None:
    """The original ends when a version fails at its start, so nothing unproven is in what it starts with."""
    bad, good = like_tfs.push(1, "broken", "a"), like_tfs.push(1, "constant-1", "b")
    like_tfs.release(a={1: bad}, b={1: good})
    like_tfs.start()
    like_tfs.until(1, State.AVAILABLE, "b")
    like_tfs.until(1, State.FAILED, "a")
    assert like_tfs.server.poll() is None


def test_server_is_killed(replica: Unit) -> None:
    """Nothing is AVAILABLE the moment that its server dies; a version that was loading is not to blame yet."""
    one, slow = replica.push(1, "constant-1"), replica.push(2, "slow")
    replica.release(m={1: one})
    replica.start()
    replica.until(1, State.AVAILABLE)
    replica.release(m={1: one, 2: slow})
    replica.until(2, State.LOADING)
    replica.kill_server()
    replica.until(1, State.LOADING)
    replica.wait("its configuration", lambda: "versions: 2" not in replica.config())
    assert "versions: 1" in replica.config()
    replica.start_server()
    replica.until(1, State.AVAILABLE)
    replica.until(2, State.AVAILABLE)


def test_version_that_ends_the_server_twice_is_blamed(like_tfs: Unit) -> None:
    """Two deaths while one version loaded are its doing; what is proven is not."""
    one, slow = like_tfs.push(1, "constant-1"), like_tfs.push(2, "slow")
    like_tfs.release(m={1: one})
    like_tfs.start()
    like_tfs.until(1, State.AVAILABLE)
    like_tfs.release(m={1: one, 2: slow})
    for _ in range(2):
        like_tfs.until(1, State.AVAILABLE)
        like_tfs.until(2, State.LOADING)
        like_tfs.kill_server()
        like_tfs.until(1, State.LOADING)
        like_tfs.start_server()
    like_tfs.until(1, State.AVAILABLE)
    row = like_tfs.until(2, State.FAILED)
    assert row.error == "the model server ended while this version was loading"


def test_agent_is_killed(like_tfs: Unit) -> None:
    """The next agent says the same at once: it never shows an emptier state."""
    one = like_tfs.push(1, "constant-1")
    like_tfs.release(m={1: one})
    like_tfs.start()
    like_tfs.until(1, State.AVAILABLE)
    before = like_tfs.config()
    like_tfs.kill_agent()
    like_tfs.start_agent()
    status = like_tfs.wait("an answer", like_tfs.status)
    assert status.state("m", 1).state is State.AVAILABLE
    assert like_tfs.config() == before


def test_agent_without_memory_takes_nothing_from_a_serving_server(like_tfs: Unit) -> None:
    """What was remembered is gone; the configuration is not emptied for that."""
    one = like_tfs.push(1, "constant-1")
    like_tfs.release(m={1: one})
    like_tfs.start()
    like_tfs.until(1, State.AVAILABLE)
    like_tfs.kill_agent()
    (like_tfs.folder / "state.json").write_text("nonsense")
    like_tfs.start_agent()
    status = like_tfs.wait("an answer", like_tfs.status)
    assert status.state("m", 1).state is State.AVAILABLE
    assert "versions: 1" in like_tfs.config()


def test_leaves_when_the_gateways_have_acknowledged(like_tfs: Unit) -> None:
    """SIGTERM: leaving is said, whoever polled is waited for, then the agent ends with 0."""
    one = like_tfs.push(1, "constant-1")
    like_tfs.release(m={1: one})
    like_tfs.start()
    like_tfs.until(1, State.AVAILABLE)
    seen = like_tfs.poll("g1")
    like_tfs.leave()
    like_tfs.wait("leaving", lambda: like_tfs.status().leaving)
    assert like_tfs.ask("/readyz")[0] == 503
    for _ in range(30):
        like_tfs.poll("g1", seen)
    assert not like_tfs.ended()
    assert like_tfs.answer(1) == [1.0]
    like_tfs.wait("the end", lambda: like_tfs.ended() or like_tfs.acknowledge("g1"))
    assert like_tfs.agent.wait() == 0


def test_leaves_and_stays_as_a_file_asks(like_tfs: Unit) -> None:
    """A container's preStop hook: leaving is said, answered when gateways have let go, and taken back."""
    leave, left = like_tfs.folder / "leave", like_tfs.folder / "left"
    one = like_tfs.push(1, "constant-1")
    like_tfs.release(m={1: one})
    like_tfs.start_agent()
    like_tfs.wait("the start", lambda: like_tfs.ask("/startedz")[0] == 200)
    like_tfs.start_server()
    like_tfs.until(1, State.AVAILABLE)
    seen = like_tfs.poll("g1")
    for _ in range(2):
        leave.touch()
        like_tfs.wait("leaving", lambda: like_tfs.status().leaving and like_tfs.ask("/readyz")[0] == 503)
        for _ in range(30):
            like_tfs.poll("g1", seen)
        assert not left.exists()
        like_tfs.wait("the answer", lambda: left.exists() or like_tfs.acknowledge("g1"))
        assert like_tfs.answer(1) == [1.0]
        like_tfs.kill_server()
        like_tfs.until(1, State.LOADING)
        assert not like_tfs.ended()
        leave.unlink()
        like_tfs.start_server()
        like_tfs.wait("a member again", lambda: like_tfs.ask("/readyz")[0] == 200 and not like_tfs.status().leaving)
        assert not left.exists()
        seen = like_tfs.poll("g1")


def test_gateway_that_says_farewell_is_not_waited_for(like_tfs: Unit) -> None:
    """A gateway that left for good holds nothing up."""
    one = like_tfs.push(1, "constant-1")
    like_tfs.release(m={1: one})
    like_tfs.start()
    like_tfs.until(1, State.AVAILABLE)
    like_tfs.poll("g1", "gone")
    like_tfs.leave()
    assert like_tfs.agent.wait(60) == 0


def test_torn_version_is_not_loaded(like_tfs: Unit) -> None:
    """Bytes that differ from the commit record never reach the server, and are taken when they are mended."""
    one = like_tfs.push(1, "constant-1")
    file = like_tfs.store.version_path("m", 1) / "saved_model.pb"
    whole = file.read_bytes()
    os.chmod(file, 0o644)
    file.write_bytes(whole[:-1])
    like_tfs.release(m={1: one})
    like_tfs.start()
    row = like_tfs.until(1, State.FAILED)
    assert "m/1: saved_model.pb has" in row.error
    assert "versions" not in like_tfs.config()
    file.write_bytes(whole)
    like_tfs.until(1, State.AVAILABLE)


def test_a_promote_asked_again_is_told_only_what_was_seen_since(like_tfs: Unit) -> None:
    """Also by an agent that missed that the version was taken out in between."""
    one, two = like_tfs.push(1, "constant-1"), like_tfs.push(2, "constant-2")
    path = like_tfs.store.version_path("m", 2)
    file = next(file for file in sorted(path.rglob("*")) if file.is_file() and file.name != RECORD_FILE)
    good = file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(b"x" * len(good))
    like_tfs.release(m={1: one})
    like_tfs.start()
    like_tfs.until(1, State.AVAILABLE)
    like_tfs.release(rollout=Rollout("first", 2, (100,), 0, ""), m={1: one, 2: two})
    assert "other bytes" in like_tfs.until(2, State.FAILED).error
    like_tfs.agent.send_signal(signal.SIGSTOP)
    like_tfs.release(m={1: one})
    file.write_bytes(good)
    again = like_tfs.release(rollout=Rollout("second", 2, (100,), 0, ""), m={1: one, 2: two})
    like_tfs.agent.send_signal(signal.SIGCONT)
    told = set()

    def there() -> bool:
        status = like_tfs.status()
        row = None if status is None or status.generation < again.generation else status.state("m", 2)
        told.add(row and row.state)
        return row is not None and row.state is State.AVAILABLE

    like_tfs.wait("the version", there)
    assert State.FAILED not in told


def test_bytes_that_were_damaged_while_the_server_was_down_are_not_served(replica: Unit) -> None:
    """A server that is started again loads what is there, before anybody has looked at it."""
    one = replica.push(1, "constant-1")
    file = replica.store.version_path("m", 1) / "saved_model.pb"
    replica.release(m={1: one})
    replica.start()
    replica.until(1, State.AVAILABLE)
    whole, other = file.read_bytes(), (replica.samples / "constant-2" / "saved_model.pb").read_bytes()
    os.chmod(file, 0o644)
    replica.kill_server()
    file.write_bytes(other)
    replica.start_server()
    row = replica.until(1, State.FAILED)
    assert "m/1: saved_model.pb" in row.error
    replica.wait("its configuration", lambda: "versions" not in replica.config())
    file.write_bytes(whole)
    replica.until(1, State.AVAILABLE)


def test_what_the_server_lets_go_of_is_looked_at_before_it_serves_again(like_tfs: Unit) -> None:
    """A folder that goes is unloaded by the server, and one that comes is loaded by it, whatever is there."""
    one, two = like_tfs.push(1, "constant-1"), like_tfs.push(2, "constant-2")
    like_tfs.release(m={1: one, 2: two})
    like_tfs.start()
    like_tfs.until(1, State.AVAILABLE)
    like_tfs.until(2, State.AVAILABLE)
    path = like_tfs.store.version_path("m", 1)
    right = path.with_name("right")
    path.rename(right)
    like_tfs.wait("version 1 is gone", lambda: like_tfs.row(1).state is not State.AVAILABLE)
    said: set[State] = set()

    def failed() -> bool:
        row = like_tfs.row(1)
        if row is not None:
            said.add(row.state)
        return row is not None and "than its commit record says" in (row.error or "")

    shutil.copytree(like_tfs.samples / "constant-2", path.with_name("coming"))
    shutil.copy(right / RECORD_FILE, path.with_name("coming"))
    path.with_name("coming").rename(path)
    like_tfs.wait("what is wrong with it", failed)
    assert State.AVAILABLE not in said
    assert like_tfs.answer(2) == [2.0]
    shutil.rmtree(path)
    right.rename(path)
    like_tfs.until(1, State.AVAILABLE)
    assert like_tfs.answer(1) == [1.0]


def test_other_bytes_under_the_same_number_are_loaded_anew(like_tfs: Unit) -> None:
    """A version whose digest the release changes is unloaded first: what serves is never something else."""
    one = like_tfs.push(1, "constant-1")
    like_tfs.release(m={1: one})
    like_tfs.start()
    like_tfs.until(1, State.AVAILABLE)
    path = like_tfs.store.version_path("m", 1)
    path.rename(path.with_name("old"))
    two = like_tfs.push(1, "constant-2")
    like_tfs.release(m={1: two})
    like_tfs.wait("the new bytes", lambda: like_tfs.row(1).state is State.AVAILABLE and like_tfs.answer(1) == [2.0])


def test_version_that_comes_back_right_after_it_left(replica: Unit) -> None:
    """A version that left and is wanted again is AVAILABLE only when it was loaded anew."""
    one, two = replica.push(1, "constant-1"), replica.push(2, "constant-2")
    replica.release(m={1: one, 2: two})
    replica.start()
    replica.until(1, State.AVAILABLE)
    replica.until(2, State.AVAILABLE)
    for _ in range(2):
        replica.release(m={2: two})
        replica.wait("version 1 to leave", lambda: "versions: 1" not in replica.config())
        replica.release(m={1: one, 2: two})
        replica.until(1, State.AVAILABLE)
        assert replica.answer(1) == [1.0]


def test_server_that_hangs_is_not_available(like_tfs: Unit) -> None:
    """A process that is stopped still has its connections; what it does not answer it does not serve."""
    one = like_tfs.push(1, "constant-1")
    like_tfs.release(m={1: one})
    like_tfs.start()
    like_tfs.until(1, State.AVAILABLE)
    before = like_tfs.config()
    like_tfs.server.send_signal(signal.SIGSTOP)
    like_tfs.until(1, State.LOADING)
    assert like_tfs.config() == before
    like_tfs.server.send_signal(signal.SIGCONT)
    like_tfs.until(1, State.AVAILABLE)


def test_nonsense_release_keeps_the_last_good_one(like_tfs: Unit) -> None:
    """Also for an agent that starts while it stands there."""
    one = like_tfs.push(1, "constant-1")
    like_tfs.release(m={1: one})
    like_tfs.start()
    like_tfs.until(1, State.AVAILABLE)
    like_tfs.kill_agent()
    (like_tfs.home / "release.json").write_text('{"apiVersion": "tfsdeploy/v9"}')
    like_tfs.start_agent()
    like_tfs.until(1, State.AVAILABLE)
    like_tfs.wait("a word", lambda: "tfsdeploy/v9" in like_tfs.log("agent"))


def test_store_that_goes_away_takes_nothing(like_tfs: Unit) -> None:
    """What is loaded stays; what is not waits, and follows when the store is back."""
    one, two = like_tfs.push(1, "constant-1"), like_tfs.push(2, "constant-2")
    like_tfs.release(m={1: one})
    like_tfs.start()
    like_tfs.until(1, State.AVAILABLE)
    away = like_tfs.store.root.with_name("away")
    like_tfs.store.root.rename(away)
    like_tfs.release(m={1: one, 2: two})
    like_tfs.until(2, State.PENDING)
    assert like_tfs.row(1).state is State.AVAILABLE
    assert "versions: 1" in like_tfs.config()
    away.rename(like_tfs.store.root)
    like_tfs.until(2, State.AVAILABLE)
    assert like_tfs.row(1).state is State.AVAILABLE
