"""Let the kernel kill a container for want of memory, as it does when a limit is too small."""

from __future__ import annotations

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
    before = _status(namespace, pod, container)
    identity = before["containerID"].rpartition("/")[2]
    (group,) = (path for path in MEMORY.glob(f"*/kubepods/**/{identity}") if path.is_dir())
    (group / "memory.limit_in_bytes").write_text((group / "memory.usage_in_bytes").read_text())
    greedy = subprocess.Popen([sys.executable, "-c", _GREEDY, str(group / "cgroup.procs")])
    try:
        again = namespace.wait(
            f"the end of {container} in {pod} and its new start",
            lambda: _again(_status(namespace, pod, container), before["restartCount"]),
        )
    finally:
        greedy.kill()
        greedy.wait()
    assert again["lastState"]["terminated"]["reason"] == "OOMKilled", again


def _status(namespace: Namespace, pod: str, container: str) -> dict:  # type: ignore[type-arg]
    (found,) = namespace.get("pods", "--field-selector", f"metadata.name={pod}")
    status = found["status"]
    rows = [*status.get("initContainerStatuses", []), *status["containerStatuses"]]
    (row,) = (row for row in rows if row["name"] == container)
    return dict(row)


def _again(status: dict, restarts: int) -> dict | None:  # type: ignore[type-arg]
    return status if status["restartCount"] > restarts and "running" in status["state"] else None
