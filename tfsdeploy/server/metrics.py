"""The monitoring page, with the original's metric names (util/prometheus_exporter.cc)."""

from __future__ import annotations

import re
import threading
from bisect import bisect_left
from collections import Counter, defaultdict
from pathlib import Path
from typing import Final

from tfsdeploy.server.flags import say

# Exponential buckets, microseconds: 10 x 1.8^i (servables/tensorflow/util.cc).
BOUNDS: Final = tuple(10 * 1.8**power for power in range(33))

MOST_SERIES: Final = 10_000
"""Clients may ask for any name: failures for names beyond so many are counted together."""

OTHERS: Final = "(others)"

PATH: Final = "/monitoring/prometheus/metrics"

_ENABLE: Final = re.compile(r"\benable\s*:\s*(?:true|t|1)\b")
_PATH: Final = re.compile(r"\bpath\s*:\s*[\"']([^\"']*)[\"']")


class Metrics:
    """Counts requests.

    Args:
        config_file: ``--monitoring_config_file``; empty: no page.
        by_version: label what is counted with the version that answered, too; empty for none.

    Attributes:
        path: of the page; empty: there is none.
    """

    def __init__(self, config_file: str = "", *, by_version: bool = False) -> None:
        self.path = _path(config_file) if config_file else ""
        self._by_version = by_version
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, str]] = Counter()
        self._latency: dict[tuple[str, str, str, str], list[int]] = defaultdict(lambda: [0] * (len(BOUNDS) + 1))
        self._sums: Counter[tuple[str, str, str, str]] = Counter()

    def count(self, model_name: str, api: str, entrypoint: str, code: str, seconds: float, version: int | None) -> None:
        """One request: its outcome, and its latency if it was answered."""
        more = f',version="{"" if version is None else version}"' if self._by_version else ""
        with self._lock:
            if code != "OK" and len(self._requests) >= MOST_SERIES and (model_name, code, more) not in self._requests:
                model_name = OTHERS
            self._requests[model_name, code, more] += 1
            if code == "OK":
                micros = seconds * 1e6
                self._latency[model_name, api, entrypoint, more][bisect_left(BOUNDS, micros)] += 1
                self._sums[model_name, api, entrypoint, more] += round(micros)

    def page(self) -> str:
        """The page in Prometheus' text format."""
        name = ":tensorflow:serving:request_count"
        lines = [f"# TYPE {name} counter"]
        with self._lock:
            for (model, status, more), count in sorted(self._requests.items()):
                lines.append(f'{name}{{model_name="{_quoted(model)}",status="{status}"{more}}} {count}')
            name = ":tensorflow:serving:request_latency"
            lines.append(f"# TYPE {name} histogram")
            for key, buckets in sorted(self._latency.items()):
                labels = f'model_name="{_quoted(key[0])}",API="{key[1]}",entrypoint="{key[2]}"{key[3]}'
                total = 0
                for bound, count in zip((*(f"{b:.6g}" for b in BOUNDS), "+Inf"), buckets, strict=True):
                    total += count
                    lines.append(f'{name}_bucket{{{labels},le="{bound}"}} {total}')
                lines += [f"{name}_sum{{{labels}}} {self._sums[key]}", f"{name}_count{{{labels}}} {total}"]
        return "\n".join(lines) + "\n"


def _path(config_file: str) -> str:
    """The page's path by a MonitoringConfig in text format (config/monitoring_config.proto)."""
    try:
        text = Path(config_file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        # The original goes on without REST then; here only the page is missing.
        say(f"The monitoring configuration {config_file} cannot be read, so there is no page: {error}")
        return ""
    # Its message has these two fields and nothing else; its generated module is in no package.
    path = _PATH.search(text)
    return (path[1] if path and path[1] else PATH) if _ENABLE.search(text) else ""


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
