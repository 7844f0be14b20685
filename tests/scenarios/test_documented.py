"""The commands of the documentation, as they are written there, from the S3 server's start to the end of all."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.ports import free_ports
from tests.s3 import at_ports, remove_sockets
from tests.scenarios.live import eventually
from tests.scenarios.stream import asks_of
from tfsdeploy.deploy.load import Background, Stream

PAGE = Path(__file__).parents[2] / "docs" / "stores.md"
RATE = 40.0
LIMIT = 200.0

LOOK = "tfsdeploy status -o json; read -r"
"""What the test adds where it wants to look: the next command waits until it has."""


def _lines(ports: Sequence[int]) -> list[str]:
    """The lines of the block, with free ports of this machine, and a look while the fleet is up."""
    block = PAGE.read_text().split("## An object store in five minutes")[1].split("\n## ")[0]
    lines = [line.strip() for line in block.splitlines() if line.startswith("    ")]
    # Installed already.
    text = "\n".join(line for line in lines if not line.startswith("pip install"))
    for written, here in (
        ("weed server -s3 ", f"weed server -s3 {' '.join(at_ports(ports))} "),
        ("http://127.0.0.1:8888", f"http://127.0.0.1:{ports[4]}"),
        ("http://127.0.0.1:8333", f"http://127.0.0.1:{ports[6]}"),
        ("--replicas 3", "--replicas 3 --free-ports"),
        ("\ntfsdeploy up\n", f"\ntfsdeploy up\n{LOOK}\n"),
        # Nobody is there to agree.
        ("\ntfsdeploy down && ", f"\n{LOOK}\ntfsdeploy down --yes && "),
    ):
        assert text.count(written) == 1, written
        text = text.replace(written, here)
    return text.splitlines()


def _in_the_file(line: str) -> str:
    """A line of a comment that tells what to write into the fleet file, as a command that does."""
    found = re.fullmatch(r"#(?: in fleet\.yaml:)? +((store|storeOptions): .*)", line)
    if found is None:
        return line
    return f"sed -i '/^{found[2]}:/d' fleet.yaml && echo '{found[1]}' >> fleet.yaml"


@contextmanager
def _bash(script: str, folder: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A shell with jobs, as a person has one, in a session of its own; whatever it has started ends with the block."""
    argv = ["bash", "-euo", "pipefail", "-c", f"set -m\n{script}"]
    with (folder / "stderr").open("w") as errors:
        process = subprocess.Popen(
            argv, cwd=folder, env=environment, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            for started in _of_session(process.pid):
                with suppress(psutil.NoSuchProcess):
                    started.kill()


def _of_session(leader: int) -> list[psutil.Process]:
    """The shell, and what it has started in its session."""
    found = []
    for process in psutil.process_iter():
        with suppress(OSError):
            if os.getsid(process.pid) == leader:
                found.append(process)
    return found


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _looked(shell: subprocess.Popen[str]) -> tuple[str, dict[str, Any]]:
    """What was printed until the next look, and the fleet's status by then."""
    printed = ""
    assert shell.stdout is not None
    for line in shell.stdout:
        if line.startswith('{"fleet"'):
            return printed, json.loads(line)
        printed += line
    raise AssertionError(f"it ended early: {printed}")


def _go_on(shell: subprocess.Popen[str]) -> None:
    assert shell.stdin is not None
    shell.stdin.write("\n")
    shell.stdin.flush()


@pytest.mark.any_server
def test_an_object_store_in_five_minutes(mode: str, tmp_path: Path) -> None:
    """From an empty folder to an empty machine; from the first `up` on, no request fails."""
    ports = free_ports(8)
    lines = [_in_the_file(line) for line in _lines(ports)]
    assert sum("fleet.yaml" in line for line in lines) == 2
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "TFSDEPLOY_HOME": str(tmp_path / "home"),
    }
    errors, seen = tmp_path / "stderr", Counter[int]()
    try:
        with _bash("\n".join(lines), tmp_path, environment) as shell:
            printed, status = _looked(shell)
            assert "s3://models/prod: 1 model" in printed
            (gateway, *_) = status["gateways"]
            asks = list(asks_of("half_plus_two", {2.5, 3.5}, seen))
            with Background(Stream(gateway["rest"], gateway["grpc"], asks, RATE)) as requests:
                eventually(lambda: requests.tally.seconds or requests.tally.failed, "the first answers")
                _go_on(shell)
                printed, status = _looked(shell)
            assert re.search(r"2\.5,\s*3\.0,\s*4\.5", printed), printed
            assert status["models"]["half_plus_two"]["traffic"] == {"1": 100}
            assert status["models"]["half_plus_two"]["loaded"] == [1, 2]
            tally = requests.tally
            assert (tally.complete, tally.failed) == (True, 0), tally.failures
            assert set(seen) == {2, 3}, "it was promoted and rolled back meanwhile"
            _go_on(shell)
            printed, _ = shell.communicate(timeout=LIMIT)
            assert shell.returncode == 0, errors.read_text()
            assert "is gone" in printed
            # Its other parts take half a minute to end in good order.
            eventually(lambda: not _listens(ports[4]), "the end of the store")
    except AssertionError as error:
        error.add_note(errors.read_text())
        raise
    finally:
        for file in tmp_path.glob("*/fleet.yaml"):
            down = ("tfsdeploy", "down", "--yes")
            subprocess.run(down, cwd=file.parent, env=environment, capture_output=True, timeout=LIMIT, check=True)
        remove_sockets(ports)
