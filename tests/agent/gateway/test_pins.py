"""Pins: whoever of several gateways folds first has folded for all."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tfsdeploy.agent.gateway.pins import LOOK_SECONDS, Folding
from tfsdeploy.agent.sources import PinsFile
from tfsdeploy.fleet.pins import Pin, Pins
from tfsdeploy.protocol.agents import GatewayModel
from tfsdeploy.release.disk import ReleaseFolder
from tfsdeploy.release.model import Change, ModelRelease, Release

FIRST = Release("shop", "uid", 1, Change("ann", "", "", ""), models={"m": ModelRelease({7: None}, {7: 100}, main=7)})


def folded(folder: Path, pins: Pins, gateways: int) -> Release:
    """The release when every gateway has found that nothing is left to fold."""
    store = ReleaseFolder(folder)
    store.swap(FIRST, None)
    (folder / "pins.json").write_text(json.dumps(pins.to_json()))
    effective = {"m": GatewayModel(1, {7: 100})}

    async def run() -> None:
        tasks = [
            asyncio.create_task(
                Folding(PinsFile(folder / "pins.json"), store, f"g{n}", 1, store.read, lambda: effective).run()
            )
            for n in range(gateways)
        ]
        async with asyncio.timeout(60):
            while (present := store.read()) is None or present.pins != pins.digest:
                await asyncio.sleep(0.01)
        await asyncio.sleep(2 * LOOK_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    asyncio.run(run())
    found = store.read()
    assert found is not None
    return found


def test_several_gateways_fold_once(tmp_path: Path) -> None:
    found = folded(tmp_path, Pins({"m": Pin(8)}), 4)
    assert found.generation == 2
    assert found.models["m"].traffic == {8: 100}
    assert found.models["m"].from_ == {7: 100}
    assert next(entry.change.command for entry in ReleaseFolder(tmp_path).history()).startswith("pins sha256:")


def test_pins_that_change_nothing_are_remembered(tmp_path: Path) -> None:
    found = folded(tmp_path, Pins({"m": Pin(7)}), 1)
    assert found.models == FIRST.models
