"""What may run on the event loop: signatures so quick that handing them to a thread takes longer than running them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final

from tfsdeploy.server import growth

QUICK_SECONDS: Final = 100e-6
"""Of processor time. A hand-over to a thread and back costs about as much, and needs the interpreter all the while."""

SMALL_BYTES: Final = 16 * 2**10
"""Larger requests are read in a thread: their own decoding would hold others up."""

MOST_NODES: Final = 1000

TEXT_BYTES: Final = 24
"""Of a ``tstring`` (tsl/platform/ctstring_internal.h)."""

# What may run long whatever is fed, or wait for something; names contain these, or are those.
_ENDLESS: Final = (
    "While", "Enter", "NextIteration", "Queue", "Barrier", "Stage", "PyFunc", "Dataset", "Iterator", "Recv", "Remote",
    "Read", "Stack", "TensorArray",
)  # fmt: skip
_WAITING: Final = frozenset({"Batch", "BatchFunction", "Unbatch", "Rpc", "XlaLaunch", "Timestamp", "Print", "PrintV2"})
# Of variables, and of how TensorFlow 2 saves them, which is in every graph that has some.
_NOT_MEANT: Final = frozenset({"ReadVariableOp", "DisableCopyOnRead", "IdentityReader"})

_ENOUGH: Final = 16
_MOST: Final = 64
_SLOW_COSTS: Final = 8


class WouldWait(Exception):
    """It cannot be answered at once, and who asked cannot wait: ask again in a thread."""


class Pace:
    """How quick the runs of a signature have been; quick enough when nearly all of the last ones were.

    That says nothing of larger inputs: their runs may take as much longer as they are larger, or the square of that.
    """

    __slots__ = ("_score", "_size")

    def __init__(self) -> None:
        self._score = 0
        self._size = 0

    def quick(self, size: int = 0) -> bool:
        """Whether the event loop may run it with inputs of so many bytes."""
        return self._score >= _ENOUGH and size <= self._size

    def took(self, seconds: float, size: int) -> None:
        """One run took so much processor time of its thread, with inputs of so many bytes."""
        if seconds <= QUICK_SECONDS:
            self._score = min(self._score + 1, _MOST)
            self._size = max(self._size, size)
        elif size <= self._size:
            self._score = max(0, self._score - _SLOW_COSTS)
            if not self._score:
                self._size = 0


thread_seconds = time.thread_time


def bounded(graph: Any) -> bool:
    """Whether a GraphDef is small, without loops, and makes nothing of a size that a request can choose.

    So its runs take no longer than the size of their inputs lets expect.

    Such a graph is run in the thread that asks, without TensorFlow's own threads between its operations.
    """
    bodies = (graph.node, *(function.node_def for function in graph.library.function))
    if sum(map(len, bodies)) > MOST_NODES:
        return False
    operations = {node.op for nodes in bodies for node in nodes} - _NOT_MEANT
    if not operations.isdisjoint(_WAITING) or any(part in op for op in operations for part in _ENDLESS):
        return False
    return not growth.grows(graph)


def size_of(arrays: Iterable[Any]) -> int:
    """Bytes of all arrays together; a text counts as TensorFlow's own string without what is in it."""
    return sum(array.size * TEXT_BYTES if array.dtype.hasobject else array.nbytes for array in arrays)
