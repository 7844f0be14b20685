"""What must hold between two keys of a fleet file. Each rule looks only at values that are valid in themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfsdeploy.fleet.addresses import is_object_store
from tfsdeploy.fleet.grammar import FLEET, SERVING
from tfsdeploy.fleet.kinds import Section
from tfsdeploy.fleet.nodes import Problems
from tfsdeploy.fleet.read import Places

Values = Mapping[str, Any]

LEAST_TRY_SECONDS = 0.001
"""Envoy counts time in milliseconds."""


def check(fleet: Values, places: Places, problems: Problems) -> None:
    """Note what does not fit together.

    Args:
        fleet: what `read` found valid, without defaults.
        places: where each value stands.
        problems: get what is wrong.
    """
    _check_store(fleet, places, problems)
    _check_volume(fleet, places, problems)
    _check_serving(fleet.get("serving", {}), places, problems)
    _check_rolling(fleet.get("serving", {}), places, problems)
    _check_name(fleet, places, problems)
    _check_gateway(fleet, places, problems)
    _check_monitoring(fleet.get("monitoring", {}), places, problems)
    keep = _or_default(SERVING, fleet.get("serving", {}), "serving.keep", places)
    for name, model in fleet.get("models", {}).items():
        _check_model(f"models.{name}", model, keep, places, problems)


def _check_store(fleet: Values, places: Places, problems: Problems) -> None:
    options = fleet.get("storeOptions", {})
    scheme = fleet.get("store", "").partition("://")[0]
    if scheme and not is_object_store(fleet["store"]):
        for name in options.keys() - {"requireSignature"}:
            problems.add(
                places[f"storeOptions.{name}"], f"storeOptions.{name}", f"not for a {scheme}:// store; leave it out"
            )
    elif scheme and scheme != "s3":
        for name in {"region", "pathStyle"} & set(options):
            problems.add(places[f"storeOptions.{name}"], f"storeOptions.{name}", f"only for s3://, not for {scheme}://")
    if options.get("anonymous") and "credentialsSecret" in options:
        path = "storeOptions.anonymous"
        problems.add(places[path], path, "found true beside credentialsSecret; write only one of them")


def _check_volume(fleet: Values, places: Places, problems: Problems) -> None:
    store, path = fleet.get("store", ""), "serving.volume"
    scheme, _, rest = store.partition("://")
    if fleet.get("serving", {}).get("volume") != "inline" or not scheme:
        return
    if scheme not in ("file", "nfs"):
        problems.add(places[path], path, f"found inline, which is not for a {scheme}:// store; leave it out")
    elif scheme == "file" and not rest.startswith("/"):
        problems.add(places["store"], "store", "a folder of each node needs an absolute path; write file:///srv/models")


def _check_serving(serving: Values, places: Places, problems: Problems) -> None:
    replicas = _check_count(serving, places, problems)
    wanted = serving.get("minAvailable")
    if wanted is not None and replicas is not None and wanted > replicas:
        path = "serving.minAvailable"
        problems.add(places[path], path, f"found {wanted}, more than the {replicas} replicas; write at most {replicas}")
    flags = serving.get("flags", {})
    for name in ("tensorflow_intra_op_parallelism", "tensorflow_inter_op_parallelism"):
        if name in flags and "tensorflow_session_parallelism" in flags:
            path = f"serving.flags.{name}"
            problems.add(
                places[path], path, "found beside tensorflow_session_parallelism, which sets it; write only one of them"
            )
    batching = serving.get("batching")
    if batching is not None and "platform_config_file" in flags:
        path = "serving.flags.platform_config_file"
        problems.add(places[path], path, "found beside batching, which the server ignores then; write only one of them")


def _check_count(serving: Values, places: Places, problems: Problems) -> int | None:
    """How many replicas there are at least; None if that is not valid."""
    path = "serving.autoscale"
    if path not in places:
        return _least_replicas(serving, places)
    if "serving.replicas" in places:
        problems.add(places["serving.replicas"], "serving.replicas", "found beside autoscale; write only one of them")
    if "serving.resources.cpu" not in places:
        problems.add(places[path], path, "measured in parts of resources.cpu, which is missing; write it too")
    autoscale: Mapping[str, int] = serving.get("autoscale", {})
    least, most = autoscale.get("min"), autoscale.get("max")
    if least is not None and most is not None and least > most:
        problems.add(places[f"{path}.max"], f"{path}.max", f"found {most}, less than min; write at least {least}")
    return least


def _least_replicas(serving: Values, places: Places) -> int | None:
    if "serving.autoscale" in places:
        autoscale: Mapping[str, int] = serving.get("autoscale", {})
        return autoscale.get("min")
    count: int | None = _or_default(SERVING, serving, "serving.replicas", places)
    return count


def _check_rolling(serving: Values, places: Places, problems: Problems) -> None:
    path = "serving.surge"
    unavailable = _or_default(SERVING, serving, "serving.unavailable", places)
    if serving.get("surge") == 0 and unavailable == 0:
        problems.add(places[path], path, "found 0 with unavailable 0: no replica could ever be replaced; raise one")
    path, replicas = "serving.unavailable", _least_replicas(serving, places)
    if replicas is not None and serving.get("unavailable"):
        # A single one has to go before another comes where there is no spare node.
        most = replicas - serving.get("minAvailable", 1 if replicas > 1 else 0)
        if 0 <= most < unavailable:
            said = f"found {unavailable}, which leaves less than minAvailable of {replicas} replicas"
            problems.add(places[path], path, f"{said}; write at most {most}")


def _check_name(fleet: Values, places: Places, problems: Problems) -> None:
    name = fleet.get("name", "")
    if name[:1].isdigit() and _or_default(FLEET, fleet, "target", places) == "kubernetes":
        problems.add(places["name"], "name", f"found {name}; names of Services begin with a letter; write another one")


def _check_monitoring(monitoring: Values, places: Places, problems: Problems) -> None:
    path = "monitoring.alerts"
    if monitoring.get("alerts") and not monitoring.get("podMonitor"):
        problems.add(places[path], path, "the rules read what the PodMonitor labels; write podMonitor: true too")


def _check_gateway(fleet: Values, places: Places, problems: Problems) -> None:
    gateway = fleet.get("gateway", {})
    if gateway.get("grpc") and gateway.get("grpc") == gateway.get("rest"):
        problems.add(
            places["gateway.grpc"], "gateway.grpc", f"found {gateway['grpc']}, the port of REST; write another one"
        )
    patience = gateway.get("perTryTimeoutSeconds")
    if patience is not None and 0 < patience < LEAST_TRY_SECONDS:
        path = "gateway.perTryTimeoutSeconds"
        said = f"found {patience:g}; write 0 for never, or at least {LEAST_TRY_SECONDS:g}"
        problems.add(places[path], path, said)
    if _or_default(FLEET, fleet, "target", places) in ("docker", "kubernetes"):
        for name in ("rest", "grpc"):
            if gateway.get(name) == 0:
                path = f"gateway.{name}"
                problems.add(places[path], path, "found 0, which only the local target can choose; write a port")


def _check_model(path: str, model: Values, keep: int | None, places: Places, problems: Problems) -> None:
    version, canary = model.get("version"), model.get("canary")
    if f"{path}.version" not in places:
        for name in ("canary", "labels"):
            if model.get(name):
                at = f"{path}.{name}"
                problems.add(places[at], at, "needs a pinned version beside it; write version: N")
        return
    trial = None if canary is None else canary.get("version")
    if version is not None and trial == version:
        at = f"{path}.canary.version"
        problems.add(places[at], at, f"found {trial}, the same as version; write another version, or leave canary out")
    if keep is not None and trial is not None and version is not None and keep < 1:
        at = f"{path}.canary"
        problems.add(
            places[at], at, f"2 versions are pinned, but serving.keep: {keep} allows {keep + 1}; write keep: 1"
        )
    known = sorted(number for number in (version, trial) if number is not None)
    complete = version is not None and (f"{path}.canary" not in places or trial is not None)
    for label, target in model.get("labels", {}).items():
        if complete and target not in known:
            at = f"{path}.labels.{label}"
            allowed = " or ".join(str(number) for number in known)
            problems.add(places[at], at, f"found {target}, which is neither version nor canary; write {allowed}")


def _or_default(section: Section, values: Values, path: str, places: Places) -> Any:
    """The value, or its default; None if what the file says is not valid."""
    name = path.rpartition(".")[2]
    if path in places:
        return values.get(name)
    return next(key.default for key in section.keys if key.name == name)
