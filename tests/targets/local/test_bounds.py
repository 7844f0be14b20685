"""Whatever number a fleet file may hold, the agents and the model server take the flags that are made of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tfsdeploy.cli import agent_gateway, agent_replica
from tfsdeploy.cli.main import cli
from tfsdeploy.fleet.grammar import GATEWAY, SERVING
from tfsdeploy.fleet.kinds import Integer, Number, Section
from tfsdeploy.fleet.load import parse_fleet
from tfsdeploy.server.flags import parse
from tfsdeploy.targets.local.shape import Place, processes

PLACE = Place("shop-1", Path("/shop"), Path("/shop/shop-1"), {"agent": 1, "rest": 2, "grpc": 3})


def bounds(section: Section, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every lowest and highest number of a section, and of those in it, as the text of a fleet file."""
    for key in section.keys:
        here = (*path, key.name)
        if key.read_by and "local" not in key.read_by:
            continue
        if isinstance(key.kind, Section):
            yield from bounds(key.kind, here)
        elif isinstance(key.kind, Integer):
            yield from ((here, str(number)) for number in (key.kind.low, key.kind.high))
        elif isinstance(key.kind, Number):
            yield from ((here, f"{number:f}".rstrip("0").rstrip(".")) for number in (key.kind.low, key.kind.high))


CASES = sorted({*bounds(SERVING, ("serving",)), *bounds(GATEWAY, ("gateway",))})


def spelled(path: tuple[str, ...], text: str) -> str:
    """A value in flow style; with ``replicas`` where ``minAvailable`` asks for as many."""
    if path == ("serving", "minAvailable"):
        return f"serving: {{replicas: {text}, minAvailable: {text}}}"
    inner = text
    for key in reversed(path[1:]):
        inner = f"{{{key}: {inner}}}"
    return f"{path[0]}: {inner}"


@pytest.mark.parametrize(("path", "text"), CASES, ids=[f"{'.'.join(path)}={text}" for path, text in CASES])
def test_every_bound_is_taken(path: tuple[str, ...], text: str) -> None:
    head = "apiVersion: tfsdeploy/v1\nkind: Fleet\nname: shop\nstore: file:///models\nmodels: {m: {}}\n"
    fleet = parse_fleet(f"{head}{spelled(path, text)}\n", "/fleet.yaml")
    # Click remembers what --help is called in the first context that a command gets.
    parent = click.Context(cli, **cli.context_settings)
    agent, server = processes(fleet, "replica", PLACE)
    agent_replica.command.make_context("replica", list(agent.argv[agent.argv.index("replica") + 1 :]), parent)
    _, unknown, _ = parse(server.argv[server.argv.index("tfsdeploy.server.main") + 1 :])
    assert unknown == ()
    agent, _ = processes(fleet, "gateway", PLACE)
    agent_gateway.command.make_context("gateway", list(agent.argv[agent.argv.index("gateway") + 1 :]), parent)
