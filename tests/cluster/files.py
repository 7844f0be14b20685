"""What the cluster's servers read: pure functions from addresses and folders to configuration text."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

API_PORT = 6443
SERVICES = "10.96.0.0/16"
DNS_ADDRESS = "10.96.0.10"
PAUSE = "tfsdeploy/pause:1"
ADMIN_TOKEN = "admin-of-a-test-cluster"


@dataclass(frozen=True, slots=True)
class Node:
    """One node: its number says all about its network.

    Attributes:
        number: from 1; the first has the control plane.
        folder: where its servers keep their files.
    """

    number: int
    folder: Path

    @property
    def name(self) -> str:
        """As Kubernetes knows it."""
        return f"node-{self.number}"

    @property
    def address(self) -> str:
        """In the network of the nodes."""
        return f"10.250.0.{self.number}"

    @property
    def pods(self) -> str:
        """The network of its pods."""
        return f"10.244.{self.number}.0/24"

    @property
    def token(self) -> str:
        """Its kubelet's."""
        return f"kubelet-of-{self.name}"

    @property
    def socket(self) -> str:
        """Its containerd's."""
        return f"/run/containerd-{self.number}.sock"

    @property
    def images(self) -> Path:
        """Where its containerd keeps images."""
        return self.folder / "containerd"


def tokens(nodes: tuple[Node, ...]) -> str:
    """The API server's token file."""
    rows = [f'{ADMIN_TOKEN},admin,admin,"system:masters"']
    rows += [f'{node.token},system:node:{node.name},{node.name},"system:nodes"' for node in nodes]
    rows += [f"{name},system:{name},{name}" for name in ("kube-controller-manager", "kube-scheduler", "kube-proxy")]
    rows += ['coredns,coredns,coredns,"system:masters"']
    return "\n".join(rows) + "\n"


def kubeconfig(url: str, token: str, authority: Path, server_name: str | None = None) -> str:
    """A kubeconfig, as JSON, which is YAML too."""
    cluster: dict[str, Any] = {"server": url, "certificate-authority": str(authority)}
    if server_name is not None:
        cluster["tls-server-name"] = server_name
    plain = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
        "current-context": "test",
    }
    return json.dumps(plain, indent=1) + "\n"


AUDIT_POLICY = json.dumps(
    {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}],
    }
)
"""What service accounts ask for is written down, and nothing else."""


def containerd_config(node: Node) -> str:
    """``containerd`` with its CRI plug-in."""
    return f"""\
version = 2
root = "{node.images}"
state = "/run/containerd-{node.number}"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
address = "{node.socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{node.folder / "cni"}"
"""


def network_config(node: Node) -> str:
    """The CNI configuration of a node's pods."""
    plugins = [
        {
            "type": "bridge",
            "bridge": "pods",
            "isGateway": True,
            "ipMasq": False,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "dataDir": "/run/cni-networks",
                "ranges": [[{"subnet": node.pods}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return json.dumps({"cniVersion": "1.0.0", "name": node.name, "plugins": plugins})


KUBELET_CLIENT = "kubelet-client"
"""The certificate by which kubelets know the API server when it asks for logs and forwards ports; it signs itself."""


def kubelet_config(node: Node) -> str:
    """A kubelet that lives beside others on one machine."""
    plain = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(node.folder.parent / f"{KUBELET_CLIENT}.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup(node)}",
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{node.socket}",
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "failCgroupV1": False,
        "failSwapOn": False,
        "imageGCHighThresholdPercent": 100,
        "oomScoreAdj": 0,
        "podLogsDir": str(node.folder / "pod-logs"),
        "podPidsLimit": 4096,
        "registerNode": True,
        "resolvConf": "",
        "staticPodPath": "",
        "syncFrequency": "10s",
        "nodeStatusUpdateFrequency": "2s",
        "shutdownGracePeriod": "0s",
    }
    return json.dumps(plain, indent=1)


def proxy_config(kubeconfig_file: Path) -> str:
    """kube-proxy by iptables, leaving the machine's connection tracking as it is."""
    plain = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(kubeconfig_file)},
        "clusterCIDR": "10.244.0.0/16",
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "iptables": {"minSyncPeriod": "0s"},
    }
    return json.dumps(plain)


def corefile(node: Node, kubeconfig_file: Path) -> str:
    """CoreDNS for the cluster's own names."""
    return f"""\
cluster.local:53 {{
    bind {node.address}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {kubeconfig_file} test
        ttl 1
    }}
    cache 1
}}
"""


DNS_SERVICE = [
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system"},
        "spec": {
            "clusterIP": DNS_ADDRESS,
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            ],
        },
    },
    {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": {"kubernetes.io/service-name": "kube-dns"},
        },
        "addressType": "IPv4",
        "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
        ],
        "endpoints": [{"addresses": ["10.250.0.1"], "conditions": {"ready": True}}],
    },
]
"""The Service of CoreDNS, which runs beside the control plane."""


def cgroup(node: Node) -> str:
    """The control group under which a node's pods live."""
    return f"tfsdeploy-{node.name}"


def api_server(node: Node, folder: Path) -> list[str]:
    """The API server's words."""
    return [
        "kube-apiserver",
        f"--advertise-address={node.address}",
        f"--secure-port={API_PORT}",
        f"--cert-dir={folder}/certificates",
        "--etcd-servers=http://127.0.0.1:2379",
        f"--token-auth-file={folder}/tokens.csv",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        f"--service-cluster-ip-range={SERVICES}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder}/service-accounts.pem",
        f"--service-account-signing-key-file={folder}/service-accounts.pem",
        "--kubelet-preferred-address-types=InternalIP",
        f"--kubelet-client-certificate={folder}/{KUBELET_CLIENT}.crt",
        f"--kubelet-client-key={folder}/{KUBELET_CLIENT}.key",
        f"--audit-policy-file={folder}/audit-policy.json",
        f"--audit-log-path={folder}/audit.log",
        "--enable-admission-plugins=NodeRestriction",
        "--v=1",
    ]


def controller_manager(folder: Path, kubeconfig_file: Path) -> list[str]:
    """The controller manager's words; a lost node is noticed in seconds."""
    return [
        "kube-controller-manager",
        f"--kubeconfig={kubeconfig_file}",
        f"--service-account-private-key-file={folder}/service-accounts.pem",
        f"--root-ca-file={folder}/certificates/apiserver.crt",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--node-monitor-period=1s",
        "--node-monitor-grace-period=10s",
        "--concurrent-deployment-syncs=10",
        "--v=1",
    ]


def scheduler(kubeconfig_file: Path) -> list[str]:
    """The scheduler's words."""
    return ["kube-scheduler", f"--kubeconfig={kubeconfig_file}", "--leader-elect=false", "--v=1"]


def etcd(folder: Path) -> list[str]:
    """etcd, which need not survive a loss of power here."""
    return [
        "etcd",
        f"--data-dir={folder}/etcd",
        "--unsafe-no-fsync",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--log-level=warn",
    ]


def kubelet(node: Node, kubeconfig_file: Path) -> list[str]:
    """A kubelet's words."""
    return [
        "kubelet",
        f"--config={node.folder}/kubelet.json",
        f"--kubeconfig={kubeconfig_file}",
        f"--hostname-override={node.name}",
        f"--node-ip={node.address}",
        f"--root-dir={node.folder}/kubelet",
        f"--cert-dir={node.folder}/kubelet-certificates",
        "--v=1",
    ]
