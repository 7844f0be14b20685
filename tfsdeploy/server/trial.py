"""Load one version once, as the server would, and tell what that took: what `push --check` starts as a process.

Reads ``{"path", "tflite", "requests": [{"method", "body"}], "parent"}`` from stdin; prints one document: what loading
took and every answer, or ``{"error"}``. Opens no socket, and ends with its parent.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfsdeploy.protocol.status import Failed
from tfsdeploy.server.core import Core
from tfsdeploy.server.loading import import_tensorflow
from tfsdeploy.server.manager import Manager
from tfsdeploy.server.metrics import Metrics
from tfsdeploy.server.policy import State
from tfsdeploy.server.rest import Rest

if TYPE_CHECKING:
    from tfsdeploy.server.servable import Servable

_PR_SET_PDEATHSIG = 1  # prctl(2)

MODEL = "model"
PATH = f"/v1/models/{MODEL}/versions/1"


def main() -> int:
    """Try the version that stdin names; 0 if there is a document on stdout, whatever it says."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    _end_with_parent()
    asked = json.load(sys.stdin)
    if os.getppid() != asked["parent"]:
        # It was killed before it could be tied to.
        return 1
    # What libraries print must not be taken for the answer.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        told = try_out(asked["path"], asked["requests"], tflite=asked["tflite"])
    except Failed as error:
        told = {"error": f"{error.code}: {error.message}"}
    json.dump(told, answer)
    answer.close()
    return 0


def try_out(path: str, requests: list[dict[str, Any]], *, tflite: bool) -> dict[str, Any]:
    """Load a version, warm it up, and ask it.

    Args:
        path: its folder.
        requests: method of the REST API, and body as JSON text.
        tflite: load its TFLite model.

    Returns:
        What `push --check` records, and ``answers``: status and body of each.

    Raises:
        Failed: it does not load, or cannot answer a warm-up request.
    """
    import_tensorflow()
    import tensorflow as tf

    # The runtime's own threads and pools come with the first session, not with the version.
    with tf.compat.v1.Session(graph=tf.Graph()):
        pass
    from tfsdeploy.server.saved_model import SavedModel
    from tfsdeploy.server.tflite import LiteModel
    from tfsdeploy.server.warmup import warm_up

    with suppress(OSError):
        # From now on VmHWM is the peak since now: proc(5), clear_refs.
        Path("/proc/self/clear_refs").write_text("5")
    base = _memory("VmRSS")
    told: dict[str, Any] = {"tensorflow": tf.__version__}

    def load(folder: str) -> Servable:
        began = time.monotonic()
        model = LiteModel(folder) if tflite else SavedModel(folder)
        model.prepare(0)
        told["warm_up"] = warm_up(model, folder) or 0
        told["load_seconds"] = round(time.monotonic() - began, 3)
        return model

    manager: Manager[Servable] = Manager(load, threads=1)
    manager.aspire({MODEL: {1: path}})
    manager.wait(lambda: manager.status(MODEL)[0].state in (State.AVAILABLE, State.END))
    row = manager.status(MODEL)[0]
    if row.state != State.AVAILABLE:
        raise Failed(row.code, row.message)
    rest = Rest(Core(manager), Metrics())
    replies = [rest.handle("POST", f"{PATH}:{request['method']}", {}, request["body"].encode()) for request in requests]
    told["answers"] = [[reply.code, reply.body] for reply in replies]
    told["memory"] = max(0, _memory("VmRSS") - base)
    told["peak_memory"] = max(told["memory"], _memory("VmHWM") - base)
    manager.close()
    return told


def _end_with_parent() -> None:
    """Whoever kills the command, such as a CI that is out of patience, does not know of this process."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _memory(name: str) -> int:
    """Bytes of this process: ``VmRSS``, what it has, or ``VmHWM``, the most that it had (proc(5))."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    return 0


if __name__ == "__main__":
    sys.exit(main())
