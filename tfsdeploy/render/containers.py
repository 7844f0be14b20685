"""What a fleet's containers have in common wherever they run: paths, ports, and what a model server may use. Pure."""

from __future__ import annotations

import math

from tfsdeploy.fleet.model import Fleet
from tfsdeploy.render.quantities import bytes_of, cores_of
from tfsdeploy.render.serving import server_flags

RUN = "/run/tfsdeploy"
"""What an agent and the process beside it share: configuration files, and the two words `leave` and `left`."""

MODELS = "/models"
"""Where model servers read models; mounted read-only there."""

REST_PORT, GRPC_PORT, AGENT_PORT = 8501, 8500, 8502

GATEWAY_DRAIN_SECONDS = 5.0
"""A gateway that leaves still takes new connections for so long: nodes and load balancers learn of it by and by."""

HEAP_PERCENT = 85
"""Of a gateway's memory, Envoy's heap: it begins to refuse requests before the kernel ends it."""

GRPC_THREADS = 128
"""TF Serving's own quota is 4 threads a core; beyond it, calls end with RESOURCE_EXHAUSTED."""


def heap_bytes(fleet: Fleet) -> int:
    """What Envoy's heap may have of a gateway's memory."""
    return int(bytes_of(fleet.gateway.resources.memory)) * HEAP_PERCENT // 100


def model_server_flags(fleet: Fleet, batching: str) -> tuple[str, ...]:
    """The flags of a model server in a container.

    Args:
        fleet: whose it is.
        batching: where the server finds its batching parameters, if the fleet has some.
    """
    own = {"grpc_max_threads": str(GRPC_THREADS)}
    cores = fleet.serving.resources.cpu
    if cores is not None and "tensorflow_session_parallelism" not in fleet.serving.flags:
        # It counts the cores of the machine, not those that it may use.
        threads = str(max(1, math.ceil(cores_of(cores))))
        own |= {"tensorflow_intra_op_parallelism": threads, "tensorflow_inter_op_parallelism": threads}
    return server_flags(
        fleet,
        rest_port=REST_PORT,
        grpc_port=GRPC_PORT,
        models_config=f"{RUN}/models.config",
        batching=batching,
        own=own,
    )
