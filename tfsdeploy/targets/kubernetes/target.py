"""The Kubernetes target: a fleet whose replicas and gateways are pods of one namespace."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import yaml

from tfsdeploy.errors import Busy, TfsdeployError, UsageError
from tfsdeploy.fleet.model import Fleet
from tfsdeploy.fleet.pins import Pins
from tfsdeploy.names import fleet_labels
from tfsdeploy.release.configmap import PINS, ReleaseConfigMaps, pins_in
from tfsdeploy.release.model import Release
from tfsdeploy.release.remembered import newest
from tfsdeploy.render.containers import AGENT_PORT, GRPC_PORT, REST_PORT
from tfsdeploy.render.kubernetes.artefacts import KUSTOMIZATION, SETTINGS_ANNOTATION, kubernetes_artefacts
from tfsdeploy.render.kubernetes.pins import pins_text
from tfsdeploy.report import Report
from tfsdeploy.targets.base import GatewayAddress, Ran, ReplicaAddress, Settings
from tfsdeploy.targets.kubernetes import beside
from tfsdeploy.targets.kubernetes.apply import apply, difference, leftovers, pairs, wait_for
from tfsdeploy.targets.kubernetes.configmaps import UserConfigMaps, put_back
from tfsdeploy.targets.kubernetes.connection import Connection, Place
from tfsdeploy.targets.kubernetes.entrance import addresses_of
from tfsdeploy.targets.kubernetes.forward import to_pods
from tfsdeploy.targets.kubernetes.kinds import KINDS, POD, Kind, in_order, kind_named, words
from tfsdeploy.targets.kubernetes.lease import held
from tfsdeploy.targets.kubernetes.load import images_of, load_lacking
from tfsdeploy.targets.kubernetes.logs import lines_of
from tfsdeploy.targets.kubernetes.objects import HelmRelease, Manifest, Objects, helm_release
from tfsdeploy.targets.kubernetes.permissions import missing, needed
from tfsdeploy.targets.settings import memory_limit

log = logging.getLogger(__name__)

LEFT_SECONDS = 0.5

PODS_SECONDS = 1.0
"""How long one look at the pods answers who is there: commands that follow a fleet ask several times a second."""

_DEPLOYMENT = kind_named("Deployment")
_CONFIG_MAP = kind_named("ConfigMap")
_SERVICE = kind_named("Service")


def _speaks_tls(gateway: Manifest) -> bool:
    return any(volume.get("secret") for volume in gateway["spec"]["template"]["spec"]["volumes"])


class KubernetesTarget:
    """One fleet in one namespace; making one touches nothing.

    Args:
        fleet_name: the fleet.
        place: the cluster's context and the namespace.
        report: hears of an API server that is waited for.
    """

    kind = "kubernetes"

    def __init__(self, fleet_name: str, place: Place, report: Report | None = None) -> None:
        self.fleet = fleet_name
        self._patience = place.patience
        self._objects = Objects(Connection(place, report))
        self._forwards = to_pods(self._objects.connection)
        self._pods_there: list[Manifest] = []
        self._pods_until = 0.0

    def settings(self) -> Settings | None:
        """What `up` or a GitOps tool last applied; None if the fleet is not there."""
        there = self._objects.get(_DEPLOYMENT, f"{self.fleet}-serving")
        if there is None:
            return None
        try:
            plain = json.loads(there["metadata"]["annotations"][SETTINGS_ANNOTATION])
            return Settings(
                fleet=self.fleet,
                target=self.kind,
                file="",
                store=plain["store"],
                store_options=plain["storeOptions"],
                replicas=there["spec"]["replicas"],
                min_available=plain["minAvailable"],
                keep=plain["keep"],
                owner=str(helm_release(there) or ""),
                memory=server_memory(there),
                tflite=server_tflite(there),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise TfsdeployError(
                f"its annotation {SETTINGS_ANNOTATION} is not what tfsdeploy renders", where=words(there)
            ) from error

    def releases(self) -> ReleaseConfigMaps:
        """The fleet's release document."""
        configmaps = UserConfigMaps(self._objects)
        return ReleaseConfigMaps(configmaps, self.fleet, patience=self._patience, remembered=self._remembered)

    def pins(self) -> Pins | None:
        """The pins that were last handed to the fleet."""
        there = self._objects.get(_CONFIG_MAP, f"{self.fleet}-pins")
        if there is None:
            return None
        try:
            return pins_in(there)
        except ValueError as error:
            hint = "`tfsdeploy up` writes them anew"
            raise TfsdeployError(f"the pins cannot be read: {error}", where=words(there), hint=hint) from error

    def write_pins(self, pins: Pins) -> None:
        """Hand the fleet file's pins to the fleet."""
        labels = {**fleet_labels(self.fleet), "app.kubernetes.io/component": "pins"}
        metadata = {"name": f"{self.fleet}-pins", "labels": labels}
        data = {PINS: pins_text(pins, words({"kind": "ConfigMap", "metadata": metadata}))}
        self._objects.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})

    def replicas(self) -> tuple[ReplicaAddress, ...]:
        """The replicas that are there, by name."""
        return tuple(
            ReplicaAddress(name, f"http://{self._forwards.to(name, AGENT_PORT)}") for name in self._pods("serving")
        )

    def gateways(self) -> tuple[GatewayAddress, ...]:
        """The gateways that are there, by name."""
        return tuple(
            GatewayAddress(
                name,
                f"http://{self._forwards.to(name, AGENT_PORT)}",
                f"http://{self._forwards.to(name, REST_PORT)}",
                self._forwards.to(name, GRPC_PORT),
            )
            for name in self._pods("gateway")
        )

    def entrance(self) -> tuple[str, str] | None:
        """The Service: at its load balancer if it has one, otherwise by its name in the cluster."""
        service = self._objects.get(_SERVICE, f"{self.fleet}-gateway")
        gateway = self._objects.get(_DEPLOYMENT, f"{self.fleet}-gateway")
        return None if service is None or gateway is None else addresses_of(service, speaks_tls=_speaks_tls(gateway))

    def reached(self, replica: str, address: str) -> str:
        """A port of this machine that leads to the pod's."""
        return self._forwards.to(replica, int(address.rpartition(":")[2]))

    def troubles(self) -> tuple[str, ...]:
        """Why pods cannot be reached, and whether the release is lost; pods and their agents are `status`' own."""
        loss = self.releases().loss()
        lost = (f"{loss}; agents go on with what they remember, and `tfsdeploy up` puts it back",) if loss else ()
        return (*lost, *self._forwards.failures((*self._pods("serving"), *self._pods("gateway"))))

    def place(self) -> str:
        """Where this is, in words.

        Raises:
            TfsdeployError: the cluster does not answer.
        """
        self._objects.list(POD, fields="metadata.name=none")
        return self.where()

    def where(self) -> str:
        """The same, without asking the cluster."""
        connection = self._objects.connection
        return f"context {connection.context}, namespace {connection.namespace}"

    def missing_permissions(self, fleet: Fleet) -> list[str]:
        """The verbs and resources that `up` needs and the user does not have."""
        return [str(permission) for permission in missing(self._objects, needed(self._wanted(fleet)))]

    def changes(self, fleet: Fleet) -> tuple[str, ...]:
        """What the API server says would change, a line each."""
        wanted = self._wanted(fleet)
        found = pairs(self._objects, self.fleet, wanted)
        lines = [line for manifest, there in found for line in difference(self._objects, manifest, there)]
        return (*lines, *(f"remove  {words(there)}" for there in self._leftovers(wanted)))

    @contextmanager
    def exclusive(self, fleet: Fleet, report: Report) -> Iterator[None]:
        """Nobody else changes the shape of this fleet meanwhile, and all may be done that this takes.

        Raises:
            Busy: somebody else does.
            UsageError: Helm has made the fleet, and would not know what became of it.
            TfsdeployError: says exactly which verbs on which resources are missing; nothing was changed.
        """
        if (release := self._helm_release()) is not None:
            command = f"helm upgrade {release.name} CHART -n {release.namespace} -f {fleet.file}"
            raise self._owned_by(release, f"`{command}` makes it as the file says; `tfsdeploy diff` shows what changes")
        self._see_permissions(fleet)
        with held(self._objects, self.fleet):
            yield

    def prepare(self, fleet: Fleet, report: Report) -> None:
        """Put the release back, if somebody took or spoiled it, as agents remember it."""
        put_back(self.releases(), report)

    def _see_permissions(self, fleet: Fleet) -> None:
        if denied := self.missing_permissions(fleet):
            raise TfsdeployError(
                f"the user may not: {', '.join(denied)}",
                where=self.place(),
                hint="ask for a Role with these verbs; nothing was changed",
            )

    def apply(self, fleet: Fleet, report: Report, *, timeout: float) -> None:
        """Apply every object in order, wait until the pods are as wanted, and prune what left the fleet.

        Raises:
            TfsdeployError: refused, or not in time; what served before serves on.
        """
        wanted = self._wanted(fleet)
        load_lacking(self._objects, images_of(wanted), report)
        for manifest, before in pairs(self._objects, self.fleet, wanted):
            after = apply(self._objects, self.fleet, manifest, before)
            if before is None:
                report.say(f"created {words(manifest)}")
            elif before["metadata"]["resourceVersion"] != after["metadata"]["resourceVersion"]:
                report.say(f"changed {words(manifest)}")
        for there in self._leftovers(wanted):
            self._objects.delete(kind_named(there["kind"]), there["metadata"]["name"])
            report.say(f"removed {words(there)}")
        deployments = [manifest["metadata"]["name"] for manifest in wanted if manifest["kind"] == "Deployment"]
        wait_for(self._objects, deployments, report, timeout)
        self._pods_until = 0.0

    def beside_gateways(self, args: Sequence[str], report: Report, *, seconds: float) -> Ran:
        """See `Target.beside_gateways`; a Job in the fleet's namespace."""
        name = f"{self.fleet}-gateway"
        gateway, service = self._objects.get(_DEPLOYMENT, name), self._objects.get(_SERVICE, name)
        if gateway is None or service is None:
            raise TfsdeployError(f"fleet {self.fleet} has no gateway", hint="run `tfsdeploy up` first")
        if _speaks_tls(gateway):
            hint = "measure it as its clients reach it, with a load generator that knows its certificate"
            raise TfsdeployError("the gateways speak TLS, and nothing beside them has their name", hint=hint)
        ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
        rest, grpc = f"http://{name}:{ports['rest']}", f"{name}:{ports['grpc']}"
        words = [word.replace("{rest}", rest).replace("{grpc}", grpc) for word in args]
        return beside.run(self._objects, gateway, words, report, seconds=seconds)

    def logs(self, names: tuple[str, ...], *, follow: bool, tail: int) -> Iterator[str]:
        """The last ``tail`` lines of each container of the named pods (all if none is named).

        Raises:
            UsageError: a name that no pod has; says which there are.
        """
        there = (*self._pods("gateway"), *self._pods("serving"))
        unknown = [name for name in names if name not in there]
        if unknown:
            raise UsageError(f"there is no pod {unknown[0]}", hint=f"these are there: {', '.join(there) or 'none'}")
        return lines_of(self._objects, names or there, follow=follow, tail=tail)

    def remove(self, report: Report, *, timeout: float) -> None:
        """Delete every object of the fleet, pods first, and wait until they are gone; the store is left alone.

        Raises:
            Busy: somebody else changes the shape of this fleet.
            UsageError: Helm has made the fleet.
            TfsdeployError: pods are still there after ``timeout`` seconds.
        """
        if (release := self._helm_release()) is not None:
            command = f"helm uninstall {release.name} -n {release.namespace}"
            raise self._owned_by(release, f"`{command}`, and this again for the release document that Helm leaves")
        with ExitStack() as stack:
            try:
                stack.enter_context(held(self._objects, self.fleet))
            except Busy:
                raise
            except TfsdeployError as error:
                # In a namespace that is not there, or that ends, nobody makes anything meanwhile.
                log.debug("%s", error)
            self._remove(report, timeout)
        self._forwards.close()

    def _remove(self, report: Report, timeout: float) -> None:
        # What finds and permits pods goes after them: gateways still say farewell to every replica.
        for kind in reversed(KINDS):
            if kind.makes_pods:
                self._delete_all(kind, report)
        until = time.monotonic() + timeout
        told: list[str] = []
        while left := [pod["metadata"]["name"] for pod in self._objects.owned(POD, self.fleet)]:
            if time.monotonic() > until:
                force = f"kubectl delete pod -n {self._objects.connection.namespace} --force {' '.join(left)}"
                hint = f"`tfsdeploy down` again waits for them; those of a node that is lost never leave: {force}"
                raise TfsdeployError(f"still there: {', '.join(left)}", hint=hint)
            if left != told:
                report.waiting(f"{', '.join(left)} to leave")
                told = left
            time.sleep(LEFT_SECONDS)
        for kind in reversed(KINDS):
            self._delete_all(kind, report)

    def _helm_release(self) -> HelmRelease | None:
        there = self._objects.get(_DEPLOYMENT, f"{self.fleet}-serving")
        return None if there is None else helm_release(there)

    def _owned_by(self, release: HelmRelease, way_out: str) -> UsageError:
        return UsageError(f"the shape of fleet {self.fleet} is owned by {release}", where=self.place(), hint=way_out)

    def _delete_all(self, kind: Kind, report: Report) -> None:
        for there in self._objects.owned(kind, self.fleet):
            self._objects.delete(kind, there["metadata"]["name"])
            report.say(f"removed {words(there)}")

    def _wanted(self, fleet: Fleet) -> list[Manifest]:
        rendered = kubernetes_artefacts(fleet, self._objects.connection.namespace)
        texts = (text for path, text in rendered.items() if path != KUSTOMIZATION)
        return in_order([yaml.load(text, yaml.CSafeLoader) for text in texts])

    def _leftovers(self, wanted: list[Manifest]) -> list[Manifest]:
        state = (f"{self.fleet}-release", f"{self.fleet}-history")
        return list(leftovers(self._objects, self.fleet, wanted, state))

    def _remembered(self) -> Release | None:
        agents = [*(one.status for one in self.replicas()), *(one.status for one in self.gateways())]
        return newest(agents, self.fleet)

    def _pods(self, component: str) -> tuple[str, ...]:
        """The names of the pods of a component that are not on their way out."""
        if time.monotonic() >= self._pods_until:
            # Other tools' pods may have the same instance, such as those of a Helm release of this name.
            selector = f"app.kubernetes.io/name=tfsdeploy,app.kubernetes.io/instance={self.fleet}"
            self._pods_there = self._objects.list(POD, selector)
            self._pods_until = time.monotonic() + PODS_SECONDS
        return tuple(
            pod["metadata"]["name"]
            for pod in self._pods_there
            if pod["metadata"]["labels"].get("app.kubernetes.io/component") == component
            and not pod["metadata"].get("deletionTimestamp")
        )


def server_memory(deployment: Manifest) -> int | None:
    """Bytes that one model server may have; None if nothing limits it."""
    return memory_limit(_server(deployment).get("resources", {}).get("limits", {}).get("memory"))


def server_tflite(deployment: Manifest) -> bool:
    """Whether model servers load TFLite models."""
    return "--prefer_tflite_model=true" in _server(deployment).get("args", ())


def _server(deployment: Manifest) -> Manifest:
    containers = deployment["spec"]["template"]["spec"]["containers"]
    return next((one for one in containers if one["name"] == "server"), {})
