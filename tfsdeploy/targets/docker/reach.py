"""How this machine reaches what listens in a fleet's network: directly, or through a container of a remote engine."""

from __future__ import annotations

import socket
from contextlib import ExitStack, suppress
from typing import Any

from tfsdeploy.render.containers import AGENT_PORT
from tfsdeploy.targets.docker.engine import Engine
from tfsdeploy.targets.docker.frames import Frames
from tfsdeploy.targets.docker.observed import Seen
from tfsdeploy.targets.forward import Forwards


class Reach:
    """Addresses in a fleet's network, as this process uses them.

    Args:
        engine: where the fleet lives.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._forwards = Forwards(lambda container, to: _Piped(engine, container, to))

    def url(self, agent: Seen) -> str:
        """The base URL of an agent's status server; one that does not run is at its name, where nobody answers."""
        if self._engine.is_local:
            return f"http://{agent.address or agent.name}:{AGENT_PORT}"
        return f"http://{self._forwards.to(agent.name, f'127.0.0.1:{AGENT_PORT}')}"

    def at(self, container: str, address: str) -> str:
        """``host:port`` that leads to an address that a container reaches."""
        return address if self._engine.is_local else self._forwards.to(container, address)


class _Piped:
    """A connection that a command in a container makes, and hands through its input and output."""

    def __init__(self, engine: Engine, container: str, to: str) -> None:
        self._stack = ExitStack()
        argv = ("tfsdeploy", "agent", "state", "pipe", f"--to={to}")
        self._raw: Any = self._stack.enter_context(engine.opened(container, argv))
        self._frames = Frames(self._raw)

    def recv(self, size: int) -> bytes:
        """Some of what came; nothing at the end."""
        return self._frames.recv(size)

    def sendall(self, chunk: bytes) -> None:
        """Send all of it."""
        self._raw.sendall(chunk)

    def shutdown(self, _how: int) -> None:
        """Whoever has nothing more to send has read what it wanted: HTTP's connections end so."""
        with suppress(OSError):
            self._raw.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the command."""
        self._stack.close()
