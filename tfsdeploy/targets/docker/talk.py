"""Talk with a command in a container that reads and writes the fleet's state: one for all that this process asks."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from typing import Any

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.render.docker.container import HANDED, STATE
from tfsdeploy.targets.docker.engine import Engine
from tfsdeploy.targets.docker.frames import Frames

ARGV = ("tfsdeploy", "agent", "state", "serve", f"--folder={STATE}", f"--handed={HANDED}")


SILENT_SECONDS = 30.0
"""An answer takes milliseconds; what says nothing for so long is cut off, as an engine whose machine is lost."""


class Ended(Exception):
    """The command has ended, or was cut off, without an answer; says why, as far as it is known."""


class Talk:
    """Requests to `tfsdeploy.agent.state.serve`, from any thread.

    Args:
        engine: where the container is.
        container: has the fleet's state.

    Raises:
        NotRunning: there is no such container, or it does not run.
    """

    def __init__(self, engine: Engine, container: str) -> None:
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._raw: Any = self._stack.enter_context(engine.opened(container, ARGV, SILENT_SECONDS))
        self._frames = Frames(self._raw)

    def ask(self, request: dict[str, Any]) -> Any:
        """The result of a request.

        Raises:
            Ended: the container was stopped meanwhile; whether the request was carried out is not known.
            Denied: it was not carried out, and why.
        """
        with self._lock:
            try:
                self._raw.sendall(json.dumps(request).encode() + b"\n")
                line = self._frames.line()
            except OSError as error:
                raise Ended(str(error)) from error
            if not line:
                raise Ended(self._frames.errors.decode(errors="replace").strip() or "it was stopped")
        try:
            answer = json.loads(line)
        except ValueError:
            # The engine's own words, where it could not start the command.
            raise Ended(line.decode(errors="replace").strip()) from None
        if "error" in answer:
            raise Denied(answer["error"], answer["exit"])
        return answer["result"]

    def close(self) -> None:
        """End the command."""
        self._stack.close()


class Denied(TfsdeployError):
    """A request that was not carried out.

    Args:
        message: why.
        exit_code: what kind of failure it is; see `tfsdeploy.errors`.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
