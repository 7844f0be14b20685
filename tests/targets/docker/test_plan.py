"""What is done about which containers: tables."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tfsdeploy.names import gateway_name, replica_name
from tfsdeploy.targets.docker.observed import Seen, seen
from tfsdeploy.targets.docker.plan import PARTS, Shapes, docker_plan
from tfsdeploy.targets.plan import Wanted

KEEPER = Seen(
    "shop-keeper", "shop-keeper", "state", "state", 0, "k", ("state image a",), "running", "Up", {}, "10.0.0.2"
)


HOST = "envoy network host"


def unit(kind: str, ordinal: int, digest: str = "new", *more: str) -> tuple[Seen, ...]:
    name = {"replica": replica_name, "gateway": gateway_name}[kind]("shop", ordinal)
    return tuple(
        Seen(
            f"{name}-{part}",
            name,
            kind,
            part,
            ordinal,
            digest,
            (f"{part} image {digest}", *more),
            "running",
            "Up",
            {},
            "10.0.0.3",
        )  # type: ignore[arg-type]
        for part in PARTS[kind]  # type: ignore[index]
    )


def lines(replicas: int, gateways: int, *there: Seen, keeper: str = "k", more: tuple[str, ...] = ()) -> list[str]:
    wanted = Shapes(
        keeper,
        ("state image b",),
        Wanted("replica", replicas, "new", ("server image new",)),
        Wanted("gateway", gateways, "new", ("envoy image new", *more)),
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
            lines(1, 1, *ONE[:-1], replace(ONE[-1], address="")),
            ["mend gateway shop-gateway-1: its envoy is not on the fleet's network"],
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


REPLICA = (KEEPER, *unit("replica", 1))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        # They share ports: new before old.
        (
            lines(1, 1, *REPLICA, *unit("gateway", 1, "old", HOST), more=(HOST,)),
            [
                "replace gateway shop-gateway-1 by shop-gateway-2: "
                "changed: -agent image old, +envoy image new"
            ],
        ),
        # One that has the ports for itself makes room first.
        (
            lines(1, 2, *REPLICA, *unit("gateway", 1, "old"), more=(HOST,)),
            [
                "renew gateway shop-gateway-1: changed: -agent image old, +envoy image new, +envoy network host",
                "start gateway shop-gateway-2: 2 gateways wanted, 1 there",
            ],
        ),
        # Those that share make room for one that has them for itself.
        (
            lines(1, 1, *REPLICA, *unit("gateway", 3, "old", HOST)),
            [
                "remove gateway shop-gateway-3: "
                "it shares the host's ports, and the others are to have ports of their own",
                "start gateway shop-gateway-1: 1 gateway wanted, 0 there",
            ],
        ),
    ],
)  # fmt: skip
def test_gateways_on_the_host(found: list[str], expected: list[str]) -> None:
    assert found == expected


def test_what_is_leaving_is_not_mended() -> None:
    found = lines(1, 1, *ONE, unit("replica", 2)[0])
    assert found == ["remove replica shop-serving-2: 1 replica wanted, 2 there"]


def test_a_container_with_labels_of_somebody_else_is_none_of_ours() -> None:
    row = {"Names": ["/x"], "Labels": {"tfsdeploy.fleet": "shop", "tfsdeploy.ordinal": "first"}, "State": "running"}
    assert seen(row) is None
