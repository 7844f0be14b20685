"""One namespace of the cluster, with hands for tests."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any

from tests.cluster.cluster import Cluster

LIMIT = 180.0

OF_TESTS = "tfsdeploy-tests"
"""The label of tests' namespaces: the process that runs the tests."""


class Namespace:
    """A namespace; making the object touches nothing.

    Args:
        cluster: where.
        name: of the namespace.
    """

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name

    def create(self) -> None:
        """Make it, at the `restricted` level of Pod Security."""
        labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
        labels[OF_TESTS] = str(os.getpid())
        self.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name, "labels": labels}})

    def delete(self) -> None:
        """Begin to remove it and all that is in it, which takes Kubernetes seconds: the next test need not wait."""
        self.cluster.kubectl("delete", "namespace", self.name, "--wait=false", "--ignore-not-found")
        # In this order: no pod is made anew in a namespace that ends.
        self.kubectl("delete", "pods", "--all", "--now", "--wait=false", check=False)

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Make objects, or change them."""
        self.cluster.apply(*objects, namespace=self.name)

    def kubectl(self, *words: str, check: bool = True) -> str:
        """What kubectl prints about this namespace."""
        return self.cluster.kubectl("--namespace", self.name, *words, check=check)

    def get(self, kind: str, *words: str) -> list[dict[str, Any]]:
        """Objects of a kind."""
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", kind, *words, "-o", "json"))["items"]
        return found

    def wait(self, what: str, check: Callable[[], Any], seconds: float = LIMIT) -> Any:
        """Wait until something is so; what the pods are about is in the failure's words."""
        end = time.monotonic() + seconds
        while not (found := check()):
            assert time.monotonic() < end, f"not in {seconds:g} s: {what}\n{self.told()}"
            time.sleep(0.05)
        return found

    def told(self) -> str:
        """Pods, events and the last words of every container."""
        words = [self.kubectl("get", "pods", "-o", "wide", check=False)]
        words.append(self.kubectl("get", "events", "--sort-by=.lastTimestamp", check=False)[-3000:])
        for pod in self.kubectl("get", "pods", "-o", "name", check=False).split():
            log = self.kubectl("logs", pod, "--all-containers", "--prefix", "--tail=30", check=False)
            words.append(log)
        return "\n".join(words)

    def ask(self, url: str, body: object = None, seconds: float = 20.0) -> tuple[int, Any]:
        """A request from inside the cluster's network; ``(0, words)`` if nobody answers."""
        argv = ["curl", "--silent", "--show-error", "--max-time", f"{seconds:g}", "--write-out", "\n%{http_code}", url]
        if body is not None:
            argv += ["--data", json.dumps(body)]
        done = subprocess.run(self.cluster.machine(1).inside(*argv), capture_output=True, text=True, check=False)
        if done.returncode:
            return 0, done.stderr.strip()
        text, _, code = done.stdout.rpartition("\n")
        try:
            return int(code), json.loads(text)
        except ValueError:
            return int(code), text
