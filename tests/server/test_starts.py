"""Command lines that it starts with, and those that it does not: the exit code, and which words go to which stream."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
import yaml

from tests.ports import free_ports
from tfsdeploy.server.flag_table import usage
from tfsdeploy.server.flags import OWN
from tfsdeploy.server.main import EXAMPLE, PROGRAM

CASES = yaml.safe_load((Path(__file__).parents[1] / "cases" / "server" / "starts.yaml").read_text())


@contextmanager
def starter() -> Iterator[tuple[IO[str], IO[str]]]:
    """What starts servers: where it is told to, and where it tells what became of them."""
    program = [sys.executable, "-P", str(Path(__file__).with_name("starter.py"))]
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield process.stdin, process.stdout
        finally:
            process.kill()


@pytest.mark.parametrize("mode", [[], ["--like-tfs"]], ids=["own", "like-tfs"])
def test_what_a_command_line_leads_to(mode: list[str], tmp_path: Path) -> None:
    """One test for all, because each takes a moment; every difference is named."""
    shown = usage(PROGRAM, OWN) + EXAMPLE
    different = []
    with starter() as (asked, told):
        for at, case in enumerate(CASES):
            if mode and not any(flag.startswith("--model_config_file") for flag in case["flags"]):
                continue  # it ends before the modes differ
            folder = tmp_path / str(at)
            folder.mkdir()
            (folder / "none").write_text("model_config_list {}")
            for name, text in case.get("files", {}).items():
                (folder / name).write_text(text)
            grpc_port, rest_port = free_ports(2)
            # Not by format(): configurations have braces of their own.
            flags = [flag.replace("{folder}", str(folder)).replace("{port}", str(grpc_port)) for flag in case["flags"]]
            ports = ["--address=127.0.0.1", f"--port={grpc_port}", f"--rest_api_port={rest_port}"]
            out, err = folder / "stdout", folder / "stderr"
            print(json.dumps([[*ports, *mode, *flags], str(out), str(err)]), file=asked, flush=True)
            code = json.loads(told.readline())
            stdout, stderr = out.read_text(), err.read_text()
            expected = case["stdout"].replace("{folder}", str(folder)).replace("usage", shown)
            words = case.get("stderr", "").replace("{folder}", str(folder))
            if (code, stdout) != (case.get("code"), expected) or words not in stderr or "Traceback" in stderr:
                different.append((case["name"], code, stdout, stderr))
    assert different == []
