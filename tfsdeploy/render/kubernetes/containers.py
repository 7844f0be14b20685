"""What the containers of a fleet's pods run: commands, arguments, and the times that they get. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from tfsdeploy.fleet.addresses import is_object_store
from tfsdeploy.fleet.model import Fleet, Store
from tfsdeploy.gateway.shape import GatewayShape, envoy_flags
from tfsdeploy.protocol.agents import LEASE_SECONDS
from tfsdeploy.render.containers import (
    AGENT_PORT,
    GATEWAY_DRAIN_SECONDS,
    GRPC_PORT,
    MODELS,
    REST_PORT,
    RUN,
    heap_bytes,
    model_server_flags,
)
from tfsdeploy.render.kubernetes.volumes import BATCHING_FILE, CACHE, store_url, store_volume
from tfsdeploy.render.quantities import bytes_of
from tfsdeploy.render.serving import gateway_flags, number, store_flags

CERTIFICATE_FOLDER = "/etc/tfsdeploy/tls"
"""Where Envoy finds the gateway's certificate and key; the agent never sees them."""

CA_FOLDER = "/etc/tfsdeploy/store"
"""Where the replica agent finds the authority of the object store's certificate."""

CA_KEY = "ca.crt"
"""Its name there and in the ConfigMap: as in `kube-root-ca.crt` and in bundles that tools hand out."""

SPARE_SECONDS = 10.0

PROBE_SECONDS = 10
"""Between two probes of a process that runs."""

DISK_PERCENT = 95

PINS_SECONDS = 3600
"""How long the versions of a change may take to load before its Job fails; the change itself waits on."""

SERVER = (
    "/bin/sh",
    "-c",
    # TF Serving has no handler for SIGTERM, and what is process 1 and has none is not ended by it. The shell is
    # process 1 instead, hands the signal on, and ends with the server's own exit code.
    # A signal may come before the shell knows whom to hand it to.
    'trap "told=1; kill -TERM \\$server 2>/dev/null" TERM; "$0" "$@" & server=$!; '
    'if [ "$told" ]; then kill -TERM $server; fi; wait $server; code=$?; '
    "while kill -0 $server 2>/dev/null; do wait $server; code=$?; done; exit $code",
    "tensorflow_model_server",
)

# A native sidecar is told to end only after the main containers: the agent is asked to leave by a file.
LEAVE = ("/bin/sh", "-c", f"touch {RUN}/leave; while [ ! -e {RUN}/left ]; do sleep 0.1; done")
STAY = ("/bin/sh", "-c", f"rm -f {RUN}/leave {RUN}/left {RUN}/hung")

# The agent alone knows that a process hangs: for one that does, the kernel still accepts connections. It renews what it
# says more often than this looks (`tfsdeploy.agent.silence`), so that an agent that is gone by now has said nothing.
ALIVE = (
    "/bin/sh",
    "-c",
    'cd "$0" || exit 0; said=; [ hung -nt looked ] && said=1; touch looked; [ -z "$said" ]',
    RUN,
)

# The kubelet makes a folder of the node as root's. One in which somebody else has something stays whose it is.
# Back quotes: Kubernetes would look for a variable in $(...).
TAKE_CACHE = (
    "/bin/sh",
    "-c",
    '[ "`stat -c %u "$0"`" = 65532 ] && exit 0; found=`ls -A "$0"` || exit 1; '
    'case "$found" in ""|lost+found) exec chown 65532:65532 "$0";; esac; '
    "echo \"the folder of serving.nodeCache is somebody else's, and not empty: name another one, such as one below it, "
    'or give it to the agents on each node by chown 65532:65532" >&2; exit 1',
    CACHE,
)

_POD_NAME, _POD_IP = "$(POD_NAME)", "$(POD_IP)"


def replica_agent(fleet: Fleet) -> tuple[str, ...]:
    """The arguments of the replica agent."""
    return _agent(
        "replica",
        fleet,
        {
            "--advertise": _POD_IP,
            "--store": literal(store_url(fleet)),
            "--folder": RUN,
            "--server-rest": f"127.0.0.1:{REST_PORT}",
            "--server-grpc": f"127.0.0.1:{GRPC_PORT}",
            "--listen": f"0.0.0.0:{AGENT_PORT}",
            "--verified-cache": f"{_cache(fleet) or RUN}/verified.json",
            "--drain-seconds": number(fleet.serving.drain_seconds),
            **{name: literal(value) for name, value in store_flags(_in_pods(fleet.store)).items()},
            **_object_store(fleet),
        },
    )


def _in_pods(store: Store) -> Store:
    """The store as a pod reaches it: what its options name on other machines is a file that is mounted."""
    ca_file = None if store.options.ca_config_map is None else f"{CA_FOLDER}/{CA_KEY}"
    return replace(store, options=replace(store.options, ca_file=ca_file))


def _object_store(fleet: Fleet) -> dict[str, str]:
    """How the agent fetches, if it does; a volume that is quite full would have its pod evicted."""
    if not is_object_store(fleet.store.url):
        return {}
    flags = {"--models": _cache(fleet) or MODELS}
    if fleet.serving.disk is not None:
        flags["--disk"] = str(int(bytes_of(fleet.serving.disk)) * DISK_PERCENT // 100)
    return flags


def _cache(fleet: Fleet) -> str:
    """Where the agent keeps what the replicas of a node share; empty if they share nothing."""
    volume = store_volume(fleet)
    return "" if volume.cache is None else f"{MODELS if volume.fetched else CACHE}/{volume.cache.folder}"


def model_server(fleet: Fleet) -> tuple[str, ...]:
    """The arguments of the model server."""
    return tuple(map(literal, model_server_flags(fleet, BATCHING_FILE)))


def gateway_agent(fleet: Fleet) -> tuple[str, ...]:
    """The arguments of the gateway agent."""
    flags = gateway_flags(
        fleet, drain_seconds=GATEWAY_DRAIN_SECONDS, address="0.0.0.0", rest_port=REST_PORT, grpc_port=GRPC_PORT
    )
    flags["--max-heap-bytes"] = str(heap_bytes(fleet))
    if fleet.gateway.tls is not None:
        flags["--tls"] = CERTIFICATE_FOLDER
    return _agent(
        "gateway",
        fleet,
        {"--folder": RUN, "--admin-socket": "admin.sock", "--listen": f"0.0.0.0:{AGENT_PORT}", **flags},
    )


def envoy() -> tuple[str, ...]:
    """The arguments of Envoy, which runs in `RUN`."""
    return tuple(envoy_flags(GatewayShape(drain_seconds=GATEWAY_DRAIN_SECONDS)))


def pins_job(fleet: Fleet) -> tuple[str, ...]:
    """The arguments of what waits for the outcome of changed pins."""
    digest, patience = fleet.pins().digest, f"{number(PINS_SECONDS)}s"
    return ("agent", "pins", "--in-cluster", f"--fleet={fleet.name}", f"--hash={digest}", f"--timeout={patience}")


def serving_grace_seconds(fleet: Fleet) -> int:
    """How long a replica may take to leave: every gateway has acknowledged or has not been heard of for a lease."""
    return math.ceil(LEASE_SECONDS + fleet.serving.drain_seconds + SPARE_SECONDS)


def gateway_grace_seconds(fleet: Fleet) -> int:
    """How long a gateway may take to leave: its clients' connections, then the longest of the last requests."""
    return math.ceil(GATEWAY_DRAIN_SECONDS + fleet.gateway.timeout_seconds + SPARE_SECONDS)


def hung_probes(fleet: Fleet) -> int:
    """How often a process may be found hanging before it is ended: what it still answers was sent before that."""
    return max(3, math.ceil(fleet.gateway.timeout_seconds / PROBE_SECONDS))


def literal(text: str) -> str:
    """``text`` as an argument that Kubernetes does not expand: ``$(NAME)`` stands for a variable, ``$$`` for ``$``."""
    return text.replace("$", "$$")


def _agent(kind: str, fleet: Fleet, flags: Mapping[str, str]) -> tuple[str, ...]:
    names = {"--fleet": fleet.name, "--name": _POD_NAME}
    return ("agent", kind, "--in-cluster", *(f"{name}={value}" for name, value in {**names, **flags}.items()))
