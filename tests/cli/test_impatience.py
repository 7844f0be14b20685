"""A store that takes a request and never answers keeps nobody who presses Ctrl-C, or gave a time."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tfsdeploy.cli.impatience import GRACE_SECONDS

LIMIT = GRACE_SECONDS + 60
"""Seconds; the client library alone would go on for more than twice as many."""


@pytest.mark.parametrize("how", ["ctrl-c", "ctrl-c twice", "--timeout"])
def test_a_store_that_does_not_answer_is_not_waited_for(how: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(LIMIT)
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        (tmp_path / "fleet.yaml").write_text(
            "apiVersion: tfsdeploy/v1\nkind: Fleet\nname: shop\nstore: s3://models\nmodels: {m: {}}\n"
            f"storeOptions: {{endpoint: {endpoint!r}, region: us-east-1}}\n"
        )
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
        words = ["versions", "m", "-o", "json", *(["--timeout", "1s"] if how == "--timeout" else [])]
        with (
            subprocess.Popen(
                [sys.executable, "-m", "tfsdeploy", *words],
                cwd=tmp_path,
                env={**os.environ, **keys, "TFSDEPLOY_HOME": str(tmp_path / "home")},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            ) as process,
            silent.accept()[0],
        ):
            if how != "--timeout":
                process.send_signal(signal.SIGINT)
            if how == "ctrl-c twice":
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(2)
                process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=LIMIT)
    code, said = (1, "not done after 1 s") if how == "--timeout" else (130, "interrupted")
    assert (process.returncode, json.loads(out)["error"]["code"]) == (code, code)
    assert said in err.decode()
