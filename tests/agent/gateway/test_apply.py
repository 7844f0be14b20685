"""Envoy's files: what a real Envoy takes, and what is left when it refuses."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.gateway.harness import Gateway, Stub, gateway
from tfsdeploy.agent.gateway.admin import Admin, NotRunning
from tfsdeploy.agent.gateway.apply import Applier, Outcome
from tfsdeploy.gateway.files import clusters_file, routes_files
from tfsdeploy.gateway.table import ModelTable, Table


@pytest.fixture
def good(stubs: tuple[Stub, ...]) -> Table:
    """Model m on one replica."""
    return Table({"m": ModelTable({7: 100}, {}, {7: (stubs[0].endpoint,), 8: (stubs[0].endpoint,)})})


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("[!.]*ds*.json")}


async def switched(running: Gateway, *tables: Table) -> list[Outcome]:
    """What becomes of each table, the first being the one that Envoy has already."""
    admin = Admin(os.path.relpath(running.folder / running.shape.admin_socket))
    applier = Applier(running.shape, running.folder, admin, tables[0])
    try:
        outcomes = []
        for table in tables:
            outcomes.append(await applier.switch(table, lambda: False))
            if outcomes[-1] is not Outcome.REJECTED:
                outcomes.append(await applier.tidy(table, lambda: False))
        return outcomes
    finally:
        await admin.close()


def test_what_envoy_refuses_is_taken_back(tmp_path: Path, good: Table) -> None:
    more = Table({**good.models, "n": ModelTable({1: 100}, {}, {1: good.models["m"].versions[7]})})
    with gateway(tmp_path, good) as running:
        before = files(tmp_path)
        (tmp_path / "inject.lua").rename(tmp_path / "lost.lua")
        assert asyncio.run(switched(running, good, more))[-1] is Outcome.REJECTED
        assert files(tmp_path) == before
        assert running.rest("POST", "/v1/models/m:predict", b"{}")[0] == 200
        (tmp_path / "lost.lua").rename(tmp_path / "inject.lua")
        assert Outcome.REJECTED not in asyncio.run(switched(running, good, more))
        assert running.rest("POST", "/v1/models/n:predict", b"{}")[0] == 200


def test_without_an_envoy_every_file_is_in_place(tmp_path: Path, good: Table) -> None:
    with gateway(tmp_path, Table()) as running:
        pass
    outcomes = asyncio.run(switched(running, Table(), good))
    assert outcomes == [Outcome.IN_PLACE] * 4
    wanted = {file.name: file.text for file in (clusters_file(good, running.shape), *routes_files(good, running.shape))}
    assert wanted == {name: (tmp_path / name).read_text() for name in wanted}


def test_a_newer_table_takes_over_from_one_that_is_not_taken(tmp_path: Path, good: Table) -> None:
    async def stopped(running: Gateway) -> Outcome:
        admin = Admin(os.path.relpath(running.folder / running.shape.admin_socket))
        # An Envoy whose clusters never arrive: it looks elsewhere.
        applier = Applier(running.shape, tmp_path / "elsewhere", admin, Table())
        (tmp_path / "elsewhere").mkdir()
        try:
            return await applier.switch(good, lambda: True)
        finally:
            await admin.close()

    with gateway(tmp_path, Table()) as running:
        assert asyncio.run(stopped(running)) is Outcome.SUPERSEDED


def test_an_envoy_that_is_not_there_is_told_from_one_that_does_not_answer(tmp_path: Path) -> None:
    async def ask() -> None:
        admin = Admin(os.path.relpath(tmp_path / "admin.sock"))
        try:
            await admin.statistics()
        finally:
            await admin.close()

    with pytest.raises(NotRunning):
        asyncio.run(ask())
