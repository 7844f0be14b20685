"""Lets this machine's loopback reach an address in the cluster: `python -m tests.cluster.forward PID ADDRESS PORT`."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import sys
from contextlib import suppress

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET, setns(2)
CHUNK = 65536


def main() -> None:
    """Listen on a free port of this network, print it, and connect from the other network, where the process PID is."""
    pid, address, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    listening = socket.create_server(("127.0.0.1", 0))
    inside = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    # A socket stays in the network in which it was made.
    if ctypes.CDLL(None, use_errno=True).setns(inside, _NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "setns")
    print(listening.getsockname()[1], flush=True)
    asyncio.run(_serve(listening, address, port))


async def _serve(listening: socket.socket, address: str, port: int) -> None:
    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there, here = await asyncio.open_connection(address, port)
            await asyncio.gather(_copy(reader, here), _copy(there, writer))
        writer.close()

    server = await asyncio.start_server(forward, sock=listening)
    await server.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    with suppress(OSError):
        writer.close()


if __name__ == "__main__":
    main()
