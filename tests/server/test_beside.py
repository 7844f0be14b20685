"""Loads take less of the processor than requests, and the threads that run requests do not inherit that."""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.gateway.harness import wait
from tests.models import write_half_plus_two
from tests.server.live import Live
from tfsdeploy.server.beside import NICENESS, beside_requests

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only whole processes have a priority")


def _niceness(thread: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, thread)


def test_what_is_done_beside_requests_comes_after_them() -> None:
    mine = _niceness(threading.get_native_id())
    assert beside_requests(lambda: _niceness(threading.get_native_id())) == min(19, mine + NICENESS)
    assert _niceness(threading.get_native_id()) == mine


def test_its_errors_are_told() -> None:
    with pytest.raises(KeyError, match="here"):
        beside_requests(lambda: {}["here"])


def test_what_failed_is_let_go_of() -> None:
    class Large:
        pass

    seen: list[weakref.ref[Large]] = []

    def work() -> None:
        large = Large()
        seen.append(weakref.ref(large))
        raise KeyError("here")

    gc.disable()
    try:
        with suppress(KeyError):
            beside_requests(work)
        wait("the thread's end", lambda: seen[0]() is None, 60.0)
    finally:
        gc.enable()


def test_no_thread_of_a_server_that_has_loaded_stays_behind(tmp_path: Path) -> None:
    write_half_plus_two(tmp_path / "model" / "1")
    with Live(tmp_path / "log", f"--model_base_path={tmp_path / 'model'}") as server:
        server.serves("default", 1)
        process = psutil.Process(server.process.pid)
        assert process.num_threads() > 2
        # One that ends between the list and the look raises OSError, for which `wait` looks again.
        wait("what has loaded ends", lambda: {_niceness(one.id) for one in process.threads()} == {process.nice()}, 60.0)


def test_where_priorities_are_forbidden_it_is_done_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setpriority", refused)
    assert beside_requests(lambda: 1) == 1
