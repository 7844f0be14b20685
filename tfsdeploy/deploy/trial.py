"""`push --check`: load a SavedModel once in the embedded server, a process of its own, and ask what it should know."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tfsdeploy.errors import TfsdeployError
from tfsdeploy.report import Report
from tfsdeploy.store.golden import Golden, beside, difference
from tfsdeploy.store.record import Check
from tfsdeploy.store.savedmodel import inspect
from tfsdeploy.targets.local.credentials import for_process

PROGRAM = "tfsdeploy.server.trial"
WAIT_SECONDS = 0.25


def try_out(folder: Path, report: Report, *, prefer_tflite: bool = False) -> Check:
    """Load a version, answer its warm-up requests, and compare its answers to the golden ones.

    Args:
        folder: the SavedModel.
        report: hears what is waited for.
        prefer_tflite: load its TFLite model if it has one; one that is alone is loaded in any case.

    Returns:
        What is to stand in its commit record.

    Raises:
        UsageError: it is no complete SavedModel, or its golden requests cannot be understood.
        TfsdeployError: TensorFlow is not installed; or the version does not load, or answers otherwise: says how.
    """
    _check_tensorflow()
    info = inspect(folder)
    tflite = info.tflite is not None and (prefer_tflite or info.signatures is info.tflite)
    golden = beside(folder)
    told = _tried(folder, golden, report, tflite=tflite)
    where = str(folder)
    if "error" in told:
        raise TfsdeployError(f"it does not load: {told['error']}; nothing was published", where=where)
    for number, (request, (status, body)) in enumerate(zip(golden, told["answers"], strict=True)):
        if wrong := difference(request, status, body.encode(errors="surrogateescape")):
            raise TfsdeployError(
                f"golden request {number}: {wrong}; nothing was published",
                where=where,
                hint="mend the model, or what golden.json expects",
            )
    return Check(
        tensorflow=told["tensorflow"],
        load_seconds=told["load_seconds"],
        memory=told["memory"],
        peak_memory=told["peak_memory"],
        warm_up=told["warm_up"],
        golden=len(golden),
    )


def _check_tensorflow() -> None:
    missing = [name for name in ("tensorflow", "tensorflow_serving") if importlib.util.find_spec(name) is None]
    if missing:
        raise TfsdeployError(
            "--check loads the version with TensorFlow, which is not installed here",
            hint="pip install 'tfsdeploy[server]'; or publish without --check",
        )


def _tried(folder: Path, golden: tuple[Golden, ...], report: Report, *, tflite: bool) -> dict[str, Any]:
    """What the process tells; credentials of stores are none of its business."""
    requests = [{"method": request.method, "body": request.body.decode()} for request in golden]
    asked = json.dumps({"path": str(folder.resolve()), "tflite": tflite, "requests": requests, "parent": os.getpid()})
    with tempfile.TemporaryFile() as log, tempfile.TemporaryFile() as words:
        words.write(asked.encode())
        words.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-m", PROGRAM],
            stdin=words,
            stdout=subprocess.PIPE,
            stderr=log,
            env=for_process("server", os.environ),
        )
        try:
            out = _out(process, report)
        finally:
            # Also when the user gives up, or time is over.
            process.kill()
            process.wait()
        if process.returncode == 0:
            told: dict[str, Any] = json.loads(out)
            return told
        log.seek(0)
        last = (log.read().decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
    raise TfsdeployError(
        f"the model server {_end(process.returncode)} while it tried the version: {last}; nothing was published",
        where=str(folder),
        hint="it may need more memory than this machine has" if process.returncode == -signal.SIGKILL else "",
    )


def _out(process: subprocess.Popen[bytes], report: Report) -> bytes:
    while True:
        report.waiting("loading it once")
        try:
            return process.communicate(timeout=WAIT_SECONDS)[0]
        except subprocess.TimeoutExpired:
            continue


def _end(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
