"""TensorFlow is imported once, by one thread, while the ports are open already.

Its modules and protocol buffers import each other in circles. Two threads that enter such a circle at two places see
modules that are not finished, because Python lets one of them through rather than let both wait for ever.
"""

from __future__ import annotations

import threading

_LOCK = threading.Lock()
_DONE = threading.Event()


def tensorflow_is_there() -> bool:
    """Whether `import_tensorflow` returns at once."""
    return _DONE.is_set()


def import_tensorflow() -> None:
    """Wait until TensorFlow and the messages of its services can be used.

    Raises:
        ImportError: TensorFlow is not installed.
    """
    if _DONE.is_set():
        return
    with _LOCK:
        import tensorflow  # noqa: F401
        from tensorflow_serving.apis import model_service_pb2, prediction_service_pb2  # noqa: F401

        _DONE.set()
