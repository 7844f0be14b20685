"""What is done about which containers: tables."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tfsdeploy.names import gateway_name, replica_name
from tfsdeploy.targets.docker.observed import Seen, seen
from tfsdeploy.targets.docker.plan import PARTS, Shapes, docker_plan
from tfsdeploy.targets.plan import Wanted

KEEPER = Seen("shop-keeper", "shop-keeper", "state", "state", 0, "k", ("state image a",), "running", "Up", {}, "")


def unit(kind: str, ordinal: int, digest: str = "new") -> tuple[Seen, ...]:
    name = {"replica": replica_name, "gateway": gateway_name}[kind]("shop", ordinal)
    return tuple(
        Seen(f"{name}-{part}", name, kind, part, ordinal, digest, (f"{part} image {digest}",), "running", "Up", {}, "")  # type: ignore[arg-type]
        for part in PARTS[kind]  # type: ignore[index]
    )


def lines(replicas: int, gateways: int, *there: Seen, keeper: str = "k") -> list[str]:
    wanted = Shapes(
        keeper,
        ("state image b",),
        Wanted("replica", replicas, "new", ("server image new",)),
        Wanted("gateway", gateways, "new", ("envoy image new",)),
    )
    return [" ".join(str(step).split()) for step in docker_plan("shop", wanted, there)]


ONE = (KEEPER, *unit("replica", 1), *unit("gateway", 1))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (lines(1, 1, *ONE), []),
        (
            lines(2, 1, KEEPER),
            [
                "start replica shop-serving-1: 2 replicas wanted, 0 there",
                "start replica shop-serving-2: 2 replicas wanted, 0 there",
                "start gateway shop-gateway-1: 1 gateway wanted, 0 there",
            ],
        ),
        (lines(1, 1, *ONE[:-1]), ["mend gateway shop-gateway-1: its envoy is gone"]),
        (
            lines(1, 1, *ONE[:-1], replace(ONE[-1], state="exited", status="Exited (137)")),
            ["mend gateway shop-gateway-1: its envoy does not run (Exited (137))"],
        ),
        (
            lines(1, 2, *ONE, *unit("replica", 2), *unit("gateway", 3)),
            [
                "start gateway shop-gateway-2: 2 gateways wanted, 2 there",
                "remove replica shop-serving-2: 1 replica wanted, 2 there",
                "remove gateway shop-gateway-3: 2 gateways wanted, 2 there",
            ],
        ),
        (
            lines(1, 1, KEEPER, *unit("replica", 4, "old"), *unit("gateway", 1, "old")),
            [
                "replace replica shop-serving-4 by shop-serving-5: "
                "changed: -agent image old, +server image new",
                "renew gateway shop-gateway-1: changed: -agent image old, +envoy image new",
            ],
        ),
        (lines(1, 1, *ONE, keeper="other"), ["renew state shop-keeper: changed: -state image a, +state image b"]),
    ],
)  # fmt: skip
def test_plan(found: list[str], expected: list[str]) -> None:
    assert found == expected


def test_what_is_leaving_is_not_mended() -> None:
    found = lines(1, 1, *ONE, unit("replica", 2)[0])
    assert found == ["remove replica shop-serving-2: 1 replica wanted, 2 there"]


def test_a_container_with_labels_of_somebody_else_is_none_of_ours() -> None:
    row = {"Names": ["/x"], "Labels": {"tfsdeploy.fleet": "shop", "tfsdeploy.ordinal": "first"}, "State": "running"}
    assert seen(row) is None
