"""A store that takes a request and never answers keeps nobody who presses Ctrl-C, or gave a time."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.cli.saved_models import write_saved_model
from tfsdeploy.cli.impatience import GRACE_SECONDS
from tfsdeploy.targets.base import Settings
from tfsdeploy.targets.local.state import FleetFolder

SLOW = 60
"""Seconds that starting and ending a command may take on a busy machine; the client library alone would take 150."""


@contextmanager
def silent_store(folder: Path) -> Iterator[socket.socket]:
    """A fleet file in ``folder`` whose store accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(SLOW)
        folder.mkdir(exist_ok=True)
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        (folder / "fleet.yaml").write_text(
            "apiVersion: tfsdeploy/v1\nkind: Fleet\nname: shop\nstore: s3://models\nmodels: {m: {}}\n"
            f"storeOptions: {{endpoint: {endpoint!r}, region: us-east-1}}\n"
        )
        yield silent


@contextmanager
def command(folder: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    with subprocess.Popen(
        [sys.executable, "-m", "tfsdeploy", *words, "-o", "json"],
        cwd=folder,
        env={**os.environ, **keys, "TFSDEPLOY_HOME": str(folder / "home")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        yield process


@pytest.mark.parametrize("twice", [False, True])
def test_ctrl_c_is_heard_by_whoever_waits_for_a_silent_store(twice: bool, tmp_path: Path) -> None:
    write_saved_model(tmp_path / "model", 1)
    with (
        silent_store(tmp_path) as silent,
        command(tmp_path, "push", "m", "model") as process,
        silent.accept()[0],
    ):
        process.send_signal(signal.SIGINT)
        if twice:
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(2)
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=GRACE_SECONDS[signal.SIGINT] + SLOW)
    assert (process.returncode, json.loads(out)["error"]["code"]) == (130, 130)
    assert "Ctrl-C again ends it at once" in err.decode()
    assert "interrupted" in err.decode()


@pytest.mark.parametrize("words", [("versions", "m"), ("inspect", "m", "1")])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_only_reads_says_what_it_waits_for_and_ends_at_the_first_ctrl_c(
    words: tuple[str, ...], number: signal.Signals, tmp_path: Path
) -> None:
    with silent_store(tmp_path) as silent, command(tmp_path, *words) as process, silent.accept()[0]:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"waiting: s3://models: ")
        process.send_signal(number)
        out, err = process.communicate(timeout=SLOW)
    assert (process.returncode, json.loads(out)["error"]["hint"]) == (130, "nothing was changed")
    assert "Ctrl-C again" not in err.decode()


def test_a_time_limit_holds_whatever_is_waited_for(tmp_path: Path) -> None:
    with ExitStack() as stack:
        begun = []
        for words in (("versions", "m"), ("promote", "m", "2"), ("push", "m", "model"), ("up",)):
            folder = tmp_path / words[0]
            silent = stack.enter_context(silent_store(folder))
            home = FleetFolder(folder / "home", "shop")
            if words[0] != "up":
                home.make()
                home.write_settings(Settings("shop", "local", str(folder / "fleet.yaml"), "s3://models", {}, 3, 2, 1))
            begun.append((silent, home, stack.enter_context(command(folder, *words, "--timeout", "10s"))))
        for silent, home, process in begun:
            out, err = process.communicate(timeout=SLOW)
            silent.accept()[0].close()
            assert (process.returncode, json.loads(out)["error"]["code"]) == (1, 1), err
            assert "not done after 10 s" in err.decode()
            # A fleet's first promote begins its release, for replicas that wait for one; no version is in it yet.
            release = home.path / "release.json"
            assert not release.exists() or json.loads(release.read_text())["models"]["m"]["versions"] == {}
