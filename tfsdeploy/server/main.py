"""`tfsdeploy-model-server` and `tfsdeploy server`: start in the original's order, serve, end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, NoReturn

from tfsdeploy import __version__
from tfsdeploy.protocol.status import Failed
from tfsdeploy.server import flag_table, text_file
from tfsdeploy.server.core import Core
from tfsdeploy.server.flags import OWN, Flags, Unusable, log_as, parse, say
from tfsdeploy.server.loader import Loader
from tfsdeploy.server.loading import import_tensorflow
from tfsdeploy.server.manager import Manager
from tfsdeploy.server.metrics import Metrics
from tfsdeploy.server.reload import Reloader

if TYPE_CHECKING:
    from tfsdeploy.server import listening
    from tfsdeploy.server.servable import Servable

FAILED = 255  # exit(-1)

OWN_THREADS = 4

PROGRAM = "tfsdeploy-model-server"

LIKE = "2.20.0"
"""The release of the original that this server behaves like."""

EXAMPLE = f"example: {PROGRAM} --model_name=half --model_base_path=/srv/models/half --rest_api_port=8501\n"

SWITCH_SECONDS = 0.001

NEEDED = ("hpack", "orjson", "uvloop")


def main(arguments: list[str] | None = None) -> int:
    """Run the server until it is ended.

    Args:
        arguments: without the program's name; None: the process's own.

    Returns:
        0 after ``--version``; 255 if it cannot start, or after ``--help``, as the original. After SIGTERM or SIGINT the
        process itself ends, with 0.
    """
    words = sys.argv[1:] if arguments is None else arguments
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    usage = flag_table.usage(PROGRAM, OWN) + EXAMPLE
    try:
        flags, unknown, undone = parse(words)
        if flags.version:
            return _version()
        log_as(flags.log_format)
        for line in undone:
            say(line, "WARNING")
        if unknown:
            # Like the original it tells the first, and starts all the same.
            print(f"unknown argument: {unknown[0]}\n{usage}", end="", flush=True)
        _check(flags)
        Server(flags).run()
    except Unusable as error:
        if str(error):
            say(str(error), "ERROR")
        print(usage, end="")
    except Failed as error:
        print(f"Failed to start server. Error: {error.code}: {error.message}", flush=True)
    return FAILED


def _version() -> int:
    # Its metadata, because importing TensorFlow takes seconds and says more than was asked.
    try:
        library = metadata.version("tensorflow")
    except metadata.PackageNotFoundError:
        library = "not installed"
    print(f"TensorFlow ModelServer: {LIKE}+tfsdeploy.{__version__}\nTensorFlow Library: {library}")
    return 0


def _check(flags: Flags) -> None:
    if not flags.port and not flags.grpc_socket_path:
        raise Failed(
            "INVALID_ARGUMENT",
            "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set.",
        )
    if flags.rest_api_port and flags.rest_api_port == flags.port:
        raise Failed(
            "INVALID_ARGUMENT",
            "server_options.http_port cannot be same as grpc_port. Please use a different port for HTTP/REST API.",
        )
    if not flags.model_base_path and not flags.model_config_file:
        raise Failed(
            "INVALID_ARGUMENT",
            "Both server_options.model_base_path and server_options.model_config_file are empty!",
        )
    if flags.use_alts_credentials:
        raise Failed("INVALID_ARGUMENT", "There are no ALTS credentials here; for TLS give ssl_config_file instead.")
    if flags.platform_config_file:
        from tensorflow_serving.config import platform_config_pb2

        text_file.parse(flags.platform_config_file, platform_config_pb2.PlatformConfigMap())
        say(f"{flags.platform_config_file} is well formed; models are loaded as the other flags say", "WARNING")
    if flags.tensorflow_session_config_file:
        import_tensorflow()
        from tfsdeploy.server import session_config

        session_config.of(flags)
    if flags.batching_parameters_file and not flags.enable_batching:
        raise Failed(
            "INVALID_ARGUMENT",
            "server_options.batching_parameters_file is set without setting server_options.enable_batching to true.",
        )
    parallelism = (flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism)
    if flags.tensorflow_session_parallelism and any(parallelism):
        raise Failed(
            "INVALID_ARGUMENT",
            "Either configure server_options.tensorflow_session_parallelism or "
            "(server_options.tensorflow_intra_op_parallelism, server_options.tensorflow_inter_op_parallelism) "
            "separately. You cannot configure all.",
        )
    if min(flags.rest_api_num_threads, flags.grpc_max_threads, flags.drain_seconds) < 0:
        raise Failed("INVALID_ARGUMENT", "rest_api_num_threads, grpc_max_threads and drain_seconds cannot be negative")


def load_threads(flags: Flags) -> tuple[int, int | None]:
    """How many versions may load at once, and how many unload; None: both share the first.

    Like the original, 0 is the manager's own thread, which does one thing at a time (basic_manager.cc); by default it
    is threads enough that a slow model holds nobody up.
    """
    loads, unloads = max(0, flags.num_load_threads), max(0, flags.num_unload_threads)
    if not flags.like_tfs:
        return loads or OWN_THREADS, unloads or OWN_THREADS
    return max(1, loads), unloads or (1 if loads else None)


class Server:
    """One server; does nothing until it runs.

    Args:
        flags: what it was told.

    Raises:
        Failed: FAILED_PRECONDITION: what it is made of is not installed.
    """

    def __init__(self, flags: Flags) -> None:
        missing = [name for name in NEEDED if find_spec(name) is None]
        if missing:
            raise Failed("FAILED_PRECONDITION", f"{', '.join(missing)} not installed: pip install 'tfsdeploy[server]'")
        from tfsdeploy.server.rest import Rest

        self._flags = flags
        self._metrics = Metrics(flags.monitoring_config_file, by_version=flags.metrics_by_version)
        loads, unloads = load_threads(flags)
        self._manager: Manager[Servable] = Manager(
            Loader(flags, self._metrics).load,
            # The original starts with four threads a core, whatever it goes on with (load_servables_fast.cc).
            threads=4 * (os.cpu_count() or 1) if flags.like_tfs else loads,
            unload_threads=None if flags.like_tfs else unloads,
            retries=flags.max_num_load_retries,
            retry_seconds=max(0.0, flags.load_retry_interval_micros / 1e6),
            like_tfs=flags.like_tfs,
        )
        self._metrics.there = self._manager.there
        self._core = Core(
            self._manager, check_methods=flags.enable_signature_method_name_check, like_tfs=flags.like_tfs
        )
        self._rest = Rest(
            self._core,
            self._metrics,
            flags.rest_api_timeout_in_ms,
            cors=flags.rest_api_enable_cors_support,
            readyz=flags.readyz,
        )
        self._reloader = Reloader(self._core, flags)

    def run(self) -> NoReturn:
        """Start, serve until SIGTERM or SIGINT, drain, and end the process.

        Raises:
            Failed: it cannot start.
        """
        if self._flags.like_tfs:
            # No handler anywhere in the original: a signal ends it at once, with what is in flight.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            try:
                self._reloader.start()
            except Failed:
                # The original is gone at once, however many retries of other versions it had before it.
                self._manager.close()
                raise
            self._manager.use_threads(*load_threads(self._flags))
        import uvloop

        # Requests wait for the interpreter while a version loads: not 5 ms, as Python lets them.
        sys.setswitchinterval(SWITCH_SECONDS)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())
            sys.stdout.flush()
            sys.stderr.flush()
            # Python waits for its threads, and some may hang in a file system or in a model.
            os._exit(0)

    async def _serve(self) -> None:
        flags = self._flags
        ports: list[listening.Port] = []
        ended = asyncio.Event()
        try:
            if not flags.like_tfs:
                for number in (signal.SIGTERM, signal.SIGINT):
                    asyncio.get_running_loop().add_signal_handler(number, ended.set)
                if flags.open_early:
                    await self._listen(ports)
                await _unless(ended, self._reloader.start)
                threading.Thread(target=_import_tensorflow, daemon=True).start()
                if not flags.open_early:
                    # Like the original's ports, these open when the models are there, as far as there are any.
                    await _unless(ended, self._reloader.first_loads)
            if not ports and not ended.is_set():
                await self._listen(ports)
            await ended.wait()
            say(f"Draining: requests in flight have {flags.drain_seconds} s")
        finally:
            self._reloader.stop()
            await asyncio.gather(*(port.close(flags.drain_seconds) for port in ports))
            self._manager.close()

    async def _listen(self, ports: list[listening.Port]) -> None:
        from tfsdeploy.server import listening

        ports.append(await listening.grpc(self._flags, self._core, self._metrics))
        if self._flags.rest_api_port:
            ports.append(await listening.rest(self._flags, self._rest))


async def _unless(ended: asyncio.Event, work: Callable[[], None]) -> None:
    """Have something done in a thread, and wait for it until the server is to end."""
    working = asyncio.ensure_future(asyncio.to_thread(work))
    ending = asyncio.ensure_future(ended.wait())
    done, _ = await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
    ending.cancel()
    if working in done:
        working.result()


def _import_tensorflow() -> None:
    """So that the first request does not wait for it."""
    with contextlib.suppress(ImportError):
        import_tensorflow()
        import tfsdeploy.server.grpc_service
        import tfsdeploy.server.servable  # noqa: F401


if __name__ == "__main__":
    sys.exit(main())
