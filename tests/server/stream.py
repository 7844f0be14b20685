"""An open-loop stream of requests: sent when they are due, whether or not the ones before were answered."""

from __future__ import annotations

import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from tests.server.live import Live

RATE = 100


class Stream:
    """Asks a model for its answer to 0 until it is left; collects answers and failures.

    Args:
        server: whom.
        model: what.
    """

    def __init__(self, server: Live, model: str) -> None:
        self._server = server
        self._path = f"/v1/models/{model}:predict"
        self._stop = threading.Event()
        self._kept = threading.local()
        self._connections: list[http.client.HTTPConnection] = []
        self._pacer = threading.Thread(target=self._run)
        self.answers: list[float] = []
        self.failures: list[str] = []

    def __enter__(self) -> Stream:
        self._pacer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pacer.join()
        for connection in self._connections:
            connection.close()

    def _run(self) -> None:
        begun, sent = time.monotonic(), 0
        with ThreadPoolExecutor(16) as pool:
            while not self._stop.wait(max(0.0, begun + sent / RATE - time.monotonic())):
                pool.submit(self._ask, fresh=sent % 2 == 0)
                sent += 1

    def _ask(self, *, fresh: bool) -> None:
        """One request, on a new connection or on the thread's long-lived one."""
        connection = None if fresh else getattr(self._kept, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self._server.rest_port, timeout=30)
            self._connections.append(connection)
        try:
            connection.request("POST", self._path, b'{"instances": [0.0]}')
            answer = connection.getresponse()
            body = answer.read()
            if answer.status == 200:
                self.answers.append(json.loads(body)["predictions"][0])
            else:
                self.failures.append(f"{answer.status} {body!r}")
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(repr(error))
        if fresh:
            connection.close()
        else:
            self._kept.connection = connection
