"""Make the objects of a fleet as they are rendered: applied in order, waited for, and what left the fleet is pruned."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.report import Report
from tfsdeploy.targets.kubernetes.kinds import EVENT, KINDS, POD, kind_named, kind_of, words
from tfsdeploy.targets.kubernetes.objects import (
    FIELD_MANAGER,
    INSTANCE,
    MANAGED_BY,
    Manifest,
    Objects,
    helm_release,
    is_ours,
)
from tfsdeploy.targets.kubernetes.waiting import crashed, is_hopeless, reasons

LOOK_SECONDS = 0.5

HOPELESS_SECONDS = 20.0
"""How long what does not come by itself may last before it is given up: an image may be loaded at this moment."""

LOG_LINES = 10

_SERVERS_OWN = ("resourceVersion", "generation", "managedFields", "uid", "creationTimestamp")


Pair = tuple[Manifest, Manifest | None]
"""An object as it is rendered, and as it is there; None: it is not."""


def pairs(objects: Objects, fleet: str, wanted: Sequence[Manifest]) -> list[Pair]:
    """Each object that is rendered, with what stands under its name.

    Raises:
        TfsdeployError: somebody else has made some of them, which are not taken over; names all; nothing was changed.
    """
    found = [(manifest, objects.get(kind_of(manifest), manifest["metadata"]["name"])) for manifest in wanted]
    namespace = objects.connection.namespace
    foreign = [words(there) for _, there in found if there is not None and not is_ours(there, fleet, namespace)]
    if foreign:
        raise TfsdeployError(
            f"not made by tfsdeploy for fleet {fleet}: {', '.join(foreign)}",
            where=f"namespace {namespace}",
            hint="give the fleet another name or namespace, or remove what is there",
        )
    return found


def leftovers(objects: Objects, fleet: str, wanted: Sequence[Manifest], kept: Sequence[str]) -> Iterator[Manifest]:
    """The fleet's objects that are no longer rendered.

    Args:
        objects: of the namespace.
        fleet: its name.
        wanted: what is rendered.
        kept: names that are the fleet's state, and never rendered.
    """
    names = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in wanted}
    for kind in reversed(KINDS):
        for there in objects.owned(kind, fleet):
            name = there["metadata"]["name"]
            if (kind.name, name) not in names and name not in kept:
                yield {"kind": kind.name, **there}


def difference(objects: Objects, manifest: Manifest, there: Manifest | None) -> list[str]:
    """What the API server would change of one object, a line each; empty: nothing."""
    if there is None:
        # Whoever may not do everything can bind a Role only when it is there, and it is as new as this.
        if manifest["kind"] != "RoleBinding":
            objects.apply(manifest, dry_run=True)
        return [f"create  {words(manifest)}"]
    after = objects.apply(_signed_alike(manifest, there), dry_run=True)
    if manifest["kind"] == "Deployment" and "replicas" not in manifest["spec"]:
        # `apply` hands it over to the autoscaler as it is.
        after["spec"]["replicas"] = there["spec"]["replicas"]
    return [f"change  {words(manifest)}: {line}" for line in _compare(_essence(there), _essence(after), "")]


def apply(objects: Objects, fleet: str, manifest: Manifest, there: Manifest | None) -> Manifest:
    """Apply one object; the number of replicas passes from the file to an autoscaler, or back, without a step."""
    if manifest["kind"] != "Deployment" or there is None:
        return objects.apply(manifest)
    wanted = manifest["spec"].get("replicas")
    autoscaler = kind_named("HorizontalPodAutoscaler")
    if wanted is None:
        if there["spec"]["replicas"] and _manages_replicas(there):
            objects.hold_replicas(there, there["spec"]["replicas"])
        return objects.apply(manifest)
    name = there["metadata"]["name"]
    if name not in (one["metadata"]["name"] for one in objects.owned(autoscaler, fleet)):
        return objects.apply(manifest)
    objects.delete(autoscaler, name)
    objects.hold_replicas(there, wanted)
    done = objects.apply(manifest)
    objects.hold_replicas(there, None)
    return done


def _manages_replicas(there: Manifest) -> bool:
    """Whether the number of replicas is still ours, from a fleet file that named it."""
    return any(
        entry["manager"] == FIELD_MANAGER and "f:replicas" in entry["fieldsV1"].get("f:spec", {})
        for entry in there["metadata"].get("managedFields", ())
    )


def wait_for(objects: Objects, deployments: Sequence[str], report: Report, timeout: float) -> None:
    """Wait until Deployments are as wanted, and tell what for.

    Raises:
        TfsdeployError: they are not in time, or wait for what does not come; with the last log lines of what ended.
    """
    until = time.monotonic() + timeout
    hopeless_since: float | None = None
    told: tuple[str, ...] = ()
    while True:
        missing, pods = _look(objects, deployments)
        if not missing:
            return
        if missing != told:
            report.waiting("; ".join(missing))
            told = missing
        now = time.monotonic()
        hopeless_since = (hopeless_since or now) if is_hopeless(pods) else None
        if now > until or (hopeless_since is not None and now - hopeless_since > HOPELESS_SECONDS):
            said = _last_words(objects, pods)
            raise TfsdeployError(
                "; ".join((*missing, said) if said else missing),
                where=f"namespace {objects.connection.namespace}",
                hint="what served before serves on; mend the cause and run `tfsdeploy up` again",
            )
        time.sleep(LOOK_SECONDS)


def _signed_alike(manifest: Manifest, there: Manifest) -> Manifest:
    """The manifest with the signature of the tool that has made the object: Helm and Argo CD put theirs over ours."""
    signed = [*([MANAGED_BY] if helm_release(there) is not None else []), *([INSTANCE] if _is_argo_s(there) else [])]
    metadata, kept = manifest["metadata"], there["metadata"]["labels"]
    labels = {**metadata["labels"], **{label: kept[label] for label in signed if label in kept}}
    return {**manifest, "metadata": {**metadata, "labels": labels}}


def _is_argo_s(there: Manifest) -> bool:
    """Whether Argo CD has written its application's name on an object (argo-cd.readthedocs.io, "Resource Tracking")."""
    return any(
        entry["manager"].startswith("argocd")
        and f"f:{INSTANCE}" in entry["fieldsV1"].get("f:metadata", {}).get("f:labels", {})
        for entry in there["metadata"].get("managedFields", ())
    )


def _look(objects: Objects, deployments: Sequence[str]) -> tuple[tuple[str, ...], list[Manifest]]:
    missing: list[str] = []
    pods: list[Manifest] = []
    events = objects.list(EVENT, fields="type=Warning")
    for name in deployments:
        deployment = objects.get(kind_named("Deployment"), name)
        if deployment is None:
            missing.append(f"deployment {name}: it is gone")
            continue
        labels = deployment["spec"]["selector"]["matchLabels"]
        mine = objects.list(POD, ",".join(f"{key}={value}" for key, value in labels.items()))
        missing += reasons(deployment, mine, events)
        pods += mine
    return tuple(missing), pods


def _last_words(objects: Objects, pods: Sequence[Manifest]) -> str:
    """What a container that ended said last; empty if none did, or its log cannot be read."""
    with suppress(TfsdeployError):
        for pod, container in crashed(pods):
            lines = objects.log(pod, container, tail=LOG_LINES, previous=True) or objects.log(
                pod, container, tail=LOG_LINES
            )
            if lines:
                return f"{pod} {container} said: {' | '.join(lines.strip().splitlines())}"
    return ""


def _essence(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """An object without what the server keeps for itself."""
    metadata = {key: value for key, value in manifest["metadata"].items() if key not in _SERVERS_OWN}
    return {key: value for key, value in manifest.items() if key != "status"} | {"metadata": metadata}


def _compare(before: Any, after: Any, path: str) -> Iterator[str]:
    """Where two documents differ: the path, and both values."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from _compare(before.get(key), after.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _compare(one, other, f"{path}[{number}]")
    elif isinstance(before, list) and isinstance(after, list):
        yield from (f"{path}: - {_shown(item)}" for item in before if item not in after)
        yield from (f"{path}: + {_shown(item)}" for item in after if item not in before)
    elif before != after:
        yield f"{path}: {_shown(before)} -> {_shown(after)}"


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
