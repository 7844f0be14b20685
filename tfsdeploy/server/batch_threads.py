"""The threads that run batches, and the call of a signature that waits for its batch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np

from tfsdeploy.protocol.status import Failed
from tfsdeploy.server import batching
from tfsdeploy.server.batching import Array, Parameters, Queue, Task
from tfsdeploy.server.metrics import Metrics

if TYPE_CHECKING:
    from tfsdeploy.server.servable import Call

Run = Callable[["Call", Sequence[Array]], list[Array]]


class Threads:
    """Threads for the batches of all models; they begin with the first request.

    Args:
        count: batches that run at once.
        name: of the threads.
        metrics: told of every batch.
    """

    def __init__(self, count: int, name: str, metrics: Metrics | None = None) -> None:
        self._metrics = metrics or Metrics()
        self._count = count
        self._name = name
        self._changed = threading.Condition()
        self._lines: dict[Line, None] = {}
        self._started = False

    def submit(self, line: Line, tasks: Sequence[Task]) -> None:
        """Put a request's pieces in line.

        Raises:
            Failed: UNAVAILABLE.
        """
        with self._changed:
            line.queue.add(tasks)
            self._lines[line] = None
            if not self._started:
                self._started = True
                for number in range(self._count):
                    threading.Thread(target=self._work, name=f"{self._name}_{number}", daemon=True).start()
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                while (found := self._next()) is None:
                    dues = [due for line in self._lines if (due := line.queue.due()) is not None]
                    self._changed.wait(max(0.0, min(dues) - time.monotonic()) if dues else None)
            line, tasks = found
            now = time.monotonic()
            self._metrics.batched(self._name, [now - task.enqueued for task in tasks])
            line.answer(tasks)

    def _next(self) -> tuple[Line, list[Task]] | None:
        now = time.monotonic()
        for line in self._lines:
            due = line.queue.due()
            if due is not None and due <= now:
                tasks = line.queue.take()
                # Its turn comes after the others'; a line without batches is not held, so that its version can go.
                del self._lines[line]
                if line.queue.due() is not None:
                    self._lines[line] = None
                    self._changed.notify()
                return line, tasks
        return None


class Line:
    """One signature of one version: requests in, rows of batches out.

    Args:
        threads: run its batches.
        parameters: how to batch.
        run: runs the signature; raises `Failed`.
        alone: run the requests of a batch that failed one by one, so that a bad one fails alone, and those whose shapes
            differ apart.
    """

    def __init__(self, threads: Threads, parameters: Parameters, run: Run, *, alone: bool = True) -> None:
        self.queue = Queue(parameters)
        self._threads = threads
        self._parameters = parameters
        self._run = run
        self._alone = alone
        self._answers: dict[Task, Future[list[Array]]] = {}

    def ask(self, call: Call, inputs: Sequence[Array]) -> list[Array]:
        """Wait for the answer to one request.

        Raises:
            Failed: in the words of TF Serving or TensorFlow.
        """
        now = time.monotonic()
        tasks = [Task(call, piece, now) for piece in batching.pieces(inputs, self._parameters)]
        answers: list[Future[list[Array]]] = [Future() for _ in tasks]
        self._answers.update(zip(tasks, answers, strict=True))
        try:
            self._threads.submit(self, tasks)
            parts = [answer.result() for answer in answers]
        finally:
            for task in tasks:
                self._answers.pop(task, None)
        return parts[0] if len(parts) == 1 else [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    def answer(self, tasks: Sequence[Task]) -> None:
        """Run one batch and hand the answers out."""
        now = time.monotonic()
        for task in tasks:
            if task.late(now):
                self._tell(task, Failed("RESOURCE_EXHAUSTED", "Run() timeout exceeded while waiting in batching queue"))
        waiting = [task for task in tasks if not task.late(now)]
        pad = self._parameters.pad_variable_length_inputs
        groups = batching.alike(waiting, pad=pad)
        if len(groups) > 1 and not pad and not self._alone:
            for task in waiting:
                self._tell(task, batching.unlike(waiting))
            return
        for group in groups:
            self._answer(group)

    def _answer(self, tasks: Sequence[Task]) -> None:
        # Of the runs' time limits the longest counts; 0 is none.
        call = min((task.call for task in tasks), key=lambda call: (call.timeout_ms > 0, -call.timeout_ms))
        try:
            inputs = batching.joined(tasks, self._parameters.allowed_batch_sizes)
            found = batching.split(self._run(call, inputs), tasks, len(inputs[0]))
        except Exception as error:  # whatever it is, somebody waits for it
            # One after the other they would take as long again, each.
            over = isinstance(error, Failed) and error.code == "DEADLINE_EXCEEDED"
            if len(tasks) > 1 and self._alone and not over:
                for task in tasks:
                    self._answer([task])
                return
            for task in tasks:
                self._tell(task, error)
            return
        for task, rows in zip(tasks, found, strict=True):
            self._tell(task, rows)

    def _tell(self, task: Task, answer: Any) -> None:
        future = self._answers.get(task)
        if future is None:  # another piece of its request failed before
            return
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
