"""Which requests are run together: parameters, queues, joining and splitting. No thread, no clock, no model."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from tfsdeploy.protocol.status import Failed
from tfsdeploy.server import text_file

if TYPE_CHECKING:
    from tfsdeploy.server.servable import Call

Array = np.ndarray[Any, Any]

LARGEST = 1000

PER_MODEL_FILE = "batching_params.pbtxt"
"""In a version's folder, for ``--enable_per_model_batching_parameters``."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """How to batch; defaults are those of the original (shared_batch_scheduler.h).

    Attributes:
        max_batch_size: rows that one request, and one batch, may have.
        batch_timeout_micros: how long the first request of a batch waits for others.
        max_enqueued_batches: of one signature of a version, the one that still fills up included.
        num_batch_threads: batches that run at once, of all models together.
        thread_pool_name: of these threads.
        allowed_batch_sizes: sizes that a batch is filled up to; empty: any.
        pad_variable_length_inputs: fill shorter rows up with the tensor's first element, to batch different shapes.
        split: ``enable_large_batch_splitting``: run a request in pieces of at most ``max_execution_batch_size``.
        max_execution_batch_size: rows of one run; what ``max_batch_size`` says unless requests are split.
    """

    max_batch_size: int = LARGEST
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    thread_pool_name: str = "batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    split: bool = False
    max_execution_batch_size: int = LARGEST


@dataclass(eq=False, slots=True)
class Task:
    """One request, or a piece of one, that waits for its batch.

    Attributes:
        call: the signature that it asks for.
        inputs: in the order of the call; all with the same 0th dimension.
        enqueued: when, in the caller's seconds.
    """

    call: Call
    inputs: Sequence[Array]
    enqueued: float

    @property
    def rows(self) -> int:
        """The 0th dimension."""
        return len(self.inputs[0])

    def late(self, now: float) -> bool:
        """Whether its time for a run is over before it has begun."""
        return 0 < self.call.timeout_ms <= (now - self.enqueued) * 1000


def read(file: str) -> Parameters:
    """The parameters of a file; empty: the defaults.

    Raises:
        Failed: it cannot be read or parsed, or a number in it cannot be.
    """
    if not file:
        return Parameters()
    from tfsdeploy.protocol.wire_pb2 import BatchingParameters

    message: Any = text_file.parse(file, BatchingParameters())
    wrapped = [
        name for name in ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads",
                          "thread_pool_name", "max_execution_batch_size") if message.HasField(name)
    ]  # fmt: skip
    given = {name: getattr(message, name).value for name in wrapped}
    for name, value in given.items():
        # The original ends with SIGSEGV at a max_batch_size of 0.
        lowest = 0 if name in ("batch_timeout_micros", "max_enqueued_batches") else 1
        if name != "thread_pool_name" and value < lowest:
            raise Failed("INVALID_ARGUMENT", f"{name} must be {'positive' if lowest else 'non-negative'}; was {value}")
    split = message.enable_large_batch_splitting.value
    largest = given.get("max_batch_size", LARGEST)
    given["max_execution_batch_size"] = (
        min(given.get("max_execution_batch_size", largest), largest) if split else largest
    )
    return Parameters(
        allowed_batch_sizes=tuple(message.allowed_batch_sizes),
        pad_variable_length_inputs=message.pad_variable_length_inputs,
        split=split,
        **given,
    )


def check(parameters: Parameters) -> None:
    """What the original finds out when a version loads (batching_session.cc).

    Raises:
        Failed: INVALID_ARGUMENT: the allowed sizes do not grow, or do not end in the largest.
    """
    allowed, largest = parameters.allowed_batch_sizes, parameters.max_execution_batch_size
    if not allowed:
        return
    if any(size >= following for size, following in pairwise((0, *allowed))):
        raise Failed("INVALID_ARGUMENT", "allowed_batch_sizes entries must be monotonically increasing")
    if allowed[-1] != largest:
        name = "max_execution_batch_size" if parameters.split else "max_batch_size"
        raise Failed(
            "INVALID_ARGUMENT",
            f"Last entry in allowed_batch_sizes must match {name}; last entry was {allowed[-1]}; expected {largest}",
        )


def pieces(inputs: Sequence[Array], parameters: Parameters) -> list[Sequence[Array]]:
    """A request's inputs, cut where it is larger than one run may be.

    Raises:
        Failed: INVALID_ARGUMENT: it has no rows that could be batched, or too many.
    """
    if not inputs:
        raise Failed("INVALID_ARGUMENT", "Batching Run() must have at least one input tensor")
    if any(array.ndim == 0 for array in inputs):
        raise Failed("INVALID_ARGUMENT", "Batching Run() input tensors must have at least one dimension")
    rows = len(inputs[0])
    if any(len(array) != rows for array in inputs):
        raise Failed("INVALID_ARGUMENT", "Batching Run() input tensors must have equal 0th-dimension size")
    if rows > parameters.max_batch_size:
        raise Failed(
            "INVALID_ARGUMENT", f"Task size {rows} is larger than maximum input batch size {parameters.max_batch_size}"
        )
    step = parameters.max_execution_batch_size
    return [[array[at : at + step] for array in inputs] for at in range(0, max(1, rows), step)]


class Queue:
    """The batches of one signature that wait; the last of them may still fill up.

    Args:
        parameters: how many, how large, how long.
    """

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self._batches: deque[list[Task]] = deque()

    def add(self, tasks: Sequence[Task]) -> None:
        """Put a request's pieces in line, all or none.

        Raises:
            Failed: UNAVAILABLE: there is no room.
        """
        largest, most = self.parameters.max_execution_batch_size, self.parameters.max_enqueued_batches
        free = largest - _rows(self._batches[-1]) if self._batches else 0
        joins = bool(self._batches) and tasks[0].rows <= free
        # One open batch is always there in the original, whatever the limit says.
        if len(self._batches) + len(tasks) - joins > max(most, len(tasks)):
            raise Failed(
                "UNAVAILABLE",
                "The batch scheduling queue to which this task was submitted is full; currently "
                f"{len(self._batches)} batches enqueued and max_enqueued_batches is {most}",
            )
        if joins:
            self._batches[-1].append(tasks[0])
        self._batches.extend([task] for task in tasks[joins:])

    def due(self) -> float | None:
        """When the first batch may run: at once (0) if it is closed or full; None: there is none."""
        if not self._batches:
            return None
        first = self._batches[0]
        if len(self._batches) > 1 or _rows(first) >= self.parameters.max_execution_batch_size:
            return 0.0
        return first[0].enqueued + self.parameters.batch_timeout_micros / 1e6

    def take(self) -> list[Task]:
        """The first batch; it is no longer in line."""
        return self._batches.popleft()


def alike(tasks: Sequence[Task], *, pad: bool) -> list[list[Task]]:
    """Tasks grouped by what can be joined: equal shapes but for the 0th dimension, or equal ranks if rows are padded.

    The original fails all of them instead, with `unlike`.
    """
    groups: dict[Any, list[Task]] = {}
    for task in tasks:
        shapes = tuple((array.dtype.str, array.ndim if pad else array.shape[1:]) for array in task.inputs)
        groups.setdefault(shapes, []).append(task)
    return list(groups.values())


def unlike(tasks: Sequence[Task]) -> Failed:
    """What the original says of tasks that are not all `alike`, when rows are not padded."""
    names = [known.tensor for known in tasks[0].call.inputs]
    differing = (
        name
        for task in tasks[1:]
        for name, array, first in zip(names, task.inputs, tasks[0].inputs, strict=True)
        if array.shape[1:] != first.shape[1:]
    )
    return Failed(
        "FAILED_PRECONDITION",
        f"Tensors with name '{next(differing, names[0])}' from different tasks have different shapes and padding is "
        "turned off. Set pad_variable_length_inputs to true, or ensure that all tensors with the same name have equal "
        "dimensions starting with the first dim.",
    )


def joined(tasks: Sequence[Task], allowed: Sequence[int] = ()) -> list[Array]:
    """The inputs of tasks that are `alike`, one after the other, filled up with the first row to an allowed size."""
    rows = sum(task.rows for task in tasks)
    missing = next((size for size in allowed if size >= rows), rows) - rows if rows else 0
    found = []
    for arrays in zip(*(task.inputs for task in tasks), strict=True):
        shape = tuple(max(sizes) for sizes in zip(*(array.shape[1:] for array in arrays), strict=True))
        parts = [_padded(array, shape) for array in arrays]
        if missing:
            first = next(part for part in parts if len(part))[:1]
            parts.append(np.repeat(first, missing, axis=0))
        found.append(parts[0] if len(parts) == 1 else np.concatenate(parts))
    return found


def split(outputs: Sequence[Array], tasks: Sequence[Task], rows: int) -> list[list[Array]]:
    """Each task's share of what a run of ``rows`` rows gave.

    Raises:
        Failed: FAILED_PRECONDITION: an output is not one row for each row of the input.
    """
    for array in outputs:
        if array.ndim == 0:
            raise Failed("FAILED_PRECONDITION", "Batched output tensor has 0 dimensions")
        if len(array) != rows:
            raise Failed(
                "FAILED_PRECONDITION",
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
                "tensors",
            )
    ends = [0, *accumulate(task.rows for task in tasks)]
    return [[array[begin:end] for array in outputs] for begin, end in pairwise(ends)]


def _rows(tasks: Sequence[Task]) -> int:
    return sum(task.rows for task in tasks)


def _padded(array: Array, shape: tuple[int, ...]) -> Array:
    if array.shape[1:] == shape:
        return array
    # With the tensor's first element, as the original's batching_util.cc.
    filled = np.full((len(array), *shape), array.flat[0] if array.size else np.zeros(1, array.dtype)[0], array.dtype)
    filled[tuple(slice(size) for size in array.shape)] = array
    return filled
