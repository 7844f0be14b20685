"""Starts and ends the cluster: two machines, joined by a wire, with the servers of Kubernetes in them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from tests.cluster import files
from tests.cluster.build import binaries, cache, install_packages
from tests.cluster.files import Node
from tests.cluster.images import Image, full_name, kept_layer, pack, write_archive
from tests.cluster.machine import Machine
from tests.cluster.product import NAMES, images
from tfsdeploy.processes import Identity, identity, is_alive

NODES = 2
READY_SECONDS = 180.0
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd", "unified")
CGROUPS = Path("/sys/fs/cgroup")
SETTINGS = Path("/proc/sys")

KERNEL = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys",
          "kernel/keys/root_maxbytes")  # fmt: skip
"""Settings of the whole machine that a kubelet changes (kubelet/cm/container_manager_linux.go)."""

OUTSIDE = ("/usr/libexec/kubernetes", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers")
"""Folders of the whole machine that kubelets and plug-ins of the network make, wherever they are told to live."""


class Cluster:
    """The cluster of this user; making one touches nothing.

    Args:
        folder: where it keeps its state.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or cache() / "state"
        self.nodes = tuple(Node(number, self.folder / f"node-{number}") for number in range(1, NODES + 1))
        self.kubeconfig = self.folder / "kubeconfig"

    def is_up(self) -> bool:
        """Whether all of its machines run."""
        kept = self._kept()
        return len(kept) == NODES + 1 and all(is_alive(process) for process in kept.values())

    def machine(self, number: int) -> Machine:
        """A machine that runs."""
        return Machine(f"node-{number}", self._kept()[f"node-{number}"])

    def start(self, say: Callable[[str], None]) -> None:
        """Build what is missing, start what does not run, and wait until pods can run everywhere."""
        if self.is_up():
            return
        self.stop()
        install_packages()
        say("building what is not built yet (the first time takes some minutes)")
        programs = binaries()
        self._prepare(programs)
        machines = [Machine.start(node.name) for node in self.nodes]
        processes = {machine.name: machine.first for machine in machines}
        kernel = {name: (SETTINGS / name).read_text() for name in KERNEL}
        (self.folder / "kernel.json").write_text(json.dumps(kernel))
        (self.folder / "outside.json").write_text(json.dumps([name for name in OUTSIDE if not Path(name).exists()]))
        self._keep(processes)
        self._join(machines)
        say("starting the control plane")
        self._start_control_plane(machines[0], programs)
        forwarder, port = self._forward(machines[0])
        self._keep(processes | {"forward": forwarder})
        authority = self.folder / "certificates" / "apiserver.crt"
        config = files.kubeconfig(f"https://127.0.0.1:{port}", files.ADMIN_TOKEN, authority, server_name="kubernetes")
        self.kubeconfig.write_text(config)
        for machine, node in zip(machines, self.nodes, strict=True):
            self._start_node(machine, node, programs)
        say("waiting for the nodes")
        self._wait("the API server", lambda: self.kubectl("get", "--raw", "/readyz", check=False) == "ok")
        for document in files.DNS_SERVICE:
            self.kubectl("apply", "-f", "-", text=json.dumps(document))
        self._wait("ready nodes", lambda: self._ready_nodes() == NODES)

    def load_images(self, say: Callable[[str], None]) -> None:
        """Make the product's images where their sources have changed, and give them to the nodes that lack them."""
        for image in images():
            self.load_image(image, say)

    def load_image(self, image: Image, say: Callable[[str], None]) -> None:
        """Give an image to the nodes that lack it."""
        places = [(self.machine(node.number), node) for node in self.nodes]
        lacking = [place for place in places if _imported(*place).get(image.name, [""])[0] != image.identity]
        if lacking:
            say(f"loading {image.name}")
        with ThreadPoolExecutor(NODES) as pool:
            list(pool.map(lambda place: _import(*place, image), lacking))

    def forget_images(self) -> None:
        """Remove all images from the nodes that this tree does not use: other trees' and those of other dependencies.

        Only just after a start, when no other tree can have a fleet that runs from them.
        """
        with ThreadPoolExecutor(NODES) as pool:
            list(pool.map(lambda node: _forget(self.machine(node.number), node, {files.PAUSE, *NAMES}), self.nodes))

    def stop(self) -> None:
        """End every process and remove everything but what was built and the images."""
        kept = self._kept()
        processes = _all_of(kept.values())
        for name, process in kept.items():
            if is_alive(process):
                Machine(name, process).stop()
        self._wait("the end of every process", lambda: not any(map(is_alive, processes)))
        if (self.folder / "kernel.json").exists():
            for name, value in json.loads((self.folder / "kernel.json").read_text()).items():
                (SETTINGS / name).write_text(value)
        if (self.folder / "outside.json").exists():
            for made in map(Path, json.loads((self.folder / "outside.json").read_text())):
                if made.exists():
                    shutil.rmtree(made)
        for left in self._state():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        for group in self._cgroups():
            _remove_cgroups(group)
        still = [*self._state(), *self._cgroups()]
        assert not still, f"still there: {', '.join(map(str, still))}"

    def kubectl(self, *words: str, text: str | None = None, check: bool = True) -> str:
        """What kubectl prints; empty if it fails and need not succeed."""
        argv = ["kubectl", f"--kubeconfig={self.kubeconfig}", *words]
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout if done.returncode == 0 else ""

    def apply(self, *objects: Mapping[str, Any], namespace: str = "default") -> None:
        """Make objects, or change them."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self.kubectl("--namespace", namespace, "apply", "-f", "-", text=text)

    def start_api_server(self) -> None:
        """Start the API server again after `kill_api_server`; returns when it answers."""
        self._spawn(self.machine(1), "kube-apiserver", files.api_server(self.nodes[0], self.folder), binaries())
        self._wait("the API server", lambda: self.kubectl("get", "--raw", "/readyz", check=False) == "ok")

    def kill_api_server(self) -> None:
        """End the API server at once, as a loss would; everything else runs on."""
        inside = os.readlink(f"/proc/{self.machine(1).first.pid}/ns/pid")
        named = [process for process in psutil.process_iter(["name"]) if process.info["name"] == "kube-apiserver"]
        (found,) = [process for process in named if os.readlink(f"/proc/{process.pid}/ns/pid") == inside]
        found.kill()
        self._wait("the end of the API server", lambda: not found.is_running())

    def lose_node(self, number: int) -> None:
        """Cut a node's wire: no packet comes from it any more, and no reset either."""
        self.machine(number).run("ip", "link", "set", "lan", "down")

    def find_node(self, number: int) -> None:
        """Plug in the wire of a node that was lost."""
        self._connect(self.machine(number), self.nodes[number - 1])

    def _prepare(self, programs: Path) -> None:
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        (self.folder / "tokens.csv").write_text(files.tokens(self.nodes))
        (self.folder / "audit-policy.json").write_text(files.AUDIT_POLICY)
        key = self.folder / "service-accounts.pem"
        subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
        client = str(self.folder / files.KUBELET_CLIENT)
        request = f"req -x509 -newkey rsa:2048 -nodes -days 3650 -keyout {client}.key -out {client}.crt"
        subject = "/O=system:masters/CN=kube-apiserver"
        subprocess.run(["openssl", *request.split(), "-subj", subject], check=True, capture_output=True)
        for node in self.nodes:
            (node.folder / "cni").mkdir(parents=True, exist_ok=True)
            (node.folder / "cni" / "10-pods.conflist").write_text(files.network_config(node))
            (node.folder / "containerd.toml").write_text(files.containerd_config(node))
            (node.folder / "kubelet.json").write_text(files.kubelet_config(node))
            _make_cgroups(files.cgroup(node))

    def _join(self, machines: list[Machine]) -> None:
        """The first machine has a switch; each other one a wire into it."""
        first = machines[0]
        first.run("ip", "link", "add", "lan", "type", "bridge")
        first.run("ip", "address", "add", f"{self.nodes[0].address}/24", "dev", "lan")
        first.run("ip", "link", "set", "lan", "up")
        first.run("ip", "route", "replace", "default", "dev", "lan")
        for machine, node in zip(machines[1:], self.nodes[1:], strict=True):
            wire = f"wire{node.number}"
            ends = f"link add {wire} netns {first.first.pid} type veth peer name lan netns {machine.first.pid}"
            subprocess.run(["ip", *ends.split()], check=True)
            first.run("ip", "link", "set", wire, "master", "lan", "up")
            machine.run("ip", "address", "add", f"{node.address}/24", "dev", "lan")
            self._connect(machine, node)
        for machine, node in zip(machines, self.nodes, strict=True):
            machine.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
            self._route(machine, node)

    def _connect(self, machine: Machine, node: Node) -> None:
        machine.run("ip", "link", "set", "lan", "up")
        machine.run("ip", "route", "replace", "default", "via", self.nodes[0].address)
        self._route(machine, node)

    def _route(self, machine: Machine, node: Node) -> None:
        for other in self.nodes:
            if other != node:
                machine.run("ip", "route", "replace", other.pods, "via", other.address)

    def _start_control_plane(self, machine: Machine, programs: Path) -> None:
        node = self.nodes[0]
        self._spawn(machine, "etcd", files.etcd(self.folder))
        self._spawn(machine, "kube-apiserver", files.api_server(node, self.folder), programs)
        authority = self.folder / "certificates" / "apiserver.crt"
        self._wait("the API server's certificate", authority.exists)
        manager = self._config("kube-controller-manager", "kube-controller-manager")
        self._spawn(machine, "kube-controller-manager", files.controller_manager(self.folder, manager), programs)
        self._spawn(
            machine, "kube-scheduler", files.scheduler(self._config("kube-scheduler", "kube-scheduler")), programs
        )
        corefile = self.folder / "Corefile"
        corefile.write_text(files.corefile(node, self._config("coredns", "coredns")))
        self._spawn(machine, "coredns", ["coredns", "-conf", str(corefile)], programs)

    def _start_node(self, machine: Machine, node: Node, programs: Path) -> None:
        self._spawn(machine, f"containerd-{node.number}", ["containerd", "--config", f"{node.folder}/containerd.toml"])
        self._wait(
            "containerd",
            lambda: (
                subprocess.run(
                    machine.inside("ctr", f"--address={node.socket}", "version"), capture_output=True, check=False
                ).returncode
                == 0
            ),
        )
        layer = kept_layer(programs / "pause.tar", lambda file: pack(file, {"pause": programs / "pause"}))
        _import(machine, node, Image(files.PAUSE, (layer,), ("/pause",)))
        kubelet = self._config(f"kubelet-{node.number}", node.token)
        self._spawn(machine, f"kubelet-{node.number}", files.kubelet(node, kubelet), programs)
        proxy = self.folder / f"kube-proxy-{node.number}.json"
        proxy.write_text(files.proxy_config(self._config("kube-proxy", "kube-proxy")))
        words = ["kube-proxy", f"--config={proxy}", f"--hostname-override={node.name}"]
        self._spawn(machine, f"kube-proxy-{node.number}", words, programs)

    def _config(self, name: str, token: str) -> Path:
        """A server's kubeconfig."""
        file = self.folder / f"{name}.kubeconfig"
        authority = self.folder / "certificates" / "apiserver.crt"
        file.write_text(files.kubeconfig(f"https://{self.nodes[0].address}:{files.API_PORT}", token, authority))
        return file

    def _spawn(self, machine: Machine, name: str, argv: list[str], programs: Path | None = None) -> None:
        program = argv[0] if programs is None else str(programs / argv[0])
        machine.spawn(program, *argv[1:], log=self.folder / "logs" / f"{name}.log")

    def _forward(self, machine: Machine) -> tuple[Identity, int]:
        argv = [sys.executable, "-m", "tests.cluster.forward", str(machine.first.pid), self.nodes[0].address]
        process = subprocess.Popen(
            [*argv, str(files.API_PORT)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )
        assert process.stdout is not None
        port = int(process.stdout.readline())
        return _identity(process.pid), port

    def _ready_nodes(self) -> int:
        found = json.loads(self.kubectl("get", "nodes", "-o", "json", check=False) or '{"items": []}')
        return sum(
            condition["type"] == "Ready" and condition["status"] == "True"
            for node in found["items"]
            for condition in node["status"].get("conditions", [])
        )

    def _wait(self, what: str, done: Callable[[], bool], seconds: float = READY_SECONDS) -> None:
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, f"not in {seconds:g} s: {what}; see {self.folder / 'logs'}"
            time.sleep(0.05)

    def _state(self) -> list[Path]:
        """All of one run that is on the disk: what is beside the images."""
        folders = [node.folder for node in self.nodes]
        stay = [*folders, *(node.images for node in self.nodes)]
        found = [path for folder in (self.folder, *folders) if folder.exists() for path in folder.iterdir()]
        return [path for path in found if path not in stay]

    def _cgroups(self) -> list[Path]:
        """The control groups of the nodes, in every hierarchy that has one."""
        return [group for node in self.nodes for group in CGROUPS.glob(f"*/{files.cgroup(node)}")]

    def _kept(self) -> dict[str, Identity]:
        try:
            return {
                name: Identity(**row) for name, row in json.loads((self.folder / "machines.json").read_text()).items()
            }
        except FileNotFoundError:
            return {}

    def _keep(self, processes: dict[str, Identity]) -> None:
        rows = {name: asdict(process) for name, process in processes.items()}
        (self.folder / "machines.json").write_text(json.dumps(rows))


def _all_of(kept: Collection[Identity]) -> list[Identity]:
    """These processes, and all that come from them or from who has entered their machines."""
    living = [process.pid for process in kept if is_alive(process)]
    doors = {f"--target={pid}" for pid in living}
    entered = [found for found in psutil.process_iter(["cmdline"]) if doors.intersection(found.info["cmdline"] or ())]
    pids = set(living)
    for root in (*map(psutil.Process, living), *entered):
        with suppress(psutil.NoSuchProcess):  # It has just ended.
            pids |= {root.pid, *(child.pid for child in root.children(recursive=True))}
    return [found for pid in pids if (found := identity(pid)) is not None]


def _identity(pid: int) -> Identity:
    found = identity(pid)
    assert found is not None
    return found


def _imported(machine: Machine, node: Node) -> dict[str, list[str]]:
    """What a node's containerd has: name -> identity, and the digests of the layers."""
    try:
        noted: dict[str, list[str]] = json.loads(_note(node).read_text())
    except FileNotFoundError:
        return {}
    # The kubelet removes images when its disk is full, and tells nobody.
    there = machine.run("ctr", f"--address={node.socket}", "-n", "k8s.io", "images", "ls", "-q").split()
    return {name: words for name, words in noted.items() if full_name(name) in there}


def _import(machine: Machine, node: Node, image: Image) -> None:
    """Give an image to a node; of its layers only those that it lacks."""
    kept = _imported(machine, node)
    there = {digest for _, *layers in kept.values() for digest in layers}
    argv = ("ctr", f"--address={node.socket}", "-n", "k8s.io", "images", "import", "-")
    try:
        machine.feed(*argv, write=lambda stream: write_archive(stream, image, without=there))
    except AssertionError:
        # Two trees that load at a time write over each other's notes.
        machine.feed(*argv, write=lambda stream: write_archive(stream, image))
    kept[image.name] = [image.identity, *(layer.digest for layer in image.layers)]
    _note(node).write_text(json.dumps(kept))


def _forget(machine: Machine, node: Node, but: Collection[str]) -> None:
    """Remove every image from a node but these; containerd then removes the layers that no image has."""
    kept = {name: words for name, words in _imported(machine, node).items() if name in but}
    # Kubernetes' part of containerd also calls each image by its identity.
    stay = {word for name, (image, *_) in kept.items() for word in (full_name(name), f"sha256:{image}")}
    argv = ("ctr", f"--address={node.socket}", "-n", "k8s.io", "images")
    if gone := [name for name in machine.run(*argv, "ls", "-q").split() if name not in stay]:
        _note(node).write_text(json.dumps(kept))
        machine.run(*argv, "rm", "--sync", *gone)


def _note(node: Node) -> Path:
    # Gone when containerd's images are.
    return node.images / "imported.json"


def _make_cgroups(name: str) -> None:
    """A control group in every hierarchy; that of processors must name some before anything can live in it."""
    for controller in CONTROLLERS:
        parent = CGROUPS / controller
        if not parent.is_dir():
            continue
        (parent / name).mkdir(exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems") if controller == "cpuset" else ():
            (parent / name / file).write_text((parent / file).read_text())


def _remove_cgroups(folder: Path) -> None:
    """Remove a control group and all below it; their processes are gone."""
    for base, _, _ in os.walk(folder, topdown=False):
        os.rmdir(base)
