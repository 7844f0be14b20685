"""What the kernel does to a container: kill it for want of memory, as when a limit is too small, or stop it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.cluster.namespace import Namespace

MEMORY = Path("/sys/fs/cgroup/memory")

# Moves into the control group before it asks for memory, which the group does not have.
_GREEDY = """
import sys
open(sys.argv[1], "w").write("0")
held = []
while True:
    held.append(bytearray(1 << 20))
"""


def exhaust(namespace: Namespace, pod: str, container: str) -> None:
    """Use up the memory of a container, and wait until the kernel has killed it and the kubelet has started it again.

    The kernel chooses by memory and by ``oom_score_adj``, which the kubelet sets high for all but guaranteed pods: so
    it is the container that goes first, whoever was greedy.
    """
    before = status_of(namespace, pod, container)
    group = _group(before)
    (group / "memory.limit_in_bytes").write_text((group / "memory.usage_in_bytes").read_text())
    greedy = subprocess.Popen([sys.executable, "-c", _GREEDY, str(group / "cgroup.procs")])
    try:
        again = namespace.wait(
            f"the end of {container} in {pod} and its new start",
            lambda: started_again(status_of(namespace, pod, container), before["restartCount"]),
        )
    finally:
        greedy.kill()
        greedy.wait()
    assert again["lastState"]["terminated"]["reason"] == "OOMKilled", again


def freeze(namespace: Namespace, pod: str, container: str) -> None:
    """Stop every process of a container but its first one, as a deadlock would; nobody hears of it."""
    pids = (_group(status_of(namespace, pod, container)) / "cgroup.procs").read_text().split()
    for pid in sorted(map(int, pids))[1:]:
        os.kill(pid, signal.SIGSTOP)


def _group(status: dict) -> Path:  # type: ignore[type-arg]
    identity = status["containerID"].rpartition("/")[2]
    (group,) = (path for path in MEMORY.glob(f"*/kubepods/**/{identity}") if path.is_dir())
    return group


def status_of(namespace: Namespace, pod: str, container: str) -> dict:  # type: ignore[type-arg]
    """What the kubelet says of a container."""
    (found,) = namespace.get("pods", "--field-selector", f"metadata.name={pod}")
    status = found["status"]
    rows = [*status.get("initContainerStatuses", []), *status["containerStatuses"]]
    (row,) = (row for row in rows if row["name"] == container)
    return dict(row)


def started_again(status: dict, restarts: int) -> dict | None:  # type: ignore[type-arg]
    """The status of a container that runs and was restarted since; None: it was not, or does not run yet."""
    return status if status["restartCount"] > restarts and "running" in status["state"] else None
