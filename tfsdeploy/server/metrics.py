"""The monitoring page, with the original's metric names, labels and buckets (util/prometheus_exporter.cc)."""

from __future__ import annotations

import re
import threading
import time
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from tfsdeploy.protocol.status import Failed
from tfsdeploy.server.flags import say
from tfsdeploy.server.metric_names import NOT_COUNTED
from tfsdeploy.server.pace import WouldWait

MOST_SERIES: Final = 10_000
"""Clients may ask for any name: failures for names beyond so many are counted together."""

OTHERS: Final = "(others)"

FEW_SERIES: Final = 100
"""So many may be of models and versions that are gone."""

PATH: Final = "/monitoring/prometheus/metrics"

_ENABLE: Final = re.compile(r"\benable\s*:\s*(?:true|t|1)\b")
_PATH: Final = re.compile(r"\bpath\s*:\s*[\"']([^\"']*)[\"']")


@dataclass(slots=True)
class Asked:
    """One request, as it will be counted: when the block ``with asked: …`` ends that answers it.

    Attributes:
        api: what is asked, as the page says it; empty for what is no inference.
        entrypoint: ``REST`` or ``GRPC``.
        model: its name; empty if the request names none.
        version: that answered; None: none did.
        runtime: seconds that the model itself took; None: it was not run, or failed.
        metrics: that count it; None: nobody does.
        begun: when, by `time.perf_counter`.
    """

    api: str
    entrypoint: str
    model: str = ""
    version: int | None = None
    runtime: float | None = None
    metrics: Metrics | None = None
    begun: float = field(default_factory=time.perf_counter)

    def __enter__(self) -> Asked:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            code = "OK"
        elif isinstance(error, WouldWait):
            return  # it comes again
        else:
            code = error.code if isinstance(error, Failed) else "INTERNAL"
        if self.metrics is not None:
            self.metrics.count(self, code)


class Metrics:
    """Counts requests, loads and runs.

    Args:
        config_file: ``--monitoring_config_file``; empty: no page.
        by_version: label what is counted with the version that answered, too; empty for none.

    Attributes:
        path: of the page; empty: there is none.
        there: model, version and path of all that is loaded, or will be; None: nobody knows.
    """

    def __init__(self, config_file: str = "", *, by_version: bool = False) -> None:
        self.path = _path(config_file) if config_file else ""
        self.there: Callable[[], Iterable[tuple[str, int, str]]] | None = None
        self._by_version = by_version
        self._lock = threading.Lock()
        version = ("version",) if by_version else ()
        self._requests = _Sums("serving:request_count", "model_name", "status", *version)
        self._latency = _Histogram(
            "serving:request_latency", _steps(10, 1.8, 33), "model_name", "API", "entrypoint", *version
        )
        self._runtime = _Histogram(
            "serving:runtime_latency", _steps(10, 1.8, 33), "model_name", "API", "runtime", *version
        )
        self._warm_ups = _Histogram("serving:model_warmup_latency", _steps(10, 1.8, 33), "model_path", "status")
        self._warm_up_records = _Sums("serving:model_warmup_records_read", "model_path", "status")
        self._queued = _Histogram("serving:batching_session:queuing_latency", _steps(100, 1.2, 52), "thread_pool_name")
        self._batches = _Sums("serving:batching_session:wrapped_run_count")
        self._loads = _Sums("cc:saved_model:load_attempt_count", "model_path", "status")
        self._load_time = _Sums("cc:saved_model:load_latency", "model_path")
        self._stages = _Histogram("cc:saved_model:load_latency_by_stage", _steps(10, 1.8, 37), "model_path", "stage")
        self._session_runs = _Sums("core:direct_session_runs")
        self._fed = _Histogram("core:graph_run_input_tensor_bytes", _steps(1, 4, 14))
        self._fetched = _Histogram("core:graph_run_output_tensor_bytes", _steps(1, 4, 14))
        self._builds = _Sums("core:graph_build_calls")
        self._build_time = _Sums("core:graph_build_time_usecs")
        self._read_by = _Sums("core:saved_model:read:api", "api_label")
        self._read = _Sums("core:saved_model:read:count", "write_version")
        self._runs = _Sums("core:graph_runs")
        self._run_time = _Sums("core:graph_run_time_usecs")
        self._run_times = _Histogram("core:graph_run_time_usecs_histogram", _steps(1000, 2, 20))

    def count(self, asked: Asked, code: str) -> None:
        """One request has ended: its outcome, and its latency if it was answered."""
        seconds = time.perf_counter() - asked.begun
        version = ("" if asked.version is None else str(asked.version),) if self._by_version else ()
        with self._lock:
            counted = (asked.model, code, *version)
            if code != "OK" and len(self._requests.cells) >= MOST_SERIES and counted not in self._requests.cells:
                counted = (OTHERS, code, *version)
            self._requests.add(1, *counted)
            if asked.runtime is not None:
                # Both APIs write it as gRPC names its methods; TF1 is the original's word for any session.
                api = asked.api[:1].upper() + asked.api[1:]
                self._runtime.add(asked.runtime * 1e6, asked.model, api, "TF1", *version)
            if code == "OK":
                self._latency.add(seconds * 1e6, asked.model, asked.api, asked.entrypoint, *version)

    def loaded(self, path: str, seconds: float, stages: tuple[float, float] | None) -> None:
        """A SavedModel was loaded, or failed to.

        Args:
            path: the version's folder.
            seconds: that it took.
            stages: of these, for its variables and for its initialization; None: it failed.
        """
        with self._lock:
            self._read_by.add(1, "cc_load")
            self._loads.add(1, path, "success" if stages else "fail")
            self._load_time.add(round(seconds * 1e6), path)
            for stage, part in zip(("restore_graph", "init_graph"), stages or (), strict=False):
                self._stages.add(part * 1e6, path, stage)

    def read(self, write_version: str) -> None:
        """A SavedModel's file was read: of TensorFlow ``1``, or of ``2``, with its objects."""
        with self._lock:
            self._read.add(1, write_version)

    @contextmanager
    def build(self) -> Iterator[None]:
        """Time what it takes to make a part of a graph ready to run."""
        begun = time.perf_counter()
        yield
        seconds = time.perf_counter() - begun
        with self._lock:
            self._builds.add(1)
            self._build_time.add(round(seconds * 1e6))

    def warmed_up(self, path: str, seconds: float, records: int) -> None:
        """A version's warm-up requests, if its file has any, were all answered."""
        with self._lock:
            self._warm_ups.add(seconds * 1e6, path, "OK")
            self._warm_up_records.add(records, path, "OK")

    @contextmanager
    def run(self, fed: int) -> Iterator[None]:
        """Time a session's run of a graph that is fed so many bytes, and gives none."""
        begun, seconds = time.perf_counter(), None
        try:
            yield
            seconds = time.perf_counter() - begun
        finally:
            self.ran(seconds, fed)

    def ran(self, seconds: float | None, fed: int, fetched: int = 0) -> None:
        """A session has run a graph.

        Args:
            seconds: that it took; None: it failed.
            fed: bytes of all its inputs.
            fetched: bytes of all its outputs.
        """
        with self._lock:
            self._session_runs.add(1)
            self._fed.add(fed)
            if seconds is not None:
                self._fetched.add(fetched)
                self._runs.add(1)
                self._run_time.add(round(seconds * 1e6))
                self._run_times.add(seconds * 1e6)

    def batched(self, pool: str, queued: Sequence[float]) -> None:
        """A batch is run.

        Args:
            pool: the name of its threads.
            queued: seconds that each of its requests has waited for it.
        """
        with self._lock:
            self._batches.add(1)
            for seconds in queued:
                self._queued.add(seconds * 1e6, pool)

    def first(self, name: str) -> int:
        """What is counted under a name as TensorFlow has it, ``/tensorflow/…``, for the first values of its labels.

        That is all that the original's reloads look at (model_servers/model_service_impl.cc); 0: nothing is counted.
        """
        with self._lock:
            for family in self._families():
                if isinstance(family, _Sums) and family.name == name.replace("/", ":") and family.cells:
                    return family.cells[min(family.cells)]
        return 0

    def forget_gone(self) -> None:
        """Drop series of models and versions that are gone, where there are many."""
        with self._lock:
            full = [family for family in self._families() if family.full]
            if not full or self.there is None:
                return
            there = list(self.there())
            models = {"", OTHERS} | {model for model, _, _ in there}
            versions = {(model, str(version)) for model, version, _ in there}
            paths = {path for _, _, path in there}
            for family in full:
                family.keep(models, versions, paths)

    def page(self) -> str:
        """The page in Prometheus' text format."""
        families: dict[str, Iterable[str]] = dict(NOT_COUNTED)
        families |= {family.name: family.lines(self._lock) for family in self._families()}
        return "".join(f"{line}\n" for name in sorted(families) for line in families[name])

    def _families(self) -> list[_Family[Any]]:
        return [one for one in vars(self).values() if isinstance(one, _Family)]


Cell = TypeVar("Cell")


class _Family(ABC, Generic[Cell]):
    """The series of one name: the values of its labels, and what is counted for them."""

    def __init__(self, name: str, *labels: str) -> None:
        self.name = f":tensorflow:{name}"
        self._labels = labels
        self.cells: dict[tuple[str, ...], Cell] = {}
        self._many = FEW_SERIES

    @property
    def full(self) -> bool:
        """Whether it is time to look for what is gone."""
        return len(self.cells) > self._many

    def keep(self, models: Collection[str], versions: Collection[tuple[str, str]], paths: Collection[str]) -> None:
        """Drop the series of what is not among these."""

        def there(named: Mapping[str, str]) -> bool:
            model, version = named.get("model_name", ""), named.get("version", "")
            if model not in models or (version and (model, version) not in versions):
                return False
            return "model_path" not in named or named["model_path"] in paths

        cells = self.cells.items()
        self.cells = {values: cell for values, cell in cells if there(dict(zip(self._labels, values, strict=True)))}
        # So that the work grows with what is counted, and not with its square.
        self._many = max(FEW_SERIES, 2 * len(self.cells))

    def lines(self, lock: threading.Lock) -> Iterator[str]:
        """Its part of the page; requests wait while it is copied, not while it is written."""
        with lock:
            cells = {values: copy(cell) for values, cell in self.cells.items()}
        return self._lines(cells)

    @abstractmethod
    def _lines(self, cells: Mapping[tuple[str, ...], Cell]) -> Iterator[str]: ...


class _Sums(_Family[int]):
    def add(self, amount: int, *values: str) -> None:
        self.cells[values] = self.cells.get(values, 0) + amount

    def _lines(self, cells: Mapping[tuple[str, ...], int]) -> Iterator[str]:
        yield f"# TYPE {self.name} counter"
        for values, amount in sorted(cells.items()):
            yield f"{self.name}{{{_shown(self._labels, values)}}} {amount}"


class _Histogram(_Family[list[float]]):
    # The last number of a cell is the sum.

    def __init__(self, name: str, bounds: tuple[float, ...], *labels: str) -> None:
        super().__init__(name, *labels)
        self._bounds = bounds

    def add(self, amount: float, *values: str) -> None:
        cell = self.cells.get(values)
        if cell is None:
            cell = self.cells[values] = [0] * (len(self._bounds) + 2)
        cell[bisect_left(self._bounds, amount)] += 1
        cell[-1] += amount

    def _lines(self, cells: Mapping[tuple[str, ...], list[float]]) -> Iterator[str]:
        yield f"# TYPE {self.name} histogram"
        bounds = (*(f"{bound:.6g}" for bound in self._bounds), "+Inf")
        for values, (*buckets, amount) in sorted(cells.items()):
            labels = _shown(self._labels, values)
            total = 0
            for bound, count in zip(bounds, map(int, buckets), strict=True):
                total += count
                yield f'{self.name}_bucket{{{labels}{"," if labels else ""}le="{bound}"}} {total}'
            yield f"{self.name}_sum{{{labels}}} {round(amount)}"
            yield f"{self.name}_count{{{labels}}} {total}"


def _steps(first: float, factor: float, count: int) -> tuple[float, ...]:
    return tuple(first * factor**power for power in range(count))


def _shown(labels: tuple[str, ...], values: tuple[str, ...]) -> str:
    return ",".join(f'{label}="{_quoted(value)}"' for label, value in zip(labels, values, strict=True))


def _path(config_file: str) -> str:
    """The page's path by a MonitoringConfig in text format (config/monitoring_config.proto)."""
    try:
        text = Path(config_file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        # The original goes on without REST then; here only the page is missing.
        say(f"The monitoring configuration {config_file} cannot be read, so there is no page: {error}", "ERROR")
        return ""
    # Its message has these two fields and nothing else; its generated module is in no package.
    path = _PATH.search(text)
    return (path[1] if path and path[1] else PATH) if _ENABLE.search(text) else ""


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
