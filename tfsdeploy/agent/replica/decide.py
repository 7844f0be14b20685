"""What a replica's model server should be told, and what may be said of it: a pure decision over one moment.

TF Serving's own status misleads: END rows stay for the life of the process, a row can say AVAILABLE after its version
left the configuration, and a re-added version is first unloaded (core/aspired_versions_manager.cc). So a row counts
only with what is remembered of the version beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tfsdeploy.agent.replica.memory import Key, Mark, Memory
from tfsdeploy.protocol.agents import State, VersionStatus
from tfsdeploy.protocol.rest import StatusRow

DEATHS_UNPROVEN = 2
"""One death may be an operator's or the kernel's doing; a version that was loading at two of them is to blame."""

DEATHS_PROVEN = 5

DIED = "the model server ended while this version was loading"


@dataclass(frozen=True, slots=True)
class Files:
    """What is known of one version's files.

    Attributes:
        state: ``unknown``, ``verifying``, ``present``, ``bad`` or ``away`` (the store does not answer).
        error: what is wrong; empty unless bad or away.
        done: bytes verified.
        total: bytes to verify; 0 where that means nothing.
    """

    state: str
    error: str = ""
    done: int = 0
    total: int = 0


UNKNOWN = Files("unknown")


@dataclass(frozen=True, slots=True)
class Moment:
    """Everything the decision may look at.

    Attributes:
        wanted: the versions that the release holds, with their digests.
        files: what is known of their files.
        rows: the model server's own rows, by model; None while no server answers.
        memory: what is remembered.
        drained: versions that every gateway has stopped using.
        start_over: the server has not come up for so long that it is to start with nothing.
        overdue: versions whose END row has been taken for an old one for so long that it must be their own.
    """

    wanted: Mapping[Key, str | None]
    files: Mapping[Key, Files]
    rows: Mapping[str, tuple[StatusRow, ...]] | None
    memory: Memory
    drained: frozenset[Key] = frozenset()
    start_over: bool = False
    overdue: frozenset[Key] = frozenset()

    def row(self, key: Key) -> StatusRow | None:
        """The server's row of a version."""
        rows = (self.rows or {}).get(key[0], ())
        return next((row for row in rows if row.version == key[1]), None)

    def serves(self, key: Key) -> bool:
        """Whether a version answers requests: listed, its row AVAILABLE, and that row not from an earlier life."""
        row = self.row(key)
        return (
            row is not None and row.state == "AVAILABLE" and self.memory.lists(key) and key not in self.memory.departing
        )

    def presentable(self, key: Key) -> bool:
        """Whether a version may be listed: wanted, its bytes true, and not known to fail."""
        return key in self.wanted and key not in self.memory.failed and self.files.get(key, UNKNOWN).state == "present"


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows.

    Attributes:
        memory: what to remember; its ``listed`` is what ``models.config`` is to list.
        models: the status to publish: model -> version -> status.
        ready: everything that could be loaded is loaded.
        moving: something is expected to change soon, so the server is asked often.
    """

    memory: Memory
    models: Mapping[str, Mapping[int, VersionStatus]] = field(default_factory=dict)
    ready: bool = False
    moving: bool = False


def died(memory: Memory, rows: Mapping[str, tuple[StatusRow, ...]]) -> Memory:
    """The server's process ended: remember which versions it was loading, and that nothing of it is left."""
    deaths = dict(memory.deaths)
    failed = dict(memory.failed)
    for model, of_model in rows.items():
        for row in of_model:
            key = (model, row.version)
            if row.state not in ("START", "LOADING") or not memory.lists(key):
                continue
            deaths[key] = deaths.get(key, 0) + 1
            if deaths[key] >= (DEATHS_PROVEN if key in memory.proven else DEATHS_UNPROVEN):
                failed[key] = Mark(memory.proven.get(key), DIED)
    return replace(memory, deaths=deaths, failed=failed, departing=frozenset(), stale=frozenset())


def decide(now: Moment) -> Decision:
    """The next configuration and the status."""
    now = replace(now, memory=_forget(now))
    now = replace(now, memory=_learn(now))
    listed = _listed_without_server(now) if now.rows is None else _listed(now)
    memory = _list(now, listed)
    after = replace(now, memory=memory)
    keys = sorted({*now.wanted, *memory.held(), *(memory.departing if now.rows is not None else ())})
    statuses = {key: _status(after, key) for key in keys}
    models: dict[str, dict[int, VersionStatus]] = {}
    for key, status in statuses.items():
        models.setdefault(key[0], {})[key[1]] = status
    done = all(statuses[key].state in (State.AVAILABLE, State.FAILED) for key in now.wanted)
    resting = all(status.state in (State.AVAILABLE, State.FAILED) for status in statuses.values())
    return Decision(memory, models, ready=done and now.rows is not None, moving=not resting)


def _forget(now: Moment) -> Memory:
    """What is no longer asked for, or asked for with other bytes, gets another chance."""
    memory, wanted = now.memory, now.wanted

    def same(key: Key, digest: str | None) -> bool:
        return key in wanted and (wanted[key] is None or digest is None or wanted[key] == digest)

    return replace(
        memory,
        failed={key: mark for key, mark in memory.failed.items() if same(key, mark.digest)},
        proven={key: digest for key, digest in memory.proven.items() if key in memory.held() or same(key, digest)},
        deaths={key: count for key, count in memory.deaths.items() if key in wanted},
    )


def _learn(now: Moment) -> Memory:
    """What the server's rows say, with what is remembered of each version."""
    if now.rows is None:
        return now.memory
    memory = now.memory
    # A version that left is gone when its END is there, or when the server does not know it any more.
    departing = frozenset(k for k in memory.departing if (r := now.row(k)) is not None and r.state != "END")
    waiting = memory.stale - now.overdue
    stale = frozenset(k for k in waiting if (r := now.row(k)) is not None and r.state == "END")
    proven, failed, deaths = dict(memory.proven), dict(memory.failed), dict(memory.deaths)
    for key in memory.held():
        row = now.row(key)
        if row is None or key in memory.departing or key in stale:
            continue
        if row.state == "AVAILABLE":
            proven[key] = now.wanted.get(key, proven.get(key))
            deaths.pop(key, None)
        elif row.state == "END" and row.code != "OK":
            failed[key] = Mark(now.wanted.get(key), row.message)
    return replace(memory, departing=departing, stale=stale, proven=proven, failed=failed, deaths=deaths)


def _listed(now: Moment) -> set[Key]:
    """What the running server is to hold."""
    memory = now.memory
    stays = {
        key
        for key in memory.held()
        if key not in memory.failed and (key in now.wanted or (now.serves(key) and key not in now.drained))
    }
    coming = [key for key in sorted(now.wanted) if key not in stays and now.presentable(key)]
    coming = [key for key in coming if key not in memory.departing]
    names = {model for model, _ in memory.held()}
    # Adding a name blocks TF Serving's configuration thread until the name has a version, so names come one by one.
    settling = any(not _settled(now, name) for name in names)
    loading = any(not now.serves(key) for key in stays)
    added: set[Key] = set()
    for key in coming:
        suspect = memory.deaths.get(key, 0) > 0
        if suspect and (loading or added):
            continue
        # One version brings a name in; its others follow when it has settled.
        if key[0] not in names and (settling or any(model not in names for model, _ in added)):
            continue
        added.add(key)
        if suspect:
            break
    return stays | added


def _settled(now: Moment, name: str) -> bool:
    return any(row.state in ("AVAILABLE", "END") for row in (now.rows or {}).get(name, ()))


def _listed_without_server(now: Moment) -> set[Key]:
    """What the next server is to start with: only what is known to load, for one bad model would end it.

    Versions that were listed stay so even if their files cannot be looked at just now: a store that is away for a
    moment takes nothing from a replica.
    """
    if now.start_over:
        return set()
    usable = {key for key in now.memory.proven if key in now.wanted and key not in now.memory.failed}
    return {key for key in usable if now.presentable(key) or _unreadable_but_listed(now, key)}


def _unreadable_but_listed(now: Moment, key: Key) -> bool:
    return now.memory.lists(key) and now.files.get(key, UNKNOWN).state == "away"


def _list(now: Moment, listed: set[Key]) -> Memory:
    """Remember the new list, which versions are on their way out, and which rows are older than the list."""
    memory = now.memory
    left = memory.held() - listed
    came = listed - memory.held()
    by_model: dict[str, list[int]] = {}
    for model, version in sorted(listed):
        by_model.setdefault(model, []).append(version)
    lists = {model: tuple(found) for model, found in by_model.items()}
    if now.rows is None:
        return replace(memory, listed=lists, departing=frozenset(), stale=frozenset())
    gone = {key for key in left if (row := now.row(key)) is None or row.state == "END"}
    stale = {key for key in came if (row := now.row(key)) is not None and row.state == "END"}
    return replace(
        memory,
        listed=lists,
        departing=(memory.departing | (left - gone)) - came,
        stale=(memory.stale | stale) & listed,
    )


def _status(now: Moment, key: Key) -> VersionStatus:
    """What may be said of one version."""
    memory = now.memory
    if key in memory.failed and key in now.wanted:
        return VersionStatus(State.FAILED, memory.failed[key].error)
    if key in memory.departing:
        return VersionStatus(State.UNLOADING)
    if now.serves(key):
        return VersionStatus(State.AVAILABLE if key in now.wanted else State.DRAINING)
    if memory.lists(key):
        return VersionStatus(State.LOADING)
    files = now.files.get(key, UNKNOWN)
    if files.state == "bad":
        return VersionStatus(State.FAILED, files.error)
    if files.state == "verifying":
        return VersionStatus(State.VERIFYING, done=files.done, total=files.total)
    return VersionStatus(State.PENDING)
