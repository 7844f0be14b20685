"""A fleet as Kubernetes objects: (path, text), a file an object and a kustomization over them. Pure.

The output depends on the fleet and on nothing else: equal fleets give equal bytes on every machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from tfsdeploy.errors import UsageError
from tfsdeploy.fleet.model import Fleet, to_plain
from tfsdeploy.render import templates
from tfsdeploy.render.containers import AGENT_PORT, GRPC_PORT, REST_PORT
from tfsdeploy.render.images import full_image
from tfsdeploy.render.kubernetes import containers
from tfsdeploy.render.kubernetes.pins import job_name, pins_text
from tfsdeploy.render.kubernetes.volumes import StoreVolume, store_volume
from tfsdeploy.render.serving import batching_text

KUSTOMIZATION = "kustomization.yaml"

DEFAULT_NAMESPACE = "default"

SETTINGS_ANNOTATION = "tfsdeploy/settings"
"""On the serving Deployment; see `_settings`."""

MARKER = "# Rendered by tfsdeploy from a fleet file: change that one, and render again.\n"
"""The first line of every file: what has it, the next render may replace or remove."""


def kubernetes_artefacts(fleet: Fleet, namespace: str | None = None) -> dict[str, str]:
    """Every object of a fleet, and the kustomization that names them all.

    Args:
        fleet: the fleet.
        namespace: where it is to live; None: as `namespace_of` says.

    Returns:
        Path -> text, in the order of the paths. Each text but the kustomization's is one object.

    Raises:
        UsageError: no pod can reach the fleet's store, or its name is none of a Service's.
        TfsdeployError: the pins are more than a ConfigMap holds.
    """
    if fleet.name[:1].isdigit():
        hint = "names of Services begin with a letter; write another one"
        raise UsageError(f"{fleet.name} cannot be a fleet on Kubernetes", where=f"{fleet.file}: name", hint=hint)
    store = store_volume(fleet)
    common = _common(fleet, namespace_of(fleet, namespace))
    texts = {
        **_serving(fleet, store, common),
        **_gateway(fleet, common),
        **_pins(fleet, common),
        **_monitoring(fleet, common),
    }
    texts = {path: MARKER + texts[path] for path in sorted(texts)}
    return dict(sorted({**texts, KUSTOMIZATION: kustomization(list(texts))}.items()))


def kustomization(paths: Sequence[str]) -> str:
    """A kustomization over files and folders."""
    return MARKER + templates.render("kubernetes/kustomization.yaml.j2", resources=paths)


def namespace_of(fleet: Fleet, namespace: str | None = None) -> str:
    """Where a fleet lives: where the caller says, otherwise where its file says, otherwise `DEFAULT_NAMESPACE`."""
    return namespace or fleet.namespace or DEFAULT_NAMESPACE


def _common(fleet: Fleet, namespace: str) -> dict[str, Any]:
    """What every template gets, as ``f``."""
    return {
        "name": fleet.name,
        "namespace": namespace,
        "pull_secrets": fleet.image_pull_secrets,
        "agent_image": full_image(fleet.agent.image, fleet.image_registry),
        "agent_share": fleet.agent.resources,
        "agent_port": AGENT_PORT,
        "rest_port": REST_PORT,
        "grpc_port": GRPC_PORT,
        "probe_seconds": containers.PROBE_SECONDS,
        "hung_probes": containers.hung_probes(fleet),
        "leave": containers.LEAVE,
        "stay": containers.STAY,
        "alive": containers.ALIVE,
        "take_cache": containers.TAKE_CACHE,
    }


def _serving(fleet: Fleet, store: StoreVolume, common: dict[str, Any]) -> dict[str, str]:
    serving = fleet.serving
    texts = _component("serving", fleet, common)
    texts["serving-deployment.yaml"] = templates.render(
        "kubernetes/serving-deployment.yaml.j2",
        f=common,
        serving=serving,
        annotations={**serving.annotations, SETTINGS_ANNOTATION: _settings(fleet)},
        store=store,
        credentials=fleet.store.options.credentials_secret if store.fetched else None,
        authority=fleet.store.options.ca_config_map if store.fetched else None,
        authority_folder=containers.CA_FOLDER,
        authority_key=containers.CA_KEY,
        batching=None if serving.batching is None else batching_text(serving.batching),
        grace_seconds=containers.serving_grace_seconds(fleet),
        agent_args=containers.replica_agent(fleet),
        server_image=full_image(serving.image, fleet.image_registry),
        server_command=containers.SERVER,
        server_args=containers.model_server(fleet),
        **_share(fleet),
    )
    if serving.autoscale is not None:
        texts["serving-autoscaler.yaml"] = templates.render(
            "kubernetes/serving-autoscaler.yaml.j2", f=common, autoscale=serving.autoscale
        )
    if store.made:
        # A PersistentVolume belongs to no namespace: its name tells the fleets of all namespaces apart, none of which
        # has a dot in its own name.
        name = f"{common['namespace']}.{fleet.name}-models"
        for path in ("models-volume.yaml", "models-claim.yaml"):
            texts[path] = templates.render(f"kubernetes/{path}.j2", f=common, store=store, name=name)
    return texts


def _settings(fleet: Fleet) -> str:
    """What commands need to know of a fleet whose file is not at hand."""
    plain = {
        "store": fleet.store.url,
        "storeOptions": to_plain(fleet.store.options),
        "minAvailable": fleet.serving.min_available,
        "keep": fleet.serving.keep,
    }
    return json.dumps(plain, sort_keys=True, ensure_ascii=False)


def _gateway(fleet: Fleet, common: dict[str, Any]) -> dict[str, str]:
    texts = _component("gateway", fleet, common)
    texts["gateway-deployment.yaml"] = templates.render(
        "kubernetes/gateway-deployment.yaml.j2",
        f=common,
        gateway=fleet.gateway,
        grace_seconds=containers.gateway_grace_seconds(fleet),
        agent_args=containers.gateway_agent(fleet),
        envoy_image=full_image(fleet.gateway.image, fleet.image_registry),
        envoy_args=containers.envoy(),
        certificate_folder=containers.CERTIFICATE_FOLDER,
    )
    texts["gateway-service.yaml"] = templates.render(
        "kubernetes/gateway-service.yaml.j2", f=common, gateway=fleet.gateway
    )
    return texts


def _component(component: str, fleet: Fleet, common: dict[str, Any]) -> dict[str, str]:
    """What replicas and gateways both have, beside their Deployments."""
    members = {"serving": "replicas", "gateway": "gateways"}[component]
    annotations = fleet.serving.service_account_annotations if component == "serving" else {}
    values = {"f": common, "component": component, "members": members, "annotations": annotations}
    texts = {
        f"{component}-{kind}.yaml": templates.render(f"kubernetes/{kind}.yaml.j2", **values)
        for kind in ("serviceaccount", "role", "rolebinding", "poddisruptionbudget")
    }
    texts[f"{component}-networkpolicy.yaml"] = templates.render(
        "kubernetes/networkpolicy.yaml.j2", monitoring_namespace=fleet.monitoring.namespace, **values
    )
    texts[f"{members}-service.yaml"] = templates.render("kubernetes/agents-service.yaml.j2", **values)
    return texts


def _pins(fleet: Fleet, common: dict[str, Any]) -> dict[str, str]:
    """The pins, and the Job that waits for their outcome; without pins there is none to wait for."""
    pins = fleet.pins()
    text = pins_text(pins, f"{fleet.file}: models")
    texts = {"pins-configmap.yaml": templates.render("kubernetes/pins-configmap.yaml.j2", f=common, text=text)}
    if not pins.models:
        return texts
    for kind in ("serviceaccount", "role", "rolebinding"):
        texts[f"pins-{kind}.yaml"] = templates.render(
            f"kubernetes/{kind}.yaml.j2", f=common, component="pins", annotations={}
        )
    values = {
        "f": common,
        "args": containers.pins_job(fleet),
        "placed": fleet.gateway,
        "deadline_seconds": containers.PINS_SECONDS + 60,
    }
    runs = templates.render("kubernetes/pins-job.yaml.j2", name="", **values)
    texts["pins-job.yaml"] = templates.render("kubernetes/pins-job.yaml.j2", name=job_name(fleet, pins, runs), **values)
    return texts


def _monitoring(fleet: Fleet, common: dict[str, Any]) -> dict[str, str]:
    wanted, texts = fleet.monitoring, {}
    if wanted.pod_monitor:
        texts["podmonitor.yaml"] = templates.render("kubernetes/podmonitor.yaml.j2", f=common)
    if wanted.alerts:
        texts["prometheusrule.yaml"] = templates.render("kubernetes/prometheusrule.yaml.j2", f=common)
    if wanted.dashboard:
        uid = hashlib.sha256(f"{common['namespace']}/{fleet.name}".encode()).hexdigest()[:16]
        dashboard = templates.render("kubernetes/dashboard.json.j2", f=common, uid=uid)
        texts["dashboard-configmap.yaml"] = templates.render(
            "kubernetes/dashboard-configmap.yaml.j2", f=common, dashboard=dashboard
        )
    return texts


def _share(fleet: Fleet) -> dict[str, dict[str, str]]:
    """What the model server asks for, and what it may not pass: memory and GPUs, never the processor.

    A limit of cores makes every request wait whenever a few of them were computed at once.
    """
    resources = fleet.serving.resources
    bounded = {"memory": resources.memory} if resources.memory is not None else {}
    if resources.gpu:
        bounded["nvidia.com/gpu"] = str(resources.gpu)
    cores = {"cpu": resources.cpu} if resources.cpu is not None else {}
    return {"requests": {**cores, **bounded}, "limits": bounded}
