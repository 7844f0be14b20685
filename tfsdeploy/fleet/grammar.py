"""The grammar of the fleet file, declared once: validation, the JSON Schema and the reference page are made from it."""

from __future__ import annotations

from typing import Any

from tfsdeploy import __version__
from tfsdeploy.fleet.addresses import (
    OBJECT_NAME_PATTERN,
    SECRET_KEYS,
    SECRET_NAME_PATTERN,
    STORE_PATTERN,
    complain_about_endpoint,
    complain_about_secret_name,
    complain_about_store,
)
from tfsdeploy.fleet.flags import FLAGS, REFUSED_FLAGS
from tfsdeploy.fleet.kinds import (
    REQUIRED,
    Boolean,
    Choice,
    Integer,
    Key,
    Listed,
    Named,
    Number,
    Quantity,
    Section,
    Text,
)
from tfsdeploy.fleet.model import (
    Agent,
    Autoscale,
    Batching,
    Canary,
    Gateway,
    Model,
    Monitoring,
    Resources,
    Serving,
    Share,
    StoreOptions,
)
from tfsdeploy.fleet.pods import ANNOTATIONS, KUBERNETES, NAMESPACE, SECRET, pod_keys
from tfsdeploy.names import FLEET_NAME, LABEL_NAME, MAX_VERSION, MODEL_NAME

IMAGE = "tensorflow/serving:2.20.0"
GATEWAY_IMAGE = "envoyproxy/envoy:v1.40.0"
AGENT_IMAGE = f"tfsdeploy/agent:{__version__}"
MODEL_SERVER_IMAGE = f"tfsdeploy/model-server:{__version__}"

_CLUSTER = ("docker", "kubernetes")

_VERSION = Integer(1, MAX_VERSION)
_PORT = Integer(0, 65535)
_FLEET_NAME = Text("a DNS label: at most 40 of a-z, 0-9 and -", FLEET_NAME.pattern.removesuffix(r"\Z"))
_MODEL_NAME = Text("1 to 63 of A-Z, a-z, 0-9, _ and -, not beginning with -", MODEL_NAME.pattern.removesuffix(r"\Z"))
_LABEL_NAME = Text("1 to 63 of A-Z, a-z, 0-9, _ and -, not beginning with -", LABEL_NAME.pattern.removesuffix(r"\Z"))
_SECRET_NAME = Text("the name of a Secret", SECRET_NAME_PATTERN, complain_about_secret_name)
_IMAGE = Text(
    "an image such as registry.example:5000/team/serving:2.20.0",
    r"[a-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
    r"(?::[0-9]{1,5})?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?",
)
_REGISTRY = Text(
    "a registry such as registry.example:5000/team",
    r"(?:localhost|(?=[^/]*[.:])[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)(?::[0-9]{1,5})?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*",
)
_ENDPOINT = Text(
    "http://HOST:PORT or https://HOST",
    r"https?://(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~-]+)*/?",
    complain_about_endpoint,
)
_ADDRESS = Text(
    "an IP address such as 127.0.0.1 or 0.0.0.0",
    r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])|::1?",
)
_SERVER = Text(
    "embedded, embedded-like-tfs or the path of tensorflow_model_server", r"embedded|embedded-like-tfs|\S*/\S+"
)
_NODE_CACHE = Text(
    "the absolute path of a folder such as /var/lib/tfsdeploy-models, or pvc://CLAIM",
    rf"(?:/[A-Za-z0-9_.=+~-]+)+|pvc://{OBJECT_NAME_PATTERN}",
)
_PUBLIC_KEY = Text("ed25519:BASE64 or the path of a PEM file such as keys/release.pub.pem", r"[^\s].*")
_CPU = Quantity("cores such as 2, 0.5 or 500m, at most 1024", {"": 1, "m": 0.001}, 0.001, 1024)
_UNITS = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_BYTES = Quantity("an amount with its unit, from 1Mi to 1Pi, such as 512Mi or 4Gi", _UNITS, 2**20, 2**50)
_AGENT_BYTES = Quantity("an amount with its unit, from 64Mi to 1Pi, such as 256Mi", _UNITS, 2**26, 2**50)

STORE_OPTIONS = Section(
    (
        Key(
            "endpoint",
            _ENDPOINT,
            "address of the object store, if it is not the provider's own",
            example="https://s3.example.org",
        ),
        Key(
            "region",
            Text("a region such as eu-central-1", r"[A-Za-z0-9-]{1,64}"),
            "region of the bucket (s3)",
            example="eu-central-1",
        ),
        Key(
            "credentialsSecret",
            _SECRET_NAME,
            "name of the Secret that holds the credentials; without it they come from the surroundings "
            "(workload identity, instance profile, environment variables)",
            example="model-store",
            read_by=KUBERNETES,
        ),
        Key(
            "pathStyle",
            Boolean(),
            "the bucket is in the path, not in the host name (s3); without it, where there is an endpoint",
            example="true",
        ),
        Key(
            "caFile",
            Text("the path of a PEM file such as /etc/ssl/store-ca.pem", r"/[^\x00-\x1f]{1,1023}"),
            "certificates of the authority that signed the endpoint's, trusted beside the system's; where the command "
            "and the local agents run",
            example="/etc/ssl/store-ca.pem",
        ),
        Key(
            "caConfigMap",
            Text("the name of a ConfigMap", OBJECT_NAME_PATTERN),
            "the same certificates for pods, which see no file of this machine: a ConfigMap that has them as `ca.crt`",
            example="store-ca",
            read_by=KUBERNETES,
        ),
        Key("anonymous", Boolean(), "read without credentials", False, "true"),
        Key(
            "bandwidth",
            _BYTES,
            "bytes a second that one replica takes at most while it fetches versions",
            example="100Mi",
            default_says="what the line has",
        ),
        Key(
            "conditionalWrites",
            Boolean(),
            "false for a store that has none (If-Match, If-None-Match), which is refused otherwise: whoever publishes "
            "then takes care that never two write at a time",
            True,
            "false",
        ),
        Key(
            "requireSignature",
            Listed(_PUBLIC_KEY),
            "public ed25519 keys, one of which must have signed a version's commit record (`push --sign`): replicas "
            "refuse the rest. PEM files, seen from this file, or the keys themselves; for every kind of store",
            (),
            "[keys/release.pub.pem]",
        ),
    ),
    StoreOptions,
    refused=SECRET_KEYS,
)

RESOURCES = Section(
    (
        Key("cpu", _CPU, "cores of one replica", example="2", read_by=_CLUSTER),
        Key(
            "memory",
            _BYTES,
            "memory of one replica; leave room for two versions of each model",
            example="4Gi",
            read_by=_CLUSTER,
        ),
        Key("gpu", Integer(0, 64), "GPUs of one replica", 0, "1", read_by=_CLUSTER),
    ),
    Resources,
)

AUTOSCALE = Section(
    (
        Key("min", Integer(1, 1000), "the least replicas", REQUIRED, "3"),
        Key("max", Integer(1, 1000), "the most replicas", REQUIRED, "10"),
        Key("cpu", Integer(1, 100), "how busy a model server may be on average, in percent of resources.cpu", 70, "70"),
    ),
    Autoscale,
)

BATCHING = Section(
    (
        Key("maxBatchSize", Integer(1, 1 << 20), "most examples in one batch", example="32"),
        Key("batchTimeoutMicros", Integer(0, 60_000_000), "how long a batch waits to be filled", example="1000"),
        Key("numBatchThreads", Integer(1, 4096), "batches that run at a time", example="4"),
        Key(
            "maxEnqueuedBatches",
            Integer(1, 1 << 20),
            "batches that wait; beyond them requests are refused",
            example="4",
        ),
    ),
    Batching,
)

SERVING = Section(
    (
        Key("replicas", Integer(1, 1000), "model servers", 1, "3"),
        Key(
            "minAvailable",
            Integer(1, 1000),
            "replicas that must have the version before a rollback moves traffic, and that are kept while others roll",
            example="2",
            default_says="half of `replicas`, rounded up",
        ),
        Key(
            "server",
            _SERVER,
            "the model server of the local target: the embedded one, the embedded one with the manners of TF Serving, "
            "or a tensorflow_model_server (a relative path is seen from this file)",
            "embedded",
            "/usr/bin/tensorflow_model_server",
            read_by=("local",),
        ),
        Key("image", _IMAGE, "the model server's image", IMAGE, IMAGE, read_by=_CLUSTER),
        Key("resources", RESOURCES, "what one replica may use", {}),
        Key(
            "disk",
            _BYTES,
            "local model cache of one replica; choose it for `keep` + 1 versions of every model",
            example="20Gi",
            default_says="no limit",
            read_by=_CLUSTER,
        ),
        Key(
            "nodeCache",
            _NODE_CACHE,
            "what the replicas of a node share: a folder of each node, or a claim that they all can write. An object "
            "store's versions are fetched into it once, a volume's are verified once. A folder of the node is against "
            "the Pod Security level `restricted`",
            example="/var/lib/tfsdeploy-models",
            default_says="each replica has its own",
            read_by=KUBERNETES,
        ),
        Key("keep", Integer(0, 9), "previous versions that stay loaded: what makes a rollback instant", 1, "1"),
        Key(
            "batching",
            BATCHING,
            "batching in the server, for all models; `{}` turns it on with the server's defaults",
            default_says="off",
        ),
        Key(
            "flags", Section(FLAGS, refused=REFUSED_FLAGS), "other flags of tensorflow_model_server, without dashes", {}
        ),
        Key(
            "drainSeconds",
            Number(0, 3600, "seconds"),
            "how long a version stays after all gateways have left it, and a replica that ends; at least as long as "
            "the longest request takes",
            5.0,
            "5",
        ),
        Key(
            "autoscale",
            AUTOSCALE,
            "as many replicas as their load asks for, instead of `replicas`; needs resources.cpu",
            default_says="off",
            read_by=KUBERNETES,
        ),
        Key("surge", Integer(0, 1000), "replicas more than wanted while they roll", 1, "1", read_by=KUBERNETES),
        Key(
            "unavailable",
            Integer(0, 1000),
            "replicas fewer than wanted while they roll: 1, with surge 0, where there is no spare node (GPUs)",
            0,
            "1",
            read_by=KUBERNETES,
        ),
        Key(
            "volume",
            Choice(("claim", "inline")),
            "how nfs:// is mounted: by a PersistentVolumeClaim or in the pod itself; `inline` also lets file:// be a "
            "folder of each node. Inline volumes are against the Pod Security level `restricted`",
            "claim",
            "inline",
            read_by=KUBERNETES,
        ),
        Key(
            "serviceAccountAnnotations",
            ANNOTATIONS,
            "annotations of the replicas' ServiceAccount, by which a cloud knows who may read the store (workload "
            "identity), such as eks.amazonaws.com/role-arn",
            {},
            read_by=KUBERNETES,
        ),
        *pod_keys("replicas"),
    ),
    Serving,
)

GATEWAY_RESOURCES = Section(
    (
        Key("cpu", _CPU, "cores of one Envoy", "500m", "2", read_by=_CLUSTER),
        Key("memory", _BYTES, "memory of one Envoy; near it, requests are refused", "1Gi", "4Gi", read_by=_CLUSTER),
    ),
    Share,
)

GATEWAY = Section(
    (
        Key("replicas", Integer(1, 100), "gateways; the local ones share their ports", 1, "2"),
        Key("rest", _PORT, "port for REST; 0: a free one (local)", 8501, "8501"),
        Key("grpc", _PORT, "port for gRPC; 0: a free one (local)", 8500, "8500"),
        Key("address", _ADDRESS, "what the ports are bound to", "127.0.0.1", "0.0.0.0", read_by=("local", "docker")),
        Key(
            "network",
            Choice(("bridge", "host")),
            "host: gateways share the ports of their Docker host, and even a single one is replaced without a pause; "
            "bridge: each publishes ports of its own",
            "bridge",
            "host",
            read_by=("docker",),
        ),
        Key(
            "service",
            Choice(("ClusterIP", "NodePort", "LoadBalancer")),
            "type of the Service",
            "ClusterIP",
            "LoadBalancer",
            read_by=KUBERNETES,
        ),
        Key(
            "serviceAnnotations",
            ANNOTATIONS,
            "annotations of the Service, such as a cloud's for its load balancers",
            {},
            read_by=KUBERNETES,
        ),
        Key(
            "tls",
            SECRET,
            "the Secret (kubernetes.io/tls) whose certificate both ports show; a renewed one is taken up in place",
            example="gateway-certificate",
            default_says="plain text",
            read_by=KUBERNETES,
        ),
        Key("image", _IMAGE, "the gateway's image", GATEWAY_IMAGE, GATEWAY_IMAGE, read_by=_CLUSTER),
        Key("resources", GATEWAY_RESOURCES, "what the Envoy of one gateway may use", {}),
        Key("timeoutSeconds", Number(0.1, 86400, "seconds"), "when a request without answer is given up", 60.0, "60"),
        Key(
            "perTryTimeoutSeconds",
            Number(0, 86400, "seconds"),
            "when a request without answer goes to another replica as well, and the first answer counts; 0: never",
            2.0,
            "0.5",
        ),
        Key(
            "maxRequestBytes",
            Integer(1024, 1 << 30),
            "the largest request that is taken; it is kept in memory, to be sent again if a replica dies",
            64 << 20,
            "16777216",
        ),
        *pod_keys("gateways"),
    ),
    Gateway,
)

AGENT = Section(
    (
        Key("image", _IMAGE, "the agents' image", AGENT_IMAGE, AGENT_IMAGE, read_by=_CLUSTER),
        Key(
            "resources",
            Section(
                (
                    Key("cpu", _CPU, "cores of one agent", "50m", "100m", read_by=_CLUSTER),
                    Key("memory", _AGENT_BYTES, "memory of one agent", "256Mi", "512Mi", read_by=_CLUSTER),
                ),
                Share,
            ),
            "what one agent may use",
            {},
        ),
    ),
    Agent,
)

MONITORING = Section(
    (
        Key(
            "namespace",
            NAMESPACE,
            "the namespace that alone, beside the fleet, may read metrics",
            "monitoring",
            "monitoring",
            read_by=KUBERNETES,
        ),
        Key(
            "podMonitor",
            Boolean(),
            "a PodMonitor (Prometheus Operator) for the agents",
            False,
            "true",
            read_by=KUBERNETES,
        ),
        Key("alerts", Boolean(), "a PrometheusRule; needs podMonitor", False, "true", read_by=KUBERNETES),
        Key("dashboard", Boolean(), "a Grafana dashboard in a ConfigMap", False, "true", read_by=KUBERNETES),
    ),
    Monitoring,
)

CANARY = Section(
    (
        Key("version", _VERSION, "the version on trial", REQUIRED, "8"),
        Key("weight", Integer(1, 99), "its share of the requests, in percent", REQUIRED, "10"),
    ),
    Canary,
)

MODEL = Section(
    (
        Key(
            "version",
            _VERSION,
            "pins the version: this file owns it",
            example="7",
            default_says="the newest at the first `up`; after that `promote` and `rollback` own it",
        ),
        Key("canary", CANARY, "a second version that gets part of the traffic; needs `version`", default_says="none"),
        Key(
            "labels",
            Named(_LABEL_NAME, _VERSION),
            "name → version, resolved at the gateway; `version` or the canary's",
            {},
        ),
        Key(
            "example",
            Text("the path of a JSON file, seen from this file", r"[^\s].*"),
            "the body of a REST predict that a version must answer before it gets traffic",
            example="requests/ranker.json",
        ),
    ),
    Model,
)

FLEET = Section(
    (
        Key("apiVersion", Choice(("tfsdeploy/v1",)), "version of this grammar", REQUIRED, "tfsdeploy/v1"),
        Key("kind", Choice(("Fleet",)), "what the file describes", REQUIRED, "Fleet"),
        Key("name", _FLEET_NAME, "name of the fleet; part of every name that is made for it", REQUIRED, "shop"),
        Key(
            "target",
            Choice(("local", "docker", "kubernetes")),
            "where the fleet lives, unless `-t` says otherwise",
            "local",
            "kubernetes",
        ),
        Key(
            "store",
            Text("a URL such as s3://models/prod or file://./models", STORE_PATTERN, complain_about_store),
            "where the models live; a relative file:// is seen from this file",
            REQUIRED,
            "s3://models/prod",
        ),
        Key(
            "storeOptions",
            STORE_OPTIONS,
            "how an object store is reached (only for s3://, gs:// and az://), and whose signatures are required",
            {},
        ),
        Key("serving", SERVING, "the replicas", {}),
        Key("gateway", GATEWAY, "the only address that clients know", {}),
        Key("agent", AGENT, "the agents beside model servers and gateways", {}),
        Key(
            "namespace",
            NAMESPACE,
            "the namespace of the fleet",
            example="shop",
            default_says="`--namespace`, or the kubeconfig's, or `default`; `render` reads no kubeconfig",
            read_by=KUBERNETES,
        ),
        Key(
            "imageRegistry",
            _REGISTRY,
            "where images come from that name no registry themselves",
            example="registry.example:5000/mirror",
            read_by=_CLUSTER,
        ),
        Key(
            "imagePullSecrets",
            Listed(SECRET),
            "Secrets to pull images with",
            (),
            "[pull-secret]",
            read_by=KUBERNETES,
        ),
        Key("monitoring", MONITORING, "what the cluster's monitoring is given", {}),
        Key(
            "models",
            Named(_MODEL_NAME, MODEL, least=1),
            "name → model; `{}` for one that this file does not pin",
            REQUIRED,
            "{half_plus_two: {}}",
        ),
    )
)


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the fleet file, for editors.

    It says what each key may be; what depends on two (`minAvailable` and `replicas`) only `tfsdeploy validate` knows.
    """
    from tfsdeploy.fleet.pages import schema_of

    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tfsdeploy fleet file",
        **schema_of(FLEET),
    }


def reference() -> str:
    """The reference page of the fleet file, as Markdown."""
    from tfsdeploy.fleet.pages import reference_of

    return reference_of(FLEET)
