"""Why a Deployment or Job is not done yet, in the words that a person needs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Manifest = Mapping[str, Any]

_STUCK = (
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
)
"""Reasons of a waiting container that do not pass by themselves (kubelet, pkg/kubelet/images and kuberuntime)."""


def reasons(deployment: Manifest, pods: Sequence[Manifest], events: Sequence[Manifest]) -> tuple[str, ...]:
    """What a Deployment waits for; empty if it is as wanted.

    Args:
        deployment: as the API server has it.
        pods: those that its selector finds.
        events: warnings of the namespace.
    """
    if _is_done(deployment):
        return ()
    found = [
        f"deployment {deployment['metadata']['name']}: {condition['message']}"
        for condition in deployment.get("status", {}).get("conditions", [])
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True"
    ]
    for pod in pods:
        found += [f"pod {pod['metadata']['name']}: {why}" for why in pod_reasons(pod, events)]
    return tuple(found) or (f"deployment {deployment['metadata']['name']}: {_counts(deployment)}",)


def crashed(pods: Sequence[Manifest]) -> Iterator[tuple[str, str]]:
    """The containers, as pod and container, whose last log lines tell why they ended; pods that are well have none."""
    for pod in pods:
        if _is_true(pod, "Ready"):
            continue
        for status in _containers(pod):
            ended = status.get("lastState", {}).get("terminated") or status.get("state", {}).get("terminated")
            if ended and ended.get("exitCode"):
                yield pod["metadata"]["name"], status["name"]


def is_hopeless(pods: Sequence[Manifest]) -> bool:
    """Whether something waits for what does not come by itself, such as an image that does not exist."""
    return any(_waiting(status) in _STUCK for pod in pods for status in _containers(pod))


def _is_done(deployment: Manifest) -> bool:
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
    )


def _counts(deployment: Manifest) -> str:
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    old = status.get("replicas", 0) - status.get("updatedReplicas", 0)
    words = f"{status.get('availableReplicas', 0)} of {wanted} are ready"
    return f"{words}, {old} old to leave" if old > 0 else words


def pod_reasons(pod: Manifest, events: Sequence[Manifest]) -> Iterator[str]:
    """Why a pod is not ready; nothing if it is."""
    status = pod.get("status", {})
    if pod["metadata"].get("deletionTimestamp"):
        yield "is leaving"
        return
    if _is_true(pod, "Ready"):
        return
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield condition.get("message", "is not scheduled")
            return
    said = [why for found in _containers(pod) if (why := _container_reason(found))]
    yield from said
    if not said:
        yield _last_warning(pod, events) or f"{status.get('phase', 'Pending')}, not ready"


def _container_reason(status: Manifest) -> str:
    waiting = status.get("state", {}).get("waiting") or {}
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    last = status.get("lastState", {}).get("terminated") or {}
    if last and reason in ("CrashLoopBackOff", ""):
        killed = f", {last['reason']}" if last.get("reason") not in (None, "Error", "Completed") else ""
        return f"container {status['name']} ended with {last['exitCode']}{killed}, {status['restartCount']} restarts"
    if reason in _STUCK:
        return f"container {status['name']}: {reason}: {message or status['image']}"
    return ""


def _last_warning(pod: Manifest, events: Sequence[Manifest]) -> str:
    mine = [event for event in events if event["involvedObject"].get("uid") == pod["metadata"]["uid"]]
    latest = max(mine, key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "", default=None)
    return "" if latest is None else str(latest["message"])


def _containers(pod: Manifest) -> list[Manifest]:
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def _waiting(status: Manifest) -> str:
    return str((status.get("state", {}).get("waiting") or {}).get("reason", ""))


def _is_true(pod: Manifest, condition: str) -> bool:
    found = pod.get("status", {}).get("conditions", [])
    return any(row["type"] == condition and row["status"] == "True" for row in found)
