"""What a replica's model server should be told, and what may be said of it: a pure decision over one moment.

TF Serving's own status misleads: END rows stay for the life of the process, a row can say AVAILABLE after its version
left the configuration, and a re-added version is first unloaded (core/aspired_versions_manager.cc). So a row counts
only with what is remembered of the version beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from tfsdeploy.agent.replica.memory import Key, Mark, Memory
from tfsdeploy.protocol.agents import State, VersionStatus
from tfsdeploy.protocol.rest import StatusRow

Rows = Mapping[str, tuple[StatusRow, ...]]
"""The model server's own rows, by model."""

DEATHS_UNPROVEN = 2
"""One death may be an operator's or the kernel's doing; a version that was loading at two of them is to blame."""

DEATHS_PROVEN = 5

DIED = "the model server ended while this version was loading"


@dataclass(frozen=True, slots=True)
class Files:
    """What is known of one version's files.

    Attributes:
        state: ``away``: the store does not answer; ``refused``: it does not let this machine in, such as without
            rights; ``bad``: not what the release or the commit record says.
        error: what is wrong; empty unless bad, refused or away.
        done: bytes fetched or verified.
        total: bytes in all; 0 where that is not known.
        digest: of the bytes that are present.
        taken: other bytes are on this machine under this number, and some replica of it uses them.
    """

    state: Literal["unknown", "fetching", "verifying", "present", "bad", "refused", "away"]
    error: str = ""
    done: int = 0
    total: int = 0
    digest: str | None = None
    taken: bool = False


UNKNOWN = Files("unknown")


@dataclass(frozen=True, slots=True)
class Moment:
    """Everything the decision may look at.

    Attributes:
        wanted: the versions that the release holds, with their digests.
        files: what is known of their files.
        rows: what the model server says; None while none runs.
        memory: what is remembered.
        silent: a server runs, but does not answer: nothing is AVAILABLE, and its configuration stays.
        drained: versions that every gateway has stopped using.
        start_over: the server has not come up for so long that it is to start with nothing.
        reloaded: versions that a server may have loaded anew by itself, such as one that was started again, whose bytes
            were not looked at since or were found bad.
        overdue: versions whose END row has been taken for an old one for so long that it must be their own.
        unsure: versions that are AVAILABLE for the first time, and whose files were not seen whole since. What was read
            while a mount was away for a moment is not the version: a SavedModel without its variables loads.
        torn: those of them whose files were not all there.
        promotes: of the versions that a promote asks for, which run of it.
    """

    wanted: Mapping[Key, str | None]
    files: Mapping[Key, Files]
    rows: Rows | None
    memory: Memory
    silent: bool = False
    drained: frozenset[Key] = frozenset()
    start_over: bool = False
    reloaded: frozenset[Key] = frozenset()
    overdue: frozenset[Key] = frozenset()
    unsure: frozenset[Key] = frozenset()
    torn: frozenset[Key] = frozenset()
    promotes: Mapping[Key, str] = field(default_factory=dict)

    def row(self, key: Key) -> StatusRow | None:
        """The server's row of a version."""
        rows = (self.rows or {}).get(key[0], ())
        return next((row for row in rows if row.version == key[1]), None)

    def file(self, key: Key) -> Files:
        """What is known of a version's files."""
        return self.files.get(key, UNKNOWN)

    def keeps(self, key: Key) -> bool:
        """Whether a listed version is wanted as it is: under this number, and with these bytes."""
        return key in self.memory.listed and self.same(key, self.memory.listed[key])

    def same(self, key: Key, digest: str | None) -> bool:
        """Whether a version is wanted, and ``digest`` is that of the wanted bytes as far as anybody knows."""
        wanted = self.wanted.get(key) or self.file(key).digest
        return key in self.wanted and (digest is None or wanted in (None, digest))

    def serves(self, key: Key) -> bool:
        """Whether a version answers requests: listed, and AVAILABLE in a row that is not from an earlier life."""
        row = self.row(key)
        there = row is not None and row.state == "AVAILABLE"
        sure = key not in self.reloaded and key not in self.unsure
        return there and not self.silent and key in self.memory.listed and sure

    def damaged(self, key: Key) -> bool:
        """Whether a version may have been loaded from other bytes than those of its commit record, or not from all."""
        return key in self.torn or (key in self.reloaded and self.file(key).state == "bad")

    def presentable(self, key: Key) -> bool:
        """Whether a version may be listed: wanted, its bytes true, and not known to fail."""
        return key in self.wanted and key not in self.memory.failed and self.file(key).state == "present"


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows.

    Attributes:
        memory: what to remember; its ``listed`` is what ``models.config`` is to list.
        models: the status to publish: model -> version -> status.
        ready: everything that could be loaded is loaded.
        moving: the models of which something is expected to change soon.
        damaged: what is wrong with the files under a version that serves on; None if nothing is.
    """

    memory: Memory
    models: Mapping[str, Mapping[int, VersionStatus]] = field(default_factory=dict)
    ready: bool = False
    moving: frozenset[str] = frozenset()
    damaged: str | None = None


def decide(now: Moment) -> Decision:
    """The next configuration and the status."""
    now = replace(now, memory=_forget(now))
    if now.rows is None:
        now = replace(now, memory=_list(now, _for_the_next_server(now)))
    elif not now.silent:
        now = replace(now, memory=_learn(now))
        now = replace(now, memory=_list(now, _for_this_server(now)))
    statuses = {key: _status(now, key) for key in sorted({*now.wanted, *now.memory.listed, *now.memory.departing})}
    models: dict[str, dict[int, VersionStatus]] = {}
    for (model, version), status in statuses.items():
        models.setdefault(model, {})[version] = status
    done = {key for key, status in statuses.items() if status.state in (State.AVAILABLE, State.FAILED)}
    moving = frozenset(model for model, version in statuses if (model, version) not in done)
    return Decision(now.memory, models, _ready(now, statuses), moving, _damaged(now, statuses))


def _ready(now: Moment, statuses: Mapping[Key, VersionStatus]) -> bool:
    """Whether this replica may take another one's place: it has all that can be loaded, and something at all.

    One bad version takes no replica from the other models. But a replica that has nothing of what is wanted, or that
    the store does not let in, must not let a roll go on to the replicas that still serve.
    """
    if now.rows is None or now.silent:
        return False
    serving = {key for key, status in statuses.items() if status.state is State.AVAILABLE} & now.wanted.keys()
    given_up = {
        key for key, status in statuses.items() if status.state is State.FAILED and now.file(key).state != "refused"
    }
    return serving | given_up >= now.wanted.keys() and (bool(serving) or not now.wanted)


def _damaged(now: Moment, statuses: Mapping[Key, VersionStatus]) -> str | None:
    """What the next server could not load again although this one serves it."""
    serving = (key for key, status in statuses.items() if status.state is State.AVAILABLE)
    return next((now.file(key).error for key in serving if now.file(key).state == "bad"), None)


def died(memory: Memory, rows: Rows, promotes: Mapping[Key, str]) -> Memory:
    """The server's process ended: nothing of it is left, and what it may have been loading is suspect.

    Args:
        memory: what was remembered while it lived.
        rows: the last ones that it told.
        promotes: of the versions that a promote asks for, which run of it.
    """
    states = {(model, row.version): row.state for model, of_model in rows.items() for row in of_model}
    loading = {
        key for key in memory.listed if key in memory.stale or states.get(key) not in ("AVAILABLE", "UNLOADING", "END")
    }
    deaths = {**memory.deaths, **{key: memory.deaths.get(key, 0) + 1 for key in loading}}
    failed = dict(memory.failed)
    for key in loading:
        if deaths[key] >= (DEATHS_PROVEN if key in memory.proven else DEATHS_UNPROVEN):
            failed[key] = Mark(memory.listed[key], DIED, promotes.get(key))
    return replace(memory, deaths=deaths, failed=failed, departing=frozenset(), stale=frozenset())


def lost(memory: Memory, before: Rows, after: Rows) -> frozenset[Key]:
    """The listed versions that were AVAILABLE and are so no longer: the server has unloaded them by itself.

    Args:
        memory: what is remembered.
        before: the rows that were known.
        after: what the server says now of some models.
    """
    was = {(model, row.version) for model in after for row in before.get(model, ()) if row.state == "AVAILABLE"}
    return frozenset((was - _available(after)) & memory.listed.keys())


def _available(rows: Rows) -> set[Key]:
    return {(model, row.version) for model, of_model in rows.items() for row in of_model if row.state == "AVAILABLE"}


def arrived(memory: Memory, rows: Rows) -> frozenset[Key]:
    """The listed versions that are AVAILABLE, with bytes of which it is not known yet that this server loads them.

    Args:
        memory: what is remembered.
        rows: what the server says.
    """
    proven = memory.proven.items() & memory.listed.items()
    return frozenset(_available(rows) & memory.listed.keys() - {key for key, _ in proven})


def recovered(wanted: Mapping[Key, str | None], rows: Rows) -> Memory:
    """What may be taken for listed when nothing is remembered but a server serves: what it has, as far as wanted."""
    there = _available(rows)
    listed = {key: digest for key, digest in wanted.items() if key in there}
    return Memory(listed=listed, proven=listed)


def _forget(now: Moment) -> Memory:
    """What is no longer asked for, or asked for anew or with other bytes, gets another chance."""
    memory = now.memory
    # A promote that is asked again may follow so soon that nobody here saw the version leave.
    anew = {key for key, mark in memory.failed.items() if now.promotes.get(key, mark.promote) != mark.promote}
    return replace(
        memory,
        failed={k: mark for k, mark in memory.failed.items() if k not in anew and now.same(k, mark.digest)},
        proven={k: digest for k, digest in memory.proven.items() if k in memory.listed or now.same(k, digest)},
        deaths={key: count for key, count in memory.deaths.items() if key not in anew and key in now.wanted},
    )


def _learn(now: Moment) -> Memory:
    """What the server's rows say, with what is remembered of each version."""
    memory = now.memory
    # What the server has and models.config does not list is on its way out, until its END is there.
    there = {(m, row.version) for m, of_model in (now.rows or {}).items() for row in of_model if row.state != "END"}
    departing = frozenset(there - memory.listed.keys())
    stale = frozenset(k for k in memory.stale - now.overdue if (r := now.row(k)) is not None and r.state == "END")
    proven, failed, deaths = dict(memory.proven), dict(memory.failed), dict(memory.deaths)
    for key, digest in memory.listed.items():
        row = now.row(key)
        if row is None or key in stale or key in now.unsure:
            continue
        if row.state == "AVAILABLE":
            proven[key] = digest
            deaths.pop(key, None)
        elif row.state == "END" and row.code != "OK":
            failed[key] = Mark(digest, row.message or row.code, now.promotes.get(key))
            deaths.pop(key, None)
    return replace(memory, departing=departing, stale=stale, proven=proven, failed=failed, deaths=deaths)


def _for_this_server(now: Moment) -> set[Key]:
    """What the running server is to hold."""
    memory = now.memory
    stays = {
        key
        for key in memory.listed
        if key not in memory.failed
        and not now.damaged(key)
        and (now.keeps(key) or (now.serves(key) and key not in now.drained))
    }
    loading = {key for key in stays if not now.serves(key) and now.file(key).state != "bad"}
    if loading & memory.deaths.keys():
        return stays  # a suspect is tried alone
    names, settled = {model for model, _ in memory.listed}, _settled(now)
    # Adding a name blocks TF Serving's configuration thread until the name has a version, so names come one by one.
    free = {model for model, _ in stays} <= settled
    added: set[Key] = set()
    for key in sorted(now.wanted, key=lambda key: (key in memory.deaths, key)):
        if key in memory.listed or key in memory.departing or not now.presentable(key):
            continue
        if key in memory.deaths and (loading or added):
            break
        # One version brings a name in; its others follow when it has settled.
        if not (key[0] in settled if key[0] in names else free):
            continue
        free = free and key[0] in names
        added.add(key)
    return stays | added


def _settled(now: Moment) -> set[str]:
    """The listed names of which the server has come to an end with at least one version."""
    own = {key: row.state for key in now.memory.listed if (row := now.row(key)) and key not in now.memory.stale}
    return {model for (model, _), state in own.items() if state in ("AVAILABLE", "END")}


def _for_the_next_server(now: Moment) -> set[Key]:
    """What the next server is to start with: only what is known to load, for one bad version would end it.

    A store that is away for a moment takes nothing from what was listed.
    """
    if now.start_over:
        return set()
    usable = {key for key, digest in now.memory.proven.items() if now.same(key, digest)} - now.memory.failed.keys()
    return {key for key in usable if now.presentable(key) or (now.keeps(key) and now.file(key).state != "bad")}


def _list(now: Moment, listed: set[Key]) -> Memory:
    """Remember the new list, which versions are on their way out, and which rows are older than the list."""
    memory = now.memory
    digests = {key: memory.listed[key] if key in memory.listed else now.file(key).digest for key in sorted(listed)}
    if now.rows is None:
        return replace(memory, listed=digests, departing=frozenset(), stale=frozenset())
    left = {key for key in memory.listed.keys() - listed if (row := now.row(key)) is not None and row.state != "END"}
    stale = {key for key in listed - memory.listed.keys() if (row := now.row(key)) is not None and row.state == "END"}
    return replace(memory, listed=digests, departing=memory.departing | left, stale=(memory.stale & listed) | stale)


def _status(now: Moment, key: Key) -> VersionStatus:
    """What may be said of one version."""
    memory, files = now.memory, now.file(key)
    if key in memory.failed and key in now.wanted:
        return VersionStatus(State.FAILED, memory.failed[key].error)
    if key in memory.departing:
        return VersionStatus(State.UNLOADING)
    if key in memory.listed and not now.keeps(key):
        return VersionStatus(State.DRAINING)
    if now.serves(key):
        return VersionStatus(State.AVAILABLE)
    if files.state in ("bad", "refused"):
        return VersionStatus(State.FAILED, files.error)
    if key in memory.listed:
        return VersionStatus(State.LOADING)
    if files.state == "fetching":
        return VersionStatus(State.FETCHING, done=files.done, total=files.total)
    if files.state == "verifying":
        return VersionStatus(State.VERIFYING, done=files.done, total=files.total)
    return VersionStatus(State.PENDING, files.error or None)
