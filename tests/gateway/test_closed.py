"""The gateway fails closed: with a script broken on purpose, no request reaches a model server without its version."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.harness import PREDICTION, Gateway, Stub, gateway
from tests.gateway.wire import request
from tfsdeploy.gateway.files import File, clusters_file
from tfsdeploy.gateway.shape import GatewayShape
from tfsdeploy.gateway.table import ModelTable, Table
from tfsdeploy.render.templates import text

BROKEN = "function envoy_on_request(handle) error('broken on purpose') end"


def table(backends: tuple[Stub, Stub]) -> Table:
    """One model, one version, both back ends."""
    return Table({"m": ModelTable({7: 100}, {}, {7: tuple(one.endpoint for one in backends)})})


def both(running: Gateway, **metadata: str) -> tuple[int, str]:
    """The answers of both protocols to a request that names no version."""
    headers = {name.replace("_", "-"): value for name, value in metadata.items()}
    status, _ = running.rest("POST", "/v1/models/m:predict", b"{}", headers)
    return status, running.rpc(PREDICTION + "Predict", request("m"), **metadata)[0]


@pytest.mark.parametrize(
    "scripts", [("route_rest.lua", "route_grpc.lua"), ("route_rest.lua", "route_grpc.lua", "unknown.lua")]
)
def test_routing_script(backends: tuple[Stub, Stub], tmp_path: Path, scripts: tuple[str, ...]) -> None:
    with gateway(tmp_path, table(backends), instead=dict.fromkeys(scripts, BROKEN)) as running:
        assert both(running) == (503, "UNAVAILABLE")
        assert both(running, x_tfs_route="m/7") == (503, "UNAVAILABLE"), "a client's own key is not used either"


def test_injection_that_fails_before_the_headers_left(backends: tuple[Stub, Stub], tmp_path: Path) -> None:
    with gateway(tmp_path, table(backends)) as running:
        assert both(running) == (200, "OK")
        good = clusters_file(running.table, running.shape)
        bad = good.text.replace('"filter_context":{"version":"7"}', '"filter_context":{}').replace(good.version, "bad")
        running.put(File(good.name, bad, "bad"))
        assert both(running) == (503, "UNAVAILABLE")


@pytest.mark.parametrize("place", ["local message = prefix(length + #suffix)", "local length = announced(bytes)"])
def test_injection_that_fails_after_the_headers_left(backends: tuple[Stub, Stub], tmp_path: Path, place: str) -> None:
    script = text("envoy/inject.lua")
    assert place in script
    faulty = {"inject.lua": script.replace(place, f"{place}\n error('broken on purpose')")}
    with gateway(tmp_path, table(backends), instead=faulty) as running:
        code, answer = running.rpc(PREDICTION + "Predict", request("m", padding=1000), timeout=1)
        assert code != "OK", answer


def test_broken_files_keep_the_last_good_ones(backends: tuple[Stub, Stub], tmp_path: Path) -> None:
    with gateway(tmp_path, table(backends)) as running:
        for content in ("{", '{"version_info":"x","resources":[{"@type":"nonsense"}]}'):
            for name in ("cds.json", "rds-rest.json", "rds-grpc.json", "lds.json"):
                File(name, content, "x").write(running.folder)
        running.put(clusters_file(Table({**running.table.models, "n": ModelTable()}), running.shape))
        assert both(running) == (200, "OK")


def test_administration_is_a_private_socket(backends: tuple[Stub, Stub], tmp_path: Path) -> None:
    with gateway(tmp_path, table(backends)) as running:
        assert (running.folder / GatewayShape().admin_socket).stat().st_mode & 0o777 == 0o600
