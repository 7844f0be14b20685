"""`status --watch`: the fleet as it is now, again and again; with JSON one document a line."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NoReturn

from tfsdeploy.cli.call import Call
from tfsdeploy.cli.picture import columns, split_words, status_text
from tfsdeploy.cli.status import document
from tfsdeploy.deploy.metrics import Key, Rates, count, rates
from tfsdeploy.deploy.watch import SILENT_SECONDS, Watch
from tfsdeploy.errors import Interrupted
from tfsdeploy.targets.base import Settings, Target

SCRAPE_SECONDS = 1.0


def watch_status(call: Call, settings: Settings, interval: float) -> int:
    """Show the status until Ctrl-C, which is how it ends: not a failure, so nothing is said about it.

    Args:
        call: the command's call.
        settings: what `up` last applied.
        interval: seconds between two looks.

    Returns:
        The exit code of an interrupted command.
    """
    with suppress(KeyboardInterrupt), Watch(call.target) as watch:
        watch.until(lambda view: view.heard, SILENT_SECONDS)
        if call.answer.json:
            _documents(call, settings, watch, interval)
        else:
            _screen(call, settings, watch, interval)
    return Interrupted.exit_code


def _documents(call: Call, settings: Settings, watch: Watch, interval: float) -> NoReturn:
    while True:
        call.answer.give(document(call, settings, watch.view()))
        time.sleep(interval)


def _screen(call: Call, settings: Settings, watch: Watch, interval: float) -> NoReturn:
    from rich.live import Live
    from rich.text import Text

    target = call.target
    before, since = count(pages(target)), time.monotonic()
    with Live(auto_refresh=False, screen=True) as live:
        while True:
            shown = document(call, settings, watch.view())
            after, now = count(pages(target)), time.monotonic()
            found = rates(before, after, max(now - since, 0.001))
            before, since = after, now
            picture = status_text(shown) + "\n" + rates_text(shown, found)
            live.update(Text.from_ansi(picture), refresh=True)
            time.sleep(interval)


def pages(target: Target) -> dict[str, str]:
    """Each gateway's Prometheus page; one that does not answer is left out."""
    found = {}
    for gateway in target.gateways():
        try:
            with urllib.request.urlopen(f"{gateway.status}/metrics", timeout=SCRAPE_SECONDS) as answer:
                found[gateway.name] = answer.read().decode(errors="replace")
        except OSError:
            continue
    return found


def rates_text(document: Mapping[str, Any], found: Mapping[Key, Rates]) -> str:
    """Requests by model and version: what the split says and what really comes."""
    rows = []
    for (model, version), row in sorted(found.items()):
        split = document["models"].get(model, {}).get("traffic", {})
        latency = tuple("-" if value is None else f"≤ {value:g}" for value in (row.p50_ms, row.p99_ms))
        share = split_words({version: split[version]}) if version in split else "-"
        rows.append((model, version, share, f"{row.rate:.1f}", *latency, f"{row.errors:.1f}"))
    heads = ("MODEL", "VERSION", "TRAFFIC", "REQUESTS/S", "P50 MS", "P99 MS", "ERRORS/S")
    return "\n".join(columns(heads, rows)) + "\n"
