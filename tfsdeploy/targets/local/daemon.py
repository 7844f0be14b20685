"""Start, see and end the supervisor of a fleet from a command."""

from __future__ import annotations

import os
import sys
import sysconfig
import time
from collections.abc import Mapping
from pathlib import Path

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.fleet.addresses import is_object_store
from tfsdeploy.targets.local.credentials import is_credential
from tfsdeploy.targets.local.process import MARK, end_all, marked
from tfsdeploy.targets.local.state import FleetFolder

START_SECONDS = 20.0

HANDED_ON = ("HOME", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "PATH", "SHELL", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV")
HANDED_ON_FAMILIES = ("CUDA_", "GRPC_", "LC_", "MALLOC_", "NVIDIA_", "OMP_", "PYTHON", "SSL_CERT_", "TF_", "XDG_")
"""What a model server, Envoy and the agents may need of the environment of the one who typed `up`."""


def environment(inherited: Mapping[str, str] = os.environ, *, store: str = "") -> dict[str, str]:
    """The small environment that a fleet's processes get: nothing else of the terminal's, so no secret by accident.

    Args:
        inherited: that of this process.
        store: the fleet's; what carries the credentials of an object store is handed on, to its agents alone.
    """
    kept = {
        name: value
        for name, value in inherited.items()
        if name in HANDED_ON or name.startswith(HANDED_ON_FAMILIES) or (is_credential(name) and is_object_store(store))
    }
    root = Path(__file__).resolve().parents[3]
    if str(root) not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        # A source tree that is used in place: the processes run elsewhere and must find it too.
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, (str(root), inherited.get("PYTHONPATH"))))
    return kept


def ensure_supervisor(folder: FleetFolder) -> None:
    """Start the fleet's supervisor unless it runs; it is on its own from then on.

    Raises:
        TfsdeployError: it does not start.
    """
    if folder.observed() is not None:
        return
    log, settings = folder.logs / "supervisor.log", folder.settings()
    # In a session of its own: neither the terminal's end nor its Ctrl-C reaches it.
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-m", "tfsdeploy.targets.local.supervisor", str(folder.path)],
        {**environment(store=settings.store if settings else ""), MARK: f"{folder.path}/supervisor/supervisor"},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    until = time.monotonic() + START_SECONDS
    while folder.observed() is None:
        if time.monotonic() > until:
            raise TfsdeployError("the fleet's supervisor does not start", where=str(log), hint="its log says why")
        time.sleep(0.01)


def end_everything(folder: FleetFolder, *, grace: float) -> None:
    """End every process of the fleet, whoever started it: the supervisor first, so that nothing comes back."""
    processes = list(marked(folder.path, leaders=False))
    end_all([process for mark, process in processes if mark.startswith("supervisor/")], grace=grace)
    end_all([process for _, process in marked(folder.path, leaders=False)], grace=grace)
