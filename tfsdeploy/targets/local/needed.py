"""What this machine must have so that a fleet can start here; looked at before anything is made."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from tfsdeploy.errors import TfsdeployError, UsageError
from tfsdeploy.fleet.model import Fleet

PACKAGES = ("tensorflow", "tensorflow_serving", "hpack", "orjson", "uvloop")
"""Of the extra `server`: what the embedded model server is made of."""


def check_needed(fleet: Fleet) -> None:
    """Refuse a fleet whose model servers would end as soon as they start.

    Raises:
        UsageError: the file names a program that is not there.
        TfsdeployError: the embedded server is not installed.
    """
    server = fleet.serving.server
    if "/" in server:
        if not os.access(server, os.X_OK) or Path(server).is_dir():
            hint = "name the path of tensorflow_model_server, or leave it out for the embedded one"
            raise UsageError(f"there is no program {server}", where="serving.server", hint=hint)
        return
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise TfsdeployError(
            f"the embedded model server needs {', '.join(missing)}, which is not installed",
            hint="pip install 'tfsdeploy[local]'; or name another one: serving.server",
        )
