"""What both skins call: which version answers, and what it answers; opens no socket."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfsdeploy.protocol.model_config import ModelConfig
from tfsdeploy.protocol.rest import StatusRow
from tfsdeploy.protocol.status import Failed
from tfsdeploy.server.config import NoPlatform
from tfsdeploy.server.manager import Manager
from tfsdeploy.server.pace import WouldWait, size_of

if TYPE_CHECKING:
    from tfsdeploy.server.examples import Result, Task
    from tfsdeploy.server.metrics import Asked
    from tfsdeploy.server.servable import Call, Servable

_METHODS = tuple(f"tensorflow/serving/{method}" for method in ("predict", "classify", "regress"))

_TEXT_BYTES = np.dtype(object).itemsize

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a predict gave: by which version and signature, and the outputs by alias."""

    version: int
    signature: str
    outputs: Mapping[str, Array]


class Core:
    """The models, for requests.

    Args:
        manager: holds the versions.
        check_methods: refuse signatures that are for another method than the one asked for.
        like_tfs: after a configuration with a model of no platform refuse every other one, as the original does.
    """

    def __init__(self, manager: Manager[Servable], *, check_methods: bool = False, like_tfs: bool = False) -> None:
        self.manager = manager
        self._check_methods = check_methods
        self._like_tfs = like_tfs
        self._refused = ""
        self.labels: Mapping[str, Mapping[str, int]] | None = None
        self.served: frozenset[str] = frozenset()
        self.reload: Callable[[tuple[ModelConfig, ...]], None] = lambda models: None
        self.unready: Callable[[], list[str]] = lambda: ["no configuration was applied yet"]

    def judged(self, read: Callable[[], tuple[ModelConfig, ...]]) -> tuple[ModelConfig, ...]:
        """What a configuration that is to follow the one in force says, by whichever way it comes.

        Args:
            read: reads it.

        Raises:
            Failed: what ``read`` raises; like the original, what it raised once of a model without a platform.
        """
        if self._refused:
            raise NoPlatform(self._refused)
        try:
            return read()
        except NoPlatform as refused:
            if self._like_tfs:
                self._refused = refused.message
            raise

    def version_of(self, model_name: str, version: int | None, label: str | None) -> int | None:
        """The version that a request means; None: whichever is the highest.

        Raises:
            Failed: the label is not known, or no configuration was applied yet.
        """
        if label is None:
            return version
        if self.labels is None:
            raise Failed("UNAVAILABLE", f"Model labels does not init yet.{label}")
        labels = self.labels.get(model_name, {})
        if label not in labels:
            raise Failed("INVALID_ARGUMENT", f"Unrecognized servable version label: {label}")
        return labels[label]

    def predict(
        self,
        model_name: str,
        version: int | None,
        signature: str,
        inputs_of: Callable[[Call], Mapping[str, Array]],
        unknown: Callable[[str], Failed],
        timeout_ms: int = 0,
        *,
        wait: bool = True,
        asked: Asked | None = None,
    ) -> Answer:
        """Run a signature of a version.

        Args:
            model_name: the model.
            version: that one, or None for the highest that is ready.
            signature: its name.
            inputs_of: makes the input arrays when the signature is known.
            unknown: the failure for a signature that is not there; REST and gRPC word it differently.
            timeout_ms: for the run; 0: no limit.
            wait: for the answer; if not, only a signature that is known to be quick is run.
            asked: told which version answered, and how long its model took.

        Raises:
            Failed: in the words of TF Serving or TensorFlow.
            WouldWait: it is not known to be quick.
        """
        with self.manager.handle(model_name, version) as (found, model):
            if signature not in model.signatures:
                raise unknown(signature)
            if self._check_methods and model.signatures[signature].method_name not in _METHODS:
                was = model.signatures[signature].method_name
                raise Failed(
                    "INTERNAL",
                    f"Expected prediction signature method_name to be one of {{{', '.join(_METHODS)}}}. Was: {was}",
                )
            if not wait and not model.quick(signature):
                raise WouldWait
            call = model.call(signature, timeout_ms)
            inputs = inputs_of(call)
            if not wait and not model.quick(signature, size_of(inputs.values())):
                raise WouldWait
            begun = time.perf_counter()
            answer = Answer(found, signature, model.run(call, inputs, wait=wait))
            if asked is not None:
                asked.version, asked.runtime = found, time.perf_counter() - begun
            return answer

    def infer(
        self,
        model_name: str,
        version: int | None,
        tasks: Sequence[Task],
        examples_of: Callable[[], Sequence[bytes]],
        unknown: Callable[[str], Failed],
        timeout_ms: int = 0,
        *,
        wait: bool = True,
        asked: Asked | None = None,
    ) -> tuple[int, list[Result]]:
        """Classify or regress examples by signatures of a version.

        Args:
            model_name: the model.
            version: that one, or None for the highest that is ready.
            tasks: what is asked of which signature.
            examples_of: makes the serialized examples once the signatures have turned out well.
            unknown: the failure for a signature that is not there.
            timeout_ms: for each run; 0: no limit.
            wait: for the answer; if not, only signatures that are known to be quick are run.
            asked: told which version answered, and how long its model took.

        Returns:
            The version that answered, and a result for each task.

        Raises:
            Failed: in the words of TF Serving or TensorFlow.
            WouldWait: one is not known to be quick.
        """
        from tfsdeploy.server import examples

        with self.manager.handle(model_name, version) as (found, model):
            for task in tasks:
                if task.signature not in model.signatures:
                    raise unknown(task.signature)
                examples.check(model, task, check_method=self._check_methods)
                if not wait and not model.quick(task.signature):
                    raise WouldWait
            given = examples_of()
            if not wait and not all(model.quick(task.signature, _TEXT_BYTES * len(given)) for task in tasks):
                raise WouldWait
            begun = time.perf_counter()
            outputs = examples.run(model, tasks, given, timeout_ms, wait=wait)
            if asked is not None:
                asked.runtime = time.perf_counter() - begun
            results = examples.results(tasks, outputs, len(given))
            if asked is not None:
                asked.version = found
            return found, results

    def status(self, model_name: str, version: int | None) -> tuple[StatusRow, ...]:
        """The rows of a model, or of one version.

        Raises:
            Failed: NOT_FOUND.
        """
        rows = self.manager.status(model_name)
        found = tuple(row for row in rows if version in (None, row.version))
        if not found:
            which = "any versions" if version is None else f"version {version}"
            raise Failed("NOT_FOUND", f"Could not find {which} of model {model_name}")
        return found

    def signatures(self, model_name: str, version: int | None) -> tuple[int, Mapping[str, Any]]:
        """The version that answers and its signature definitions.

        Raises:
            Failed: NOT_FOUND.
        """
        with self.manager.handle(model_name, version) as (found, model):
            return found, model.signatures
