"""tensorflow_model_server's own flags, as its ``--help`` shows them (model_servers/main.cc)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["bool", "int32", "int64", "float", "string"]


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag: its name, the kind of its value, its default as it is written, and what its help says."""

    name: str
    kind: Kind
    default: str
    words: str


_CORES: Final = os.cpu_count() or 1

ORIGINAL: Final = (
    Flag("port", "int32", "8500", "TCP port to listen on for gRPC/HTTP API. Disabled if port set to zero."),
    Flag(
        "grpc_socket_path",
        "string",
        "",
        "If non-empty, listen to a UNIX socket for gRPC API on the given path. Can be either relative or "
        "absolute path.",
    ),
    Flag(
        "rest_api_port",
        "int32",
        "0",
        "Port to listen on for HTTP/REST API. If set to zero HTTP/REST API will not be exported. This port "
        "must be different than the one specified in --port.",
    ),
    Flag(
        "rest_api_num_threads",
        "int32",
        str(4 * _CORES),
        "Number of threads for HTTP/REST API processing. If not set, will be auto set based on number of CPUs.",
    ),
    Flag("rest_api_timeout_in_ms", "int32", "30000", "Timeout for HTTP/REST API calls."),
    Flag("rest_api_enable_cors_support", "bool", "false", "Enable CORS headers in response"),
    Flag("enable_batching", "bool", "false", "enable batching"),
    Flag(
        "allow_version_labels_for_unavailable_models",
        "bool",
        "false",
        "If true, allows assigning unused version labels to models that are not available yet.",
    ),
    Flag(
        "batching_parameters_file",
        "string",
        "",
        "If non-empty, read an ascii BatchingParameters protobuf from the supplied file name and use the "
        "contained values instead of the defaults.",
    ),
    Flag(
        "enable_per_model_batching_parameters",
        "bool",
        "false",
        "Enables model specific batching params like batch sizes, timeouts, batching feature flags to be "
        "read from `batching_params.pbtxt` file present in SavedModel dir of the model. Associated params in "
        "the global config from --batching_parameters_file are *ignored*. Only threadpool (name and size) "
        "related params are used from the global config, as this threadpool is shared across all the models "
        "that want to batch requests. This option is only applicable when --enable_batching flag is set.",
    ),
    Flag(
        "model_config_file",
        "string",
        "",
        "If non-empty, read an ascii ModelServerConfig protobuf from the supplied file name, and serve the "
        "models in that file. This config file can be used to specify multiple models to serve and other "
        "advanced parameters including non-default version policy. (If used, --model_name, --model_base_path "
        "are ignored.)",
    ),
    Flag(
        "model_config_file_poll_wait_seconds",
        "int32",
        "0",
        "Interval in seconds between each poll of the filesystemfor model_config_file. If unset or set to "
        "zero, poll will be done exactly once and not periodically. Setting this to negative is reserved for "
        "testing purposes only.",
    ),
    Flag("model_name", "string", "default", "name of model (ignored if --model_config_file flag is set)"),
    Flag(
        "model_base_path",
        "string",
        "",
        "path to export (ignored if --model_config_file flag is set, otherwise required)",
    ),
    Flag(
        "num_load_threads",
        "int32",
        "0",
        "The number of threads in the thread-pool used to load servables. If set as 0, we don't use a "
        "thread-pool, and servable loads are performed serially in the manager's main work loop, may casue "
        "the Serving request to be delayed. Default: 0",
    ),
    Flag(
        "num_unload_threads",
        "int32",
        "0",
        "The number of threads in the thread-pool used to unload servables. If set as 0, we don't use a "
        "thread-pool, and servable loads are performed serially in the manager's main work loop, may casue "
        "the Serving request to be delayed. Default: 0",
    ),
    Flag(
        "max_num_load_retries",
        "int32",
        "5",
        "maximum number of times it retries loading a model after the first failure, before giving up. If "
        "set to 0, a load is attempted only once. Default: 5",
    ),
    Flag(
        "load_retry_interval_micros",
        "int64",
        "60000000",
        "The interval, in microseconds, between each servable load retry. If set negative, it doesn't wait. "
        "Default: 1 minute",
    ),
    Flag(
        "file_system_poll_wait_seconds",
        "int32",
        "1",
        "Interval in seconds between each poll of the filesystem for new model version. If set to zero poll "
        "will be exactly done once and not periodically. Setting this to negative value will disable polling "
        "entirely causing ModelServer to indefinitely wait for a new model at startup. Negative values are "
        "reserved for testing purposes only.",
    ),
    Flag(
        "flush_filesystem_caches",
        "bool",
        "true",
        "If true (the default), filesystem caches will be flushed after the initial load of all servables, "
        "and after each subsequent individual servable reload (if the number of load threads is 1). This "
        "reduces memory consumption of the model server, at the potential cost of cache misses if model "
        "files are accessed after servables are loaded.",
    ),
    Flag(
        "tensorflow_session_parallelism",
        "int64",
        "0",
        "Number of threads to use for running a Tensorflow session. Auto-configured by default.Note that "
        "this option is ignored if --platform_config_file is non-empty.",
    ),
    Flag(
        "tensorflow_session_config_file",
        "string",
        "",
        "If non-empty, read an ascii TensorFlow Session ConfigProto protobuf from the supplied file name. "
        "Note, parts of the session config (threads, parallelism etc.) can be overridden if needed, via "
        "corresponding command line flags.",
    ),
    Flag(
        "tensorflow_intra_op_parallelism",
        "int64",
        "0",
        "Number of threads to use to parallelize the executionof an individual op. Auto-configured by "
        "default.Note that this option is ignored if --platform_config_file is non-empty.",
    ),
    Flag(
        "tensorflow_inter_op_parallelism",
        "int64",
        "0",
        "Controls the number of operators that can be executed simultaneously. Auto-configured by "
        "default.Note that this option is ignored if --platform_config_file is non-empty.",
    ),
    Flag("use_alts_credentials", "bool", "false", "Use Google ALTS credentials"),
    Flag(
        "ssl_config_file",
        "string",
        "",
        "If non-empty, read an ascii SSLConfig protobuf from the supplied file name and set up a secure gRPC channel",
    ),
    Flag(
        "platform_config_file",
        "string",
        "",
        "If non-empty, read an ascii PlatformConfigMap protobuf from the supplied file name, and use that "
        "platform config instead of the Tensorflow platform. (If used, --enable_batching is ignored.)",
    ),
    Flag(
        "per_process_gpu_memory_fraction",
        "float",
        "0.000000",
        "Fraction that each process occupies of the GPU memory space the value is between 0.0 and 1.0 (with "
        "0.0 as the default) If 1.0, the server will allocate all the memory when the server starts, If 0.0, "
        "Tensorflow will automatically select a value.",
    ),
    Flag(
        "saved_model_tags",
        "string",
        "serve",
        "Comma-separated set of tags corresponding to the meta graph def to load from SavedModel.",
    ),
    Flag(
        "grpc_channel_arguments",
        "string",
        "",
        "A comma separated list of arguments to be passed to the grpc server. (e.g. grpc.max_connection_age_ms=2000)",
    ),
    Flag("grpc_max_threads", "int32", str(4 * _CORES), "Max grpc server threads to handle grpc messages."),
    Flag(
        "enable_model_warmup",
        "bool",
        "true",
        "Enables model warmup, which triggers lazy initializations (such as TF optimizations) at load time, "
        "to reduce first request latency.",
    ),
    Flag(
        "num_request_iterations_for_warmup",
        "int32",
        "0",
        "Number of times a request is iterated during warmup replay. This value is used only if > 0.",
    ),
    Flag("version", "bool", "false", "Display version"),
    Flag(
        "monitoring_config_file",
        "string",
        "",
        "If non-empty, read an ascii MonitoringConfig protobuf from the supplied file name",
    ),
    Flag(
        "remove_unused_fields_from_bundle_metagraph",
        "bool",
        "true",
        "Removes unused fields from MetaGraphDef proto message to save memory.",
    ),
    Flag(
        "prefer_tflite_model",
        "bool",
        "false",
        "EXPERIMENTAL; CAN BE REMOVED ANYTIME! Prefer TensorFlow Lite model from `model.tflite` file in "
        "SavedModel directory, instead of the TensorFlow model from `saved_model.pb` file. If no TensorFlow "
        "Lite model found, fallback to TensorFlow model.",
    ),
    Flag(
        "num_tflite_pools",
        "int32",
        str(_CORES),
        "EXPERIMENTAL; CAN BE REMOVED ANYTIME! Number of TFLite interpreters in an interpreter pool of "
        "TfLiteSession. Typically there is one TfLiteSession for each TF Lite model that is loaded. If not "
        "set, will be auto set based on number of CPUs.",
    ),
    Flag(
        "num_tflite_interpreters_per_pool",
        "int32",
        "1",
        "EXPERIMENTAL; CAN BE REMOVED ANYTIME! Number of TFLite interpreters in an interpreter pool of "
        "TfLiteSession. Typically there is one TfLiteSession for each TF Lite model that is loaded. If not "
        "set, will be 1.",
    ),
    Flag(
        "enable_signature_method_name_check",
        "bool",
        "false",
        "Enable method_name check for SignatureDef. Disable this if serving native TF2 "
        "regression/classification models.",
    ),
    Flag(
        "xla_cpu_compilation_enabled",
        "bool",
        "false",
        "EXPERIMENTAL; CAN BE REMOVED ANYTIME! Enable XLA:CPU JIT (default is disabled). With XLA:CPU JIT "
        "disabled, models utilizing this feature will return bad Status on first compilation request.",
    ),
    Flag(
        "xla_gpu_compilation_enabled",
        "bool",
        "false",
        "EXPERIMENTAL; CAN BE REMOVED ANYTIME! Enable both XLA:CPU JIT and XLA:GPU JIT (default is disabled).",
    ),
    Flag("enable_profiler", "bool", "true", "Enable profiler service."),
    Flag(
        "thread_pool_factory_config_file",
        "string",
        "",
        "If non-empty, read an ascii ThreadPoolConfig protobuf from the supplied file name.",
    ),
    Flag("mixed_precision", "string", "", "specify mixed_precision mode"),
    Flag("skip_initialize_tpu", "bool", "false", "Whether to skip auto initializing TPU."),
    Flag("enable_grpc_healthcheck_service", "bool", "false", "Enable the standard gRPC healthcheck service."),
    Flag(
        "enable_serialization_as_tensor_content",
        "bool",
        "false",
        "Enable serialization of predict response as tensor content.",
    ),
)


def usage(program: str, own: tuple[Flag, ...]) -> str:
    """What ``--help`` says, laid out as TensorFlow lays it out; this server's own flags come last."""
    rows = "".join(f"\t{f'--{flag.name}={_shown(flag)}':33}\t{flag.kind}\t{flag.words}\n" for flag in (*ORIGINAL, *own))
    return f"usage: {program}\nFlags:\n{rows}"


def _shown(flag: Flag) -> str:
    return f'"{flag.default}"' if flag.kind == "string" else flag.default
