"""Command lines of the server, each in a fork of this process: most of a start is what it imports.

Each line of stdin is a JSON list: arguments, and the files for stdout and stderr. Each line of stdout is the exit code,
or null for one that served.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import uvloop  # noqa: F401
from google.protobuf import text_format  # noqa: F401
from tensorflow_serving.config import model_server_config_pb2  # noqa: F401

import tfsdeploy.server.listening
import tfsdeploy.server.rest  # noqa: F401
from tfsdeploy.server.main import main

SERVES = "Exporting HTTP/REST API at:localhost:"


def _ended(child: int, stderr: str) -> int | None:
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if SERVES in Path(stderr).read_text():
            os.kill(child, 9)
            os.waitpid(child, 0)
            return None
        time.sleep(0.005)


for line in sys.stdin:
    arguments, *files = json.loads(line)
    for file in files:
        Path(file).touch()
    child = os.fork()
    if not child:
        for at, file in enumerate(files, 1):
            os.dup2(os.open(file, os.O_WRONLY), at)
        code = main(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # an interpreter takes longer to end than to do all this
    print(json.dumps(_ended(child, files[1])), flush=True)
