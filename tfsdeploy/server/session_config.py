"""How TensorFlow's sessions are set up: a ConfigProto file, and the flags above it. Imports TensorFlow."""

from __future__ import annotations

from typing import Any

from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2

from tfsdeploy.server import text_file
from tfsdeploy.server.flags import Flags


def of(flags: Flags) -> Any:
    """The ConfigProto of every model's session.

    Raises:
        Failed: the file cannot be read, or is none.
    """
    config = config_pb2.ConfigProto()
    if flags.tensorflow_session_config_file:
        text_file.parse(flags.tensorflow_session_config_file, config)
    if flags.per_process_gpu_memory_fraction:
        config.gpu_options.per_process_gpu_memory_fraction = flags.per_process_gpu_memory_fraction
    both = flags.tensorflow_session_parallelism
    if intra := flags.tensorflow_intra_op_parallelism or both:
        config.intra_op_parallelism_threads = intra
    if inter := flags.tensorflow_inter_op_parallelism or both:
        config.inter_op_parallelism_threads = inter
    if flags.mixed_precision == "bfloat16":
        options = config.graph_options.rewrite_options
        options.auto_mixed_precision_onednn_bfloat16 = rewriter_config_pb2.RewriterConfig.ON
    # A model that was saved on GPUs runs on what is here.
    config.allow_soft_placement = True
    # Threads of its own: while one version loads, the others' requests must not wait for it.
    config.use_per_session_threads = True
    return config
