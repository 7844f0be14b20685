"""From a version's folder to what answers for it: what it was saved as, warm-up and batching, as the flags say."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tfsdeploy.server import batching, text_file
from tfsdeploy.server.batch_threads import Threads
from tfsdeploy.server.beside import beside_requests
from tfsdeploy.server.flags import Flags, say
from tfsdeploy.server.loading import import_tensorflow
from tfsdeploy.server.metrics import Metrics

if TYPE_CHECKING:
    from tfsdeploy.server.servable import Servable


class Loader:
    """Loads versions; TensorFlow is imported with the first.

    Args:
        flags: how.
        metrics: told of what is loaded, and of its runs.
    """

    def __init__(self, flags: Flags, metrics: Metrics) -> None:
        self._flags = flags
        self._metrics = metrics
        self._batching = batching.read(flags.batching_parameters_file)
        self._threads = Threads(self._batching.num_batch_threads, self._batching.thread_pool_name, metrics)

    def load(self, path: str) -> Servable:
        """Make a version ready for requests.

        Args:
            path: its folder.

        Raises:
            Failed: in the words of TF Serving or TensorFlow.
            OSError: it is no folder, or cannot be looked into.
        """
        import_tensorflow()
        self._metrics.forget_gone()
        # Not a folder, or gone again: that is said before anything is tried.
        os.scandir(path).close()
        try:
            return self._loaded(path)
        except OSError as error:
            raise text_file.failed(error.filename or path, error) from error

    def _loaded(self, path: str) -> Servable:
        flags = self._flags
        model = self._opened(path)
        try:
            beside_requests(partial(model.prepare, flags.rest_api_timeout_in_ms))
            if flags.enable_model_warmup:
                self._warm_up(model, path)
            if flags.enable_batching:
                self._batch(model, path)
        except BaseException:
            model.close()
            raise
        return model

    def _opened(self, path: str) -> Servable:
        from tfsdeploy.server import completeness, session_config, tflite
        from tfsdeploy.server.saved_model import TAGS, SavedModel

        flags = self._flags
        config = session_config.of(flags)
        if flags.prefer_tflite_model and tflite.is_there(path):
            return tflite.LiteModel(
                path,
                interpreters=max(1, flags.num_tflite_pools) * max(1, flags.num_tflite_interpreters_per_pool),
                threads=max(1, config.intra_op_parallelism_threads),
                like_tfs=flags.like_tfs,
                metrics=self._metrics,
            )
        if flags.check_complete:
            completeness.check(path)
        tags = flags.saved_model_tags.split(",") if flags.saved_model_tags else TAGS
        return SavedModel(path, tags=tags, config=config, metrics=self._metrics)

    def _batch(self, model: Servable, path: str) -> None:
        parameters = self._batching
        if self._flags.enable_per_model_batching_parameters:
            file = Path(path, batching.PER_MODEL_FILE)
            if not file.exists():
                return
            parameters = batching.read(str(file))
        batching.check(parameters)
        model.batch(self._threads, parameters, alone=not self._flags.like_tfs)

    def _warm_up(self, model: Servable, path: str) -> None:
        from tfsdeploy.server.warmup import warm_up

        begun = time.perf_counter()
        count = warm_up(model, path, self._flags.num_request_iterations_for_warmup)
        if count is not None:
            self._metrics.warmed_up(path, time.perf_counter() - begun, count)
            say(f"{path}: answered {count} warm-up requests")
