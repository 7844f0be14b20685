"""Write tfsdeploy/protocol/wire_pb2.py and .pyi anew from wire.proto: `python -m tests.protocol.generate_wire`.

It needs grpcio-tools, which nothing else does; what it writes is checked in.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROTO = "tfsdeploy/protocol/wire.proto"

# protoc pins its output to its own major version of the runtime; a proto3 descriptor as plain as this one is understood
# by every runtime that TensorFlow may bring.
_GUARD = re.compile(
    r"^from google\.protobuf import runtime_version.*?\n|^_runtime_version\.Validate.*?^\)\n", re.MULTILINE | re.DOTALL
)


def generate(folder: Path) -> None:
    """Write both modules below ``folder``, at the proto file's place.

    Raises:
        subprocess.CalledProcessError: the proto file is wrong, or there is no protoc.
    """
    to = [f"--python_out={folder}", f"--pyi_out={folder}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT}", *to, PROTO], check=True, cwd=ROOT)
    module = folder / PROTO.replace(".proto", "_pb2.py")
    module.write_text(_GUARD.sub("", module.read_text()))


if __name__ == "__main__":
    generate(ROOT)
