"""A store that only the replicas can reach, such as a claim in a cluster, read through one of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from tfsdeploy.errors import TfsdeployError, UsageError
from tfsdeploy.store.golden import Golden, file_in, parse
from tfsdeploy.store.record import InvalidRecord, Record, decode
from tfsdeploy.store.savedmodel import SavedModelInfo, from_plain
from tfsdeploy.store.store import true_content, trusted, trusted_keys
from tfsdeploy.targets.base import ReplicaAddress

ANSWER_SECONDS = 20.0
"""Shared storage may be slow; a large graph takes some seconds to read."""


class NoReplica(TfsdeployError):
    """No replica answers, as before the first `up`: nobody knows what the store holds."""


class HasReplicas(Protocol):
    """Of a target: the replicas that should be there."""

    def replicas(self) -> tuple[ReplicaAddress, ...]:
        """By name."""


class ReplicaModels:
    """The models of a store that is read through whichever replica answers first.

    Args:
        target: where the replicas are.
        url: of the store, for messages.
        options: of the store: whose signatures are asked for.
    """

    def __init__(self, target: HasReplicas, url: str, options: Mapping[str, object] | None = None) -> None:
        self._target = target
        self.url = url
        self._trusted = trusted_keys(options)

    def models(self) -> list[str]:
        """The names of the models that have a folder, sorted."""
        return list(_found(self._ask(""))["models"])

    def newest(self, model: str) -> int | None:
        """The highest committed version; None if there is none, or no replica answers."""
        return max(self.versions(model) or (), default=None)

    def versions(self, model: str) -> tuple[int, ...] | None:
        """The committed versions, lowest first; None if no replica answers."""
        try:
            return tuple(_found(self._ask(f"/{model}"))["versions"])
        except NoReplica:
            return None

    def uncommitted(self, model: str) -> list[int]:
        """The numbers of folders without a commit record, ascending."""
        return list(_found(self._ask(f"/{model}"))["uncommitted"])

    def record(self, model: str, version: int) -> Record | None:
        """A version's commit record; None if it is not committed.

        Raises:
            InvalidRecord: it is damaged, or has no signature that is asked for, here or by the replica.
        """
        body = self._ask(f"/{model}/{version}/record")
        return None if body is None else trusted(decode(body, f"{self.url}/{model}/{version}"), self._trusted)

    def digest(self, model: str, version: int) -> str | None:
        """The digest of a version's commit record; None if it is not committed, or no replica answers."""
        try:
            record = self.record(model, version)
        except NoReplica:
            return None
        return None if record is None else record.digest

    def inspect(self, model: str, version: int) -> SavedModelInfo:
        """What a version's SavedModel says of itself.

        Raises:
            UsageError: it is no sound SavedModel.
        """
        return from_plain(_found(self._ask(f"/{model}/{version}/description")))

    def golden(self, record: Record) -> tuple[Golden, ...]:
        """A version's golden requests; empty if it has none, or the replicas are of a version that does not tell them.

        Raises:
            UsageError: they cannot be understood.
            Damaged: their bytes are not those of the commit record.
        """
        file = file_in(record)
        body = None if file is None else self._ask(f"/{record.model}/{record.version}/golden")
        if file is None or body is None:
            return ()
        where = f"{self.url}/{record.model}/{record.version}/{file.path}"
        return parse(true_content(body, record, file), where)

    def _ask(self, path: str) -> bytes | None:
        """One page, from the first replica that has an answer; None if it has no such page.

        Raises:
            UsageError: what is asked for is not what it should be; in the replica's own words.
            NoReplica: none answers.
        """
        reasons = []
        for replica in self._target.replicas():
            try:
                with urlopen(f"{replica.status}/v1/store{path}", timeout=ANSWER_SECONDS) as answer:
                    found: bytes = answer.read()
                    return found
            except HTTPError as error:
                with error:
                    words = error.read().decode(errors="replace")
                if error.code == 404:
                    return None
                if error.code == 409:
                    raise InvalidRecord(words, where=replica.name) from error
                if error.code == 422:
                    raise UsageError(words, where=replica.name) from error
                reasons.append(f"{replica.name}: {words}")
            except (URLError, OSError) as error:
                reasons.append(f"{replica.name}: {error}")
        raise NoReplica(
            f"the store can only be read by replicas, and none answers: {'; '.join(reasons) or 'there is none'}",
            where=self.url,
            hint="`tfsdeploy up` starts them, `tfsdeploy status` says why they do not answer",
        )


def _found(body: bytes | None) -> Mapping[str, Any]:
    return {"versions": [], "uncommitted": [], "models": []} if body is None else json.loads(body)
