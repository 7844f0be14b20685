"""tensorflow_model_server's command line: its flags and the rules by which it reads them."""

from __future__ import annotations

import datetime
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Literal

from tfsdeploy.server.flag_table import ORIGINAL, Flag

# What the original has and this server takes without doing it, and what it does instead.
ACCEPTED: Final[Mapping[str, str]] = {
    "enable_profiler": "TensorFlow's profiler is not served on the gRPC port here",
    "flush_filesystem_caches": "files are read anew for each load, past no cache of this server",
    "remove_unused_fields_from_bundle_metagraph": "of a model's file only the signatures are kept, whatever it says",
    "skip_initialize_tpu": "TPUs are not used here",
    "thread_pool_factory_config_file": "threads are given by the parallelism flags alone",
    "xla_cpu_compilation_enabled": "functions that ask for XLA are compiled, others are not",
    "xla_gpu_compilation_enabled": "functions that ask for XLA are compiled, others are not",
}

OWN: Final = (
    Flag("address", "string", "", "bind only this address"),
    Flag("drain_seconds", "int32", "10", "how long requests in flight may take after SIGTERM"),
    Flag("open_early", "bool", "false", "open the ports at once, not only when the models are loaded"),
    Flag("readyz", "bool", "false", "answer /readyz on the REST port: 200 when every configured version is AVAILABLE"),
    Flag("metrics_by_version", "bool", "false", "label the monitoring page's series with the version, too"),
    Flag("keep_missing", "bool", "false", "keep what is loaded when its folder, or every version, is no longer found"),
    Flag("retry_failed_seconds", "int32", "0", "load a version that failed anew after so long; 0: never"),
    Flag("check_complete", "bool", "false", "load a version only when all files are there that its checkpoint names"),
    Flag("log_format", "string", "text", "json: one JSON object a line: time, severity, message"),
    Flag("like_tfs", "bool", "false", "behave like the original at its most awkward, for tests"),
)
"""This server's own flags."""

OWN_SPELLINGS: Final = frozenset({"like-tfs", "drain-seconds"})

FLAGS: Final[Mapping[str, Flag]] = {flag.name: flag for flag in (*ORIGINAL, *OWN)}

BATCHING_THREADS: Final = 128
"""Who waits for a batch holds a thread: with too few of them no batch is ever full, and each waits its time out."""

Severity = Literal["INFO", "WARNING", "ERROR"]

_JSON_LOG = False

_BOOLS: Final[Mapping[str, bool]] = {"true": True, "1": True, "false": False, "0": False}
_INTEGER: Final = re.compile(r"\s*[+-]?[0-9]+\Z", re.ASCII)
_FLOAT: Final = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\Z", re.ASCII)


@dataclass(slots=True)
class Flags:
    """The flags that this server carries out; defaults are those of the original unless said otherwise.

    Attributes:
        port: gRPC; 0 for none, and then there must be a socket.
        grpc_socket_path: UNIX socket, for gRPC too.
        grpc_channel_arguments: ``NAME=VALUE,NAME=VALUE`` for gRPC; whole numbers are passed as such.
        ssl_config_file: text SSLConfig, for gRPC; the PEM texts stand in it.
        rest_api_port: REST; 0 for none.
        rest_api_timeout_in_ms: for one session run.
        model_name: single-model mode.
        model_base_path: single-model mode.
        model_config_file: text ModelServerConfig.
        model_config_file_poll_wait_seconds: 0: it is read once; above it is read again when it has changed, by
            ``--like-tfs`` so often.
        file_system_poll_wait_seconds: 1: the folders are looked at every moment; above so often; 0: only with each
            configuration; below 0: never.
        num_load_threads: loads at once, of different models; 0: four; by ``--like-tfs`` the manager's own thread.
        num_unload_threads: unloads at once; the same.
        max_num_load_retries: after the first failure.
        load_retry_interval_micros: between two attempts.
        tensorflow_session_config_file: text ConfigProto for the sessions; the flags count above it.
        platform_config_file: text PlatformConfigMap; it is read, and nothing is made of it.
        per_process_gpu_memory_fraction: of a GPU's memory; 0: as TensorFlow does.
        mixed_precision: ``bfloat16`` or nothing.
        use_alts_credentials: refused; there are none here.
        tensorflow_session_parallelism: threads of a session, both kinds; 0: as many as cores.
        tensorflow_intra_op_parallelism: threads inside an operation.
        tensorflow_inter_op_parallelism: threads between operations.
        rest_api_num_threads: threads that run models for REST; 0: 4 a core.
        grpc_max_threads: threads that answer gRPC; 0: 4 a core, 16 at least, or 128 for batches. Requests beyond wait.
        enable_grpc_healthcheck_service: without it ``--like-tfs`` has no health service; it is there otherwise.
        rest_api_enable_cors_support: tell browsers that any page may ask.
        monitoring_config_file: turns the Prometheus page on.
        allow_version_labels_for_unavailable_models: a label that is new may name a version that is not there yet.
        saved_model_tags: joined by commas; those of the graph to load.
        enable_signature_method_name_check: refuse signatures that are for another method.
        enable_serialization_as_tensor_content: answer Predict over gRPC with packed bytes instead of typed values.
        enable_model_warmup: answer the requests that a version brings along before it is AVAILABLE.
        num_request_iterations_for_warmup: how often each of them; 0 and below: once.
        enable_batching: run requests of the same signature together.
        batching_parameters_file: text BatchingParameters, for all models.
        enable_per_model_batching_parameters: take those of ``batching_params.pbtxt`` in each version's folder instead;
            without it a version is not batched. The threads are those of the common file.
        prefer_tflite_model: serve ``model.tflite`` where a version's folder has one.
        num_tflite_pools: times the next flag: requests that run at once in one TFLite model; below 1 is 1.
        num_tflite_interpreters_per_pool: see there.
        version: print versions and end.
        address: own flag: what both ports bind; empty: every address as the original does, gRPC of IPv4 alone.
        like_tfs: own flag: behave like the original at its most awkward.
        open_early: own flag: the ports open before the first models are loaded.
        readyz: own flag: answer ``/readyz`` on the REST port.
        metrics_by_version: own flag: label what is counted with the version, too.
        keep_missing: own flag: what is loaded and wanted stays although its folder is no longer found.
        retry_failed_seconds: own flag: how long a version that failed is left alone; 0: for ever.
        check_complete: own flag: a version whose checkpoint is not whole does not load.
        log_format: own flag: ``text`` or ``json``.
        drain_seconds: own flag: how long requests in flight may take after SIGTERM.
    """

    port: int = 8500
    grpc_socket_path: str = ""
    grpc_channel_arguments: str = ""
    ssl_config_file: str = ""
    rest_api_port: int = 0
    rest_api_timeout_in_ms: int = 30000
    model_name: str = "default"
    model_base_path: str = ""
    model_config_file: str = ""
    model_config_file_poll_wait_seconds: int = 0
    file_system_poll_wait_seconds: int = 1
    num_load_threads: int = 0
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    num_unload_threads: int = 0
    tensorflow_session_config_file: str = ""
    platform_config_file: str = ""
    per_process_gpu_memory_fraction: float = 0.0
    mixed_precision: str = ""
    use_alts_credentials: bool = False
    tensorflow_session_parallelism: int = 0
    tensorflow_intra_op_parallelism: int = 0
    tensorflow_inter_op_parallelism: int = 0
    rest_api_num_threads: int = 0
    grpc_max_threads: int = 0
    enable_grpc_healthcheck_service: bool = False
    rest_api_enable_cors_support: bool = False
    monitoring_config_file: str = ""
    allow_version_labels_for_unavailable_models: bool = False
    saved_model_tags: str = "serve"
    enable_signature_method_name_check: bool = False
    enable_serialization_as_tensor_content: bool = False
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = 0
    enable_batching: bool = False
    batching_parameters_file: str = ""
    enable_per_model_batching_parameters: bool = False
    prefer_tflite_model: bool = False
    num_tflite_pools: int = field(default_factory=lambda: os.cpu_count() or 1)
    num_tflite_interpreters_per_pool: int = 1
    version: bool = False
    address: str = ""
    like_tfs: bool = False
    drain_seconds: int = 10
    open_early: bool = False
    readyz: bool = False
    metrics_by_version: bool = False
    keep_missing: bool = False
    retry_failed_seconds: int = 0
    check_complete: bool = False
    log_format: str = "text"

    @property
    def rest_threads(self) -> int:
        """Threads that run models for REST."""
        return self.rest_api_num_threads or 4 * (os.cpu_count() or 1)

    @property
    def grpc_threads(self) -> int:
        """Threads that answer gRPC."""
        return self.grpc_max_threads or max(BATCHING_THREADS if self.enable_batching else 16, 4 * (os.cpu_count() or 1))


class Unusable(Exception):
    """A value that the flag cannot take, or ``--help``: the original prints its usage and ends with 255."""


def parse(arguments: Sequence[str]) -> tuple[Flags, tuple[str, ...], tuple[str, ...]]:
    """Read the arguments by the original's rules (core/util/command_line_flags.cc).

    Only ``--name=value`` (bools also ``--name``); the last one wins; what is no flag is told, and the start goes on.
    What follows ``--`` is no flag.

    Returns:
        The flags; the arguments that are none; and a line for each flag that is taken without being carried out.

    Raises:
        Unusable: a value of the wrong kind, or ``--help`` as the first argument that is no flag.
    """
    flags = Flags()
    unknown: list[str] = []
    undone: list[str] = []
    wrong = []
    for at, argument in enumerate(arguments):
        if argument == "--":
            unknown += arguments[at:]
            break
        try:
            if not _take(flags, argument, undone):
                unknown.append(argument)
        except Unusable as unusable:
            wrong.append(str(unusable))
    if wrong or unknown[:1] == ["--help"]:
        raise Unusable("\n".join(wrong))
    return flags, tuple(unknown), tuple(undone)


def _take(flags: Flags, argument: str, undone: list[str]) -> bool:
    """Whether an argument is a flag; if so, it is set, or it is told why not."""
    name, equals, value = argument.removeprefix("--").partition("=")
    name = name.replace("-", "_") if name in OWN_SPELLINGS else name
    known = FLAGS.get(name)
    if known is None or not argument.startswith("--"):
        return False
    if known.kind != "bool" and not equals:
        return False
    read = _value(known, value if equals else "true")
    if name in ACCEPTED:
        undone.append(f"{argument}: {ACCEPTED[name]}")
    else:
        setattr(flags, name, read)
    return True


def say(line: str, severity: Severity = "INFO") -> None:
    """One line of the server's log; the text form has no word for how bad it is."""
    if _JSON_LOG:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "severity": severity, "message": line}, ensure_ascii=False)
    # A disk that is full, or a reader that is gone, must not stop what is told of.
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


def log_as(form: str) -> None:
    """How `say` writes from now on.

    Raises:
        Unusable: it is neither ``text`` nor ``json``.
    """
    global _JSON_LOG
    if form not in ("text", "json"):
        raise Unusable(f"Couldn't interpret value {form} for flag log_format.")
    _JSON_LOG = form == "json"


def _value(flag: Flag, text: str) -> bool | int | float | str:
    """A value as sscanf reads it: blanks before it are fine, whatever comes after it is not."""
    if flag.kind == "bool":
        if text.lower() not in _BOOLS:
            raise _unusable(text, flag.name)
        return _BOOLS[text.lower()]
    if flag.kind == "string":
        return text
    if (_FLOAT if flag.kind == "float" else _INTEGER).match(text) is None:
        raise _unusable(text, flag.name)
    if flag.kind == "float":
        return float(text)
    number = min(max(int(text), -(2**63)), 2**63 - 1)
    return number if flag.kind == "int64" else (number + 2**31) % 2**32 - 2**31


def _unusable(text: str, name: str) -> Unusable:
    return Unusable(f"Couldn't interpret value {text} for flag {name}.")
