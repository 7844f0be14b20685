"""Names on the original's monitoring page under which nothing is counted here; most have no value there, either."""

from __future__ import annotations

from typing import Final

# Kind, what the names begin with, and how they go on.
_NAMES: Final = """\
counter jax:pjrt: pjrt_executable_execution_time_usecs pjrt_executable_executions
counter tensorflow:compiler:tf2xla:xla_compiler: compilation_status
counter tensorflow:core: aot_bef_mlir_load_count bfc_allocator_delay eager_client_error_count
counter tensorflow:core: function_graph_optimization_time_usecs graph_optimization_cache_failure_count
counter tensorflow:core: graph_optimization_cache_hit_count graph_optimization_cache_load_count
counter tensorflow:core: graph_optimization_cache_miss_count graph_optimization_saving_time_usec
counter tensorflow:core: graph_optimization_usecs graph_unused_outputs mlir_function_pass_fallback_count
counter tensorflow:core: mlir_function_pass_graph_conversion_count mlir_graph_optimization_pass_fallback_count
counter tensorflow:core: mlir_v1_compat_graph_conversion_count
counter tensorflow:core: mlir_v1_compat_graph_conversion_failure_model_name_count persistent_cache_load_count
counter tensorflow:core: test_counters tf1_features_by_graph_count tf_function_compile
counter tensorflow:core: tf_mlir_bridge_first_phase_v2_count tf_top_level_jit_compilation xla_compilation_time_usecs
counter tensorflow:core: xla_compilations xla_launch_counter
counter tensorflow:core:checkpoint:sharding: callback_duration num_checkpoint_shards_written
counter tensorflow:core:checkpoint:write: checkpoint_size training_time_saved
counter tensorflow:core:saved_model:write: api count
counter tensorflow:core:tf2xla:api:v1: tf_dialect_to_executor_dialect_status
counter tensorflow:core:tf2xla:api:v2: dynamism_function_counter dynamism_op_counter phase2_compilation_status
counter tensorflow:core:tf2xla:api:v2: tf_dialect_to_executor_dialect_status
counter tensorflow:core:tf2xla: graph_compilation_failed_op_count mlir_second_phase_failed_legalization_op_count
counter tensorflow:core:tf2xla: mlir_second_phase_non_static_op_count mlir_second_phase_non_static_op_skip_count
counter tensorflow:core:tf2xla: tf_quant_op_count
counter tensorflow:core:tf2xla:internal:inference: tpu_partitioned_call
counter tensorflow:core:tf2xla:v1: mlir_failed_xla_legalize_tf_count mlir_failed_xla_legalize_tf_pass_count
counter tensorflow:core:util:example_proto_fast_parsing: duplicated_dense_feature
counter tensorflow:data:autoshard_rewrite_batch_size: eligible reason
counter tensorflow:data: autotune autotune_stopping_criteria bytes_consumed bytes_fetched bytes_produced bytes_read
counter tensorflow:data: debug dense_feature elements error experiment experiment_live experiment_opt_in
counter tensorflow:data: experiment_opt_out fetch_op file_logger_attempts file_logger_attempts_num_files
counter tensorflow:data: file_logger_errors file_logger_errors_num_files filename fingerprint framework_type
counter tensorflow:data: iterator_busy iterator_lifetime optimization ragged_feature sparse_feature
counter tensorflow:data:service: client_iterators compression cross_trainer_cache_queries data_transfer_protocol_error
counter tensorflow:data:service: data_transfer_protocol_fallback data_transfer_protocol_used
counter tensorflow:data:service: data_transfer_protocol_used_by_nature jobs_created snapshot_bytes_committed
counter tensorflow:data:service: snapshot_ops workers_created
counter tensorflow:lite:quantization:transforms: stats
counter tensorflow:rpc:service: response_cache_hits
counter tensorflow:serving: request_example_count_total request_log_count
counter tensorflow:tpu: op_error_count variable_distribution_time xla_spmd_cores_per_replica
counter xla:service:cpu: compiler_stacktrace_count
gauge coordination_service:agent: enabled
gauge pjrt:gpu: free_gpu_system_memory
gauge tensorflow:api:op: using_fake_quantization
gauge tensorflow:config:experimental: enable_mlir_bridge_gauge_v1 enable_mlir_bridge_gauge_v2
gauge tensorflow:core:checkpoint:sharding: callback_description
gauge tensorflow:core: eager_context_created session_created use_auto_outside_compilation use_dynamic_padding_gauge
gauge tensorflow:core: worker_session_created
gauge tensorflow:core:saved_model: found_fingerprint_on_load
gauge tensorflow:core:saved_model:read: fingerprint path path_and_singleprint
gauge tensorflow:core:saved_model:write: fingerprint path path_and_singleprint
gauge tensorflow:data: autoshard model pipeline_processing_time
gauge tensorflow:data:service: cross_trainer_cache_size_bytes optimal_number_of_workers
gauge tensorflow:serving: mlmd_map
histogram tensorflow:core:checkpoint:read: read_durations
histogram tensorflow:core:checkpoint:write: async_write_durations write_durations
histogram tensorflow:core: graph_pending_queue_length_histogram
histogram tensorflow:data: buffered_vs_budget_ratio getelement_duration getnext_duration iterator_gap
histogram tensorflow:data: used_vs_budget_ratio
histogram tensorflow:serving: request_example_counts
"""

_ALWAYS_ZERO: Final = frozenset(
    {
        ":tensorflow:core:saved_model:read:fingerprint",
        ":tensorflow:core:saved_model:read:path",
        ":tensorflow:core:session_created",
    }
)


def _lines(name: str, kind: str) -> list[str]:
    return [f"# TYPE {name} {kind}", *([f"{name}{{}} 0"] if name in _ALWAYS_ZERO else [])]


def _all() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in _NAMES.splitlines():
        begun, _, ends = line.partition(": ")
        kind, begin = begun.split()
        found |= {f":{begin}:{end}": _lines(f":{begin}:{end}", kind) for end in ends.split()}
    return found


NOT_COUNTED: Final = _all()
"""Name -> its lines of the page, which say of which kind it is: who looks for it finds it, as in the original."""
