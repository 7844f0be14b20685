"""The objects of one namespace: read, listed, applied by the server, created, replaced, deleted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.release.configmap import Away
from tfsdeploy.targets.kubernetes.connection import Collision, Connection, Denied, NotThere
from tfsdeploy.targets.kubernetes.kinds import INVENTORY_LABEL, NAMESPACE_LABEL, POD, Kind, kind_of, words

FIELD_MANAGER = "tfsdeploy"

SCALE_MANAGER = "tfsdeploy-scale"
"""Has the number of replicas while it passes from the fleet file to an autoscaler or back: what one manager lets go of
and no other has falls back to its default (kubernetes.io, "Server-Side Apply", "Transferring ownership")."""

Manifest = dict[str, Any]

MANAGED_BY, INSTANCE = "app.kubernetes.io/managed-by", "app.kubernetes.io/instance"

_HELM_NAME = "meta.helm.sh/release-name"
_HELM_NAMESPACE = "meta.helm.sh/release-namespace"


class Objects:
    """What a connection can do with objects.

    Args:
        connection: to the cluster; its namespace is meant wherever a kind has one.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def get(self, kind: Kind, name: str) -> Manifest | None:
        """One object; None if it is not there."""
        try:
            return self.connection.document("GET", self._path(kind, name))
        except NotThere:
            return None

    def list(self, kind: Kind, selector: str = "", fields: str = "") -> list[Manifest]:
        """The objects of a kind, by name; none of a kind that the cluster does not have."""
        query = {"labelSelector": selector, "fieldSelector": fields}
        try:
            answer = self.connection.document("GET", self._path(kind), query={k: v for k, v in query.items() if v})
        except NotThere:
            return []
        head = {"apiVersion": kind.api.partition("/")[2], "kind": kind.name}
        return sorted(({**head, **item} for item in answer["items"]), key=lambda item: str(item["metadata"]["name"]))

    def owned(self, kind: Kind, fleet: str) -> Iterator[Manifest]:
        """The objects of a kind that are a fleet's; of a rare kind none, if the user may not even list them."""
        selector = f"{INVENTORY_LABEL}={fleet}"
        if not kind.namespaced:
            selector += f",{NAMESPACE_LABEL}={self.connection.namespace}"
        try:
            yield from self.list(kind, selector)
        except Denied:
            if not kind.rare:
                raise

    def apply(self, manifest: Manifest, *, dry_run: bool = False) -> Manifest:
        """Server-side apply with our field manager; returns the object as it is then, or would be.

        Raises:
            TfsdeployError: another field manager owns a field that differs (says which), or the server refuses.
        """
        # What would change can be told whoever owns it; to change it is another matter.
        how = {"force": "true", "dryRun": "All"} if dry_run else {"force": "false"}
        query = {"fieldManager": FIELD_MANAGER, **how}
        try:
            return self.connection.document(
                "PATCH",
                self._path(kind_of(manifest), manifest["metadata"]["name"]),
                query=query,
                body=json.dumps(manifest).encode(),
                content_type="application/apply-patch+yaml",
            )
        except Collision as error:
            render = f"tfsdeploy render -t kubernetes --namespace {self.connection.namespace} -o -"
            force = f"kubectl apply --server-side --field-manager={FIELD_MANAGER} --force-conflicts -f -"
            raise TfsdeployError(
                f"another tool has set what the fleet file says otherwise: {error}",
                where=words(manifest),
                hint=f"let the file say the same; or, if the file is right: {render} | {force}",
            ) from error
        except NotThere as error:
            raise TfsdeployError(
                f"it cannot be made: {error}", where=words(manifest), hint=self._lacking(kind_of(manifest))
            ) from error

    def _lacking(self, kind: Kind) -> str:
        """What must be there before an object of a kind can be made."""
        if kind.installed:
            resource = f"{kind.plural}.{kind.group}"
            return f"the cluster has no {resource}: install what brings them, or leave them out of the fleet file"
        namespace = self.connection.namespace
        return f"the namespace {namespace} must exist: kubectl create namespace {namespace}"

    def hold_replicas(self, deployment: Manifest, replicas: int | None) -> None:
        """Set the number of replicas of a Deployment, whoever has it, in the name of nobody who applies the rest.

        Args:
            deployment: as it is there.
            replicas: how many; None: let go of the number.
        """
        head = {key: deployment[key] for key in ("apiVersion", "kind")}
        body = {**head, "metadata": {"name": deployment["metadata"]["name"]}}
        if replicas is not None:
            body["spec"] = {"replicas": replicas}
        self.connection.ask(
            "PATCH",
            self._path(kind_of(deployment), deployment["metadata"]["name"]),
            query={"fieldManager": SCALE_MANAGER, "force": "true"},
            body=json.dumps(body).encode(),
            content_type="application/apply-patch+yaml",
        )

    def create(self, manifest: Manifest, *, known: bool = False) -> Manifest:
        """Make an object.

        Args:
            manifest: the object.
            known: whoever calls can tell it from those of others, so that it may be asked for again.

        Raises:
            Collision: it exists; if it is ``known``, perhaps because an answer was lost.
        """
        return self.connection.document(
            "POST", self._path(kind_of(manifest)), body=json.dumps(manifest).encode(), safe=known
        )

    def replace(self, manifest: Manifest) -> Manifest:
        """Replace an object as it was read.

        Raises:
            Collision: its resourceVersion is no longer the present one.
            NotThere: it is gone.
        """
        path = self._path(kind_of(manifest), manifest["metadata"]["name"])
        return self.connection.document("PUT", path, body=json.dumps(manifest).encode(), safe=False)

    def delete(self, kind: Kind, name: str, as_read: Manifest | None = None) -> None:
        """Delete an object, and after it what it has made; done already if it is not there.

        Raises:
            Collision: it is not ``as_read`` any more.
        """
        options: dict[str, Any] = {"propagationPolicy": "Background"}
        if as_read is not None:
            options["preconditions"] = {key: as_read["metadata"][key] for key in ("uid", "resourceVersion")}
        try:
            self.connection.ask("DELETE", self._path(kind, name), body=json.dumps(options).encode())
        except NotThere:
            return

    def may(self, verb: str, kind: Kind, part: str = "") -> bool:
        """Whether the user may do this to objects of a kind, or to a part of them (SelfSubjectAccessReview)."""
        attributes = {"verb": verb, "group": kind.group, "resource": kind.plural, "subresource": part}
        if kind.namespaced:
            attributes["namespace"] = self.connection.namespace
        return bool(self._review("SelfSubjectAccessReview", {"resourceAttributes": attributes})["allowed"])

    def rules(self) -> Sequence[Mapping[str, Any]]:
        """What the user may do in the namespace, as far as the API server can tell (SelfSubjectRulesReview)."""
        status = self._review("SelfSubjectRulesReview", {"namespace": self.connection.namespace})
        return tuple(status.get("resourceRules") or ())

    def _review(self, kind: str, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}
        path = f"apis/authorization.k8s.io/v1/{kind.lower()}s"
        status: Mapping[str, Any] = self.connection.document("POST", path, body=json.dumps(body).encode())["status"]
        return status

    def log(self, pod: str, container: str, *, tail: int, previous: bool = False) -> str:
        """The last lines of a container's log; empty if it has none.

        Raises:
            Denied: the user may not read it.
            Away: the API server does not answer.
        """
        query = {"container": container, "tailLines": str(tail), **({"previous": "true"} if previous else {})}
        try:
            # The answer does not say that it is UTF-8, and would be taken for Latin 1.
            answer = self.connection.ask("GET", f"{self._path(POD, pod)}/log", query=query)
            return answer.content.decode(errors="replace")
        except (Away, Denied):
            raise
        except (NotThere, TfsdeployError):
            return ""

    def follow_log(self, pod: str, container: str, *, tail: int, after: str = "") -> Iterator[tuple[str, str]]:
        """The last lines of a container's log, and each new one until it ends: its time (RFC 3339), and its text.

        Args:
            pod: its name.
            container: its name.
            tail: how many older lines.
            after: the time of the last line that is known already; then ``tail`` does not count.

        Raises:
            NotThere: no such pod.
            OSError: the connection broke.
        """
        begin = {"sinceTime": after} if after else {"tailLines": str(tail)}
        query = {"container": container, "follow": "true", "timestamps": "true", **begin}
        with self.connection.ask("GET", f"{self._path(POD, pod)}/log", query=query, stream=True) as answer:
            for line in answer.iter_lines():
                at, _, text = line.decode(errors="replace").partition(" ")
                # The time that is asked for counts in whole seconds.
                if at > after:
                    yield at, text

    def _path(self, kind: Kind, name: str = "") -> str:
        place = f"namespaces/{self.connection.namespace}/" if kind.namespaced else ""
        return f"{kind.api}/{place}{kind.plural}{'/' if name else ''}{name}"


def is_ours(manifest: Mapping[str, Any], fleet: str, namespace: str) -> bool:
    """Whether an object belongs to a fleet of a namespace."""
    labels = dict(manifest["metadata"].get("labels") or {})
    where = manifest["metadata"].get("namespace") or labels.get(NAMESPACE_LABEL)
    return (labels.get(INVENTORY_LABEL), where) == (fleet, namespace)


@dataclass(frozen=True, slots=True)
class HelmRelease:
    """The installation of a chart that an object belongs to.

    Attributes:
        name: as `helm list` shows it.
        namespace: where Helm keeps it, which may be another than the object's.
    """

    name: str
    namespace: str

    def __str__(self) -> str:
        return f"Helm release {self.name} of namespace {self.namespace}"


def helm_release(manifest: Mapping[str, Any]) -> HelmRelease | None:
    """Whose an object is by the annotations with which Helm takes possession; None: no release's."""
    annotations = manifest["metadata"].get("annotations") or {}
    if _HELM_NAME not in annotations:
        return None
    return HelmRelease(annotations[_HELM_NAME], annotations.get(_HELM_NAMESPACE, ""))
