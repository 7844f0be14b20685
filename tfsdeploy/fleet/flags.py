"""The 48 flags of tensorflow_model_server 2.20 (``model_servers/main.cc``): types, ranges, and which the file may set.

The ranges leave out what the server is known to answer with a crash or a hang: one REST thread, malformed channel
arguments, tensor content in predict answers.
"""

from __future__ import annotations

from tfsdeploy.fleet.kinds import ABSENT, Boolean, Choice, Integer, Key, Kind, Number, Text

_MOST = 2**31 - 1
_COUNT = Integer(0, _MOST)
_LARGE = Integer(0, 2**53 - 1)
_SWITCH = Boolean()
_PATH = Text("an absolute path inside the server's image", r"/[^\s,]{1,1023}")
_TAGS = Text("tags separated by commas, such as serve,gpu", r"[A-Za-z0-9_.-]+(?:,[A-Za-z0-9_.-]+)*")
_ARGUMENTS = Text(
    "name=value pairs separated by commas, such as grpc.max_connection_age_ms=60000",
    r"[A-Za-z0-9_.]+=[A-Za-z0-9_.:/+-]+(?:,[A-Za-z0-9_.]+=[A-Za-z0-9_.:/+-]+)*",
)


def _flag(name: str, kind: Kind, doc: str, example: str) -> Key:
    return Key(name, kind, doc, default=ABSENT, example=example)


FLAGS: tuple[Key, ...] = (
    _flag("rest_api_num_threads", Integer(2, 4096), "REST threads; one of them is the event loop", "16"),
    _flag("rest_api_timeout_in_ms", Integer(1, _MOST), "limit of one session run that came over REST", "30000"),
    _flag("rest_api_enable_cors_support", _SWITCH, "CORS headers on REST answers", "true"),
    _flag(
        "num_load_threads", Integer(0, 256), "threads that load versions; 0: one at a time, in the manager's own", "2"
    ),
    _flag("num_unload_threads", Integer(0, 256), "threads that unload versions", "1"),
    _flag("flush_filesystem_caches", _SWITCH, "drop the file system's cache after the first load", "true"),
    _flag("enable_per_model_batching_parameters", _SWITCH, "batching parameters from inside each SavedModel", "true"),
    _flag("enable_model_warmup", _SWITCH, "replay a model's warm-up records before it is AVAILABLE", "true"),
    _flag("num_request_iterations_for_warmup", _COUNT, "how often each record is replayed", "3"),
    _flag("grpc_channel_arguments", _ARGUMENTS, "arguments of the gRPC server", "grpc.max_concurrent_streams=100"),
    _flag(
        "grpc_max_threads",
        Integer(1, 65536),
        "threads for gRPC; calls beyond them get RESOURCE_EXHAUSTED from TF Serving, and wait in the embedded server",
        "128",
    ),
    _flag("tensorflow_session_parallelism", _LARGE, "threads of a session, intra and inter; 0: automatic", "4"),
    _flag("tensorflow_intra_op_parallelism", _LARGE, "threads inside one operation; 0: automatic", "4"),
    _flag("tensorflow_inter_op_parallelism", _LARGE, "operations at a time; 0: automatic", "2"),
    _flag("tensorflow_session_config_file", _PATH, "a text ConfigProto", "/etc/tfs/session.pbtxt"),
    _flag("per_process_gpu_memory_fraction", Number(0, 1), "part of the GPU's memory; 0: TensorFlow decides", "0.5"),
    _flag("saved_model_tags", _TAGS, "the tags of the MetaGraph to load", "serve"),
    _flag(
        "platform_config_file", _PATH, "a text PlatformConfigMap; batching is ignored then", "/etc/tfs/platforms.pbtxt"
    ),
    _flag("enable_signature_method_name_check", _SWITCH, "refuse signatures with another method name", "true"),
    _flag("enable_profiler", _SWITCH, "TensorFlow's profiler on the gRPC port", "false"),
    _flag("thread_pool_factory_config_file", _PATH, "a text ThreadPoolConfig", "/etc/tfs/threads.pbtxt"),
    _flag("mixed_precision", Choice(("bfloat16",)), "automatic mixed precision", "bfloat16"),
    _flag("skip_initialize_tpu", _SWITCH, "leave the TPU system alone", "true"),
    _flag("remove_unused_fields_from_bundle_metagraph", _SWITCH, "keep only the signatures of the MetaGraph", "true"),
    _flag("prefer_tflite_model", _SWITCH, "serve the model.tflite of versions that have one", "true"),
    _flag("num_tflite_pools", Integer(1, 4096), "pools of TensorFlow Lite interpreters of a version", "2"),
    _flag("num_tflite_interpreters_per_pool", Integer(1, 4096), "interpreters in each", "1"),
    _flag("xla_cpu_compilation_enabled", _SWITCH, "XLA on the CPU", "true"),
    _flag("xla_gpu_compilation_enabled", _SWITCH, "XLA on the GPU", "true"),
)

_RELEASE = "which versions are loaded is the release's business, and the replica agent writes it down for the server"

REFUSED_FLAGS: dict[str, str] = {
    "port": "tfsdeploy gives every replica its ports; clients use gateway.grpc",
    "rest_api_port": "tfsdeploy gives every replica its ports; clients use gateway.rest",
    "grpc_socket_path": "the gateway reaches replicas over TCP",
    "model_name": _RELEASE,
    "model_base_path": _RELEASE,
    "model_config_file": _RELEASE,
    "model_config_file_poll_wait_seconds": "tfsdeploy sets it: a promote waits for this poll",
    "file_system_poll_wait_seconds": "tfsdeploy sets it: a promote waits for this poll",
    "allow_version_labels_for_unavailable_models": "labels are resolved at the gateway: models.NAME.labels",
    "enable_batching": "write serving.batching instead",
    "batching_parameters_file": "write serving.batching instead",
    "max_num_load_retries": "the replica agent decides what is tried again",
    "load_retry_interval_micros": "the replica agent decides what is tried again",
    "monitoring_config_file": "tfsdeploy sets it: metrics are always on",
    "enable_grpc_healthcheck_service": "tfsdeploy sets it",
    "ssl_config_file": "the gateway and the agent speak plain gRPC to the replica",
    "use_alts_credentials": "the gateway and the agent speak plain gRPC to the replica",
    "enable_serialization_as_tensor_content": "it makes the server answer REST with wrong values, and crash",
    "version": "it makes the server print its version and exit",
}
