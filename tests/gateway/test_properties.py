"""For every table: what the configuration may and must not name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tfsdeploy.gateway.clusters import clusters
from tfsdeploy.gateway.files import clusters_file, routes_files
from tfsdeploy.gateway.routes import routes
from tfsdeploy.gateway.shape import GatewayShape, shape_files
from tfsdeploy.gateway.table import Endpoint, ModelTable, Table, union

SHAPE = GatewayShape()
ENDPOINTS = [Endpoint(f"r{number}", f"10.0.0.{number}:8501", f"10.0.0.{number}:8500") for number in range(1, 5)]
VERSIONS = st.integers(1, 4) | st.just(2**53 - 1)


@st.composite
def splits(draw: st.DrawFn) -> dict[int, int]:
    """An effective split, or none."""
    chosen = draw(st.lists(VERSIONS, max_size=3, unique=True))
    if not chosen:
        return {}
    cuts = sorted(draw(st.lists(st.integers(0, 100), min_size=len(chosen) - 1, max_size=len(chosen) - 1)))
    return {version: high - low for version, low, high in zip(chosen, [0, *cuts], [*cuts, 100], strict=True)}


MODELS = st.builds(
    ModelTable,
    traffic=splits(),
    labels=st.dictionaries(st.sampled_from(["stable", "canary"]), VERSIONS, max_size=2),
    versions=st.dictionaries(
        VERSIONS, st.lists(st.sampled_from(ENDPOINTS), max_size=4, unique=True).map(tuple), max_size=4
    ),
)
TABLES = st.builds(Table, st.dictionaries(st.sampled_from(["m", "half_plus_two", "A-1"]), MODELS, max_size=3))


def named(node: Any) -> set[str]:
    """Every cluster that some route leads to."""
    if isinstance(node, list):
        return {name for one in node for name in named(one)}
    if not isinstance(node, dict):
        return set()
    own = {node["cluster"]} if "cluster" in node else set()
    own |= {share["name"] for share in node.get("weighted_clusters", {}).get("clusters", [])}
    return own | {name for value in node.values() for name in named(value)}


def actions(table: Table, protocol: str) -> Mapping[str, Any]:
    """Routing key -> route."""
    tree = routes(table, protocol, SHAPE)["virtual_hosts"][0]["matcher"].get("matcher_tree")
    found = tree["exact_match_map"]["map"] if tree else {}
    return {key: one["action"]["typed_config"] for key, one in found.items()}


def addresses(cluster: Mapping[str, Any]) -> set[str]:
    """The addresses of a cluster's endpoints."""
    found = [
        one["endpoint"]["address"]["socket_address"]
        for group in cluster["load_assignment"]["endpoints"]
        for one in group["lb_endpoints"]
    ]
    return {f"{one['address']}:{one['port_value']}" for one in found}


@given(TABLES)
def test_routes_name_only_clusters_that_are_there(table: Table) -> None:
    there = {cluster["name"] for cluster in clusters(table, SHAPE)}
    for protocol in ("rest", "grpc"):
        assert named(routes(table, protocol, SHAPE)) <= there


@given(TABLES)
def test_clusters_hold_exactly_the_replicas_that_have_the_version(table: Table) -> None:
    for cluster in clusters(table, SHAPE):
        if cluster["name"] == "health":
            continue
        model_name, version, protocol = cluster["name"].split("/")
        model = table.models[model_name]
        expected = model.replicas() if version == "any" else model.versions[int(version)]
        assert addresses(cluster) == {getattr(endpoint, protocol) for endpoint in expected}


@given(TABLES)
def test_a_cluster_injects_the_version_that_it_is_named_after(table: Table) -> None:
    for cluster in clusters(table, SHAPE):
        version = cluster["name"].split("/")[1] if "/" in cluster["name"] else "any"
        (options,) = cluster["typed_extension_protocol_options"].values()
        contexts = [one["typed_config"].get("filter_context") for one in options["http_filters"]]
        assert contexts == ([None] if version == "any" else [{"version": version}, None])


@given(TABLES)
def test_a_request_without_a_version_goes_only_where_the_split_says(table: Table) -> None:
    for model_name, model in table.models.items():
        for protocol in ("rest", "grpc"):
            route = actions(table, protocol)[model_name]
            leads = {int(name.split("/")[1]) for name in named(route)}
            assert leads <= {version for version, weight in model.traffic.items() if weight}
            served = {version for version, weight in model.traffic.items() if weight and model.versions.get(version)}
            if served:
                assert leads == served, "a version without replicas gets nothing as long as another has some"
            shares = route.get("route", {}).get("weighted_clusters", {}).get("clusters", [])
            assert all(share["weight"] > 0 for share in shares)


@given(TABLES, TABLES)
def test_the_clusters_in_between_carry_the_routes_of_both(old: Table, new: Table) -> None:
    between = {cluster["name"]: addresses(cluster) for cluster in clusters(union(old, new), SHAPE)}
    for table in (old, new):
        for protocol in ("rest", "grpc"):
            assert named(routes(table, protocol, SHAPE)) <= between.keys()
        for cluster in clusters(table, SHAPE):
            if addresses(cluster):
                assert between[cluster["name"]], "no route loses its last replica before it is gone"


@given(TABLES)
def test_equal_tables_give_equal_bytes(table: Table) -> None:
    again = Table.from_json(table.to_json())
    turned = Table(dict(reversed(table.models.items())))
    assert again == table == turned
    for other in (again, turned):
        assert clusters_file(other, SHAPE) == clusters_file(table, SHAPE)
        assert routes_files(other, SHAPE) == routes_files(table, SHAPE)
    assert other.to_json() == table.to_json()


@given(TABLES, splits())
def test_a_change_of_weights_rewrites_the_routes_alone(table: Table, traffic: dict[int, int]) -> None:
    changed = Table({name: ModelTable(traffic, model.labels, model.versions) for name, model in table.models.items()})
    assert clusters_file(changed, SHAPE) == clusters_file(table, SHAPE)


def test_the_shape_is_stable_and_holds_any_text() -> None:
    assert shape_files(SHAPE) == shape_files(SHAPE)
    odd = 'a"b: {{ c }}\n- #'
    assert json.loads(shape_files(GatewayShape(name=odd))["bootstrap.json"])["node"]["id"] == odd
