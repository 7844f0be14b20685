"""The monitoring page, with the original's metric names (util/prometheus_exporter.cc)."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter, defaultdict
from pathlib import Path
from typing import ClassVar, Final

from tfsdeploy.server.flags import say

# Exponential buckets, microseconds: 10 x 1.8^i (servables/tensorflow/util.cc).
BOUNDS: Final = tuple(10 * 1.8**power for power in range(33))


class Metrics:
    """Counts requests.

    Args:
        config_file: ``--monitoring_config_file``; empty: no page.
    """

    PATH: ClassVar[str] = "/monitoring/prometheus/metrics"

    def __init__(self, config_file: str = "") -> None:
        self.enabled = _enabled(config_file)
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str]] = Counter()
        self._latency: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0] * (len(BOUNDS) + 1))
        self._sums: Counter[tuple[str, str, str]] = Counter()

    def count(self, model_name: str, api: str, entrypoint: str, code: str, seconds: float) -> None:
        """One request: its outcome, and its latency if it was answered."""
        with self._lock:
            self._requests[model_name, code] += 1
            if code == "OK":
                micros = seconds * 1e6
                self._latency[model_name, api, entrypoint][bisect_left(BOUNDS, micros)] += 1
                self._sums[model_name, api, entrypoint] += round(micros)

    def page(self) -> str:
        """The page in Prometheus' text format."""
        name = ":tensorflow:serving:request_count"
        lines = [f"# TYPE {name} counter"]
        with self._lock:
            for (model, status), count in sorted(self._requests.items()):
                lines.append(f'{name}{{model_name="{_quoted(model)}",status="{status}"}} {count}')
            name = ":tensorflow:serving:request_latency"
            lines.append(f"# TYPE {name} histogram")
            for key, buckets in sorted(self._latency.items()):
                labels = f'model_name="{_quoted(key[0])}",API="{key[1]}",entrypoint="{key[2]}"'
                total = 0
                for bound, count in zip((*(f"{b:.6g}" for b in BOUNDS), "+Inf"), buckets, strict=True):
                    total += count
                    lines.append(f'{name}_bucket{{{labels},le="{bound}"}} {total}')
                lines += [f"{name}_sum{{{labels}}} {self._sums[key]}", f"{name}_count{{{labels}}} {total}"]
        return "\n".join(lines) + "\n"


def _enabled(config_file: str) -> bool:
    if not config_file:
        return False
    try:
        return "enable: true" in Path(config_file).read_text().replace("enable:true", "enable: true")
    except OSError as error:
        say(f"monitoring config file {config_file} cannot be read: {error.strerror}")
        return False


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
