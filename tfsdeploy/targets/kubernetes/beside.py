"""A command that runs beside the gateways, as a Job: a way through the API server would measure itself."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.report import Report
from tfsdeploy.targets.base import Ran
from tfsdeploy.targets.kubernetes.apply import HOPELESS_SECONDS
from tfsdeploy.targets.kubernetes.connection import Collision
from tfsdeploy.targets.kubernetes.kinds import EVENT, INVENTORY_LABEL, POD, kind_named
from tfsdeploy.targets.kubernetes.objects import Manifest, Objects
from tfsdeploy.targets.kubernetes.waiting import is_hopeless, pod_reasons

START_SECONDS = 120.0
LOOK_SECONDS = 0.3
KEPT_SECONDS = 300
"""How long Kubernetes keeps the Job of a command that was killed before it could remove it."""

_JOB = kind_named("Job")
_PLACED = ("imagePullSecrets", "nodeSelector", "tolerations", "priorityClassName", "securityContext")


def run(objects: Objects, gateway: Manifest, args: Sequence[str], report: Report, *, seconds: float) -> Ran:
    """Run ``tfsdeploy ARGS`` in a pod like the gateways', and remove it again, whatever happens.

    Args:
        objects: of the fleet's namespace.
        gateway: the gateways' Deployment, whose agent's image and place are taken.
        args: of the command line.
        report: hears what is waited for.
        seconds: how long it takes once it runs.

    Raises:
        TfsdeployError: the pod did not start, or did not end in time.
    """
    job = job_like(gateway, args, seconds)
    name = job["metadata"]["name"]
    try:
        # Nobody else has its name: if it is there already, an answer was lost.
        with suppress(Collision):
            objects.create(job, known=True)
        return _ended(objects, name, report, time.monotonic() + START_SECONDS + seconds)
    finally:
        objects.delete(_JOB, name)


def job_like(gateway: Mapping[str, Any], args: Sequence[str], seconds: float) -> Manifest:
    """The Job, under a name of its own; see `run`."""
    pod = gateway["spec"]["template"]["spec"]
    agent = next(row for row in (*pod.get("initContainers", ()), *pod["containers"]) if row["name"] == "agent")
    # Not by the label `instance`: Argo CD may put its application's name there.
    fleet = gateway["metadata"]["labels"][INVENTORY_LABEL]
    labels = {
        "app.kubernetes.io/name": "tfsdeploy",
        "app.kubernetes.io/instance": fleet,
        "app.kubernetes.io/component": "bench",
        "app.kubernetes.io/managed-by": "tfsdeploy",
    }
    alike = ("image", "imagePullPolicy", "resources", "securityContext")
    container = {key: agent[key] for key in alike if key in agent}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        # Known before it is made: who is interrupted while it is being made removes it all the same.
        "metadata": {"name": f"{fleet}-bench-{uuid.uuid4().hex[:8]}", "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": round(START_SECONDS + seconds),
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    **{key: pod[key] for key in _PLACED if key in pod},
                    "automountServiceAccountToken": False,
                    "restartPolicy": "Never",
                    "containers": [{"name": "bench", "args": list(args), **container}],
                },
            },
        },
    }


def _ended(objects: Objects, job: str, report: Report, until: float) -> Ran:
    told, hopeless_since = "", None
    while True:
        pods = objects.list(POD, f"job-name={job}")
        for pod in pods:
            ended = [row["state"].get("terminated") for row in pod["status"].get("containerStatuses", [])]
            if ended and ended[0]:
                return Ran(ended[0]["exitCode"], objects.log(pod["metadata"]["name"], "bench", tail=10000))
        events = objects.list(EVENT, fields="type=Warning")
        reasons = "; ".join(f"pod {pod['metadata']['name']}: {why}" for pod in pods for why in pod_reasons(pod, events))
        now = time.monotonic()
        hopeless_since = (hopeless_since or now) if is_hopeless(pods) else None
        if now > until or (hopeless_since and now - hopeless_since > HOPELESS_SECONDS):
            raise TfsdeployError(
                f"it did not end in time: {reasons or 'there is no pod'}",
                where=f"job {job}",
                hint="it is removed again",
            )
        if reasons and reasons != told:
            report.waiting(reasons)
            told = reasons
        time.sleep(LOOK_SECONDS)
