"""What agents watch, as files: everything that is renamed into place is seen, and nonsense is told from nothing."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import TypeVar

from tfsdeploy.agent.sources import PinsFile, ReleaseFile, ReplicaFolder
from tfsdeploy.fleet.pins import Pin, Pins
from tfsdeploy.release.model import Change, InvalidRelease, Release, encode

T = TypeVar("T")


def put(file: Path, text: str) -> None:
    draft = file.with_name("draft")
    draft.write_text(text)
    os.replace(draft, file)


def seen(source: AsyncIterator[T], *steps: Callable[[], None]) -> list[T]:
    """What a source says first, and after each step."""

    async def watch() -> list[T]:
        async with asyncio.timeout(60):
            found = [await anext(source)]
            for step in steps:
                step()
                found.append(await anext(source))
            return found

    return asyncio.run(watch())


def release(generation: int) -> Release:
    return Release("shop", "uid", generation, Change("ann", "", "", ""))


def test_each_release_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "release.json"
    put(file, encode(release(1)))
    found = seen(
        ReleaseFile(file, every=0.001).releases(),
        lambda: put(file, encode(release(2))),
        lambda: put(file, "{"),
        lambda: put(file, encode(release(3))),
    )
    assert found[:2] == [release(1), release(2)]
    assert isinstance(found[2], InvalidRelease)
    assert found[2].where == str(file)
    assert found[3] == release(3)


def test_a_release_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "shop" / "release.json"

    async def watch() -> object:
        first = asyncio.ensure_future(anext(ReleaseFile(file, every=0.001).releases()))
        await asyncio.sleep(0)
        assert not first.done()
        file.parent.mkdir()
        put(file, encode(release(1)))
        return await asyncio.wait_for(first, 60)

    assert asyncio.run(watch()) == release(1)


def endpoint(folder: Path, name: str, url: str) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    put(folder / name / "endpoint.json", json.dumps({"replica": name, "status": url}))


def test_replicas_come_move_and_go(tmp_path: Path) -> None:
    folder = tmp_path / "replicas"
    found: list[Mapping[str, str]] = seen(
        ReplicaFolder(folder, every=0.001).replicas(),
        lambda: endpoint(folder, "b", "http://127.0.0.1:2"),
        lambda: endpoint(folder, "a", "http://127.0.0.1:1"),
        lambda: endpoint(folder, "b", "http://127.0.0.1:3"),
        lambda: (folder / "a" / "endpoint.json").unlink(),
    )
    assert found == [
        {},
        {"b": "http://127.0.0.1:2"},
        {"a": "http://127.0.0.1:1", "b": "http://127.0.0.1:2"},
        {"a": "http://127.0.0.1:1", "b": "http://127.0.0.1:3"},
        {"b": "http://127.0.0.1:3"},
    ]


def test_an_endpoint_that_is_nonsense_hides_nobody_else(tmp_path: Path) -> None:
    endpoint(tmp_path, "a", "http://127.0.0.1:1")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "endpoint.json").write_text("[")
    (tmp_path / "c").write_text("not a folder")
    assert seen(ReplicaFolder(tmp_path).replicas()) == [{"a": "http://127.0.0.1:1"}]


def test_a_folder_that_cannot_be_read_takes_no_replica_away(tmp_path: Path) -> None:
    """A loop of links stands for a disk that fails: it cannot be listed, and it is not gone."""
    folder, aside = tmp_path / "replicas", tmp_path / "aside"
    endpoint(folder, "a", "http://127.0.0.1:1")

    def fail() -> None:
        folder.rename(aside)
        folder.symlink_to(folder)

    def mend() -> None:
        folder.unlink()
        aside.rename(folder)
        endpoint(folder, "b", "http://127.0.0.1:2")

    async def watch() -> list[Mapping[str, str]]:
        replicas = ReplicaFolder(folder, every=0.001).replicas()
        found = [await anext(replicas)]
        fail()
        following = asyncio.ensure_future(anext(replicas))
        for _ in range(20):
            await asyncio.sleep(0.002)
        assert not following.done()
        mend()
        return [*found, await asyncio.wait_for(following, 60)]

    assert asyncio.run(watch())[-1] == {"a": "http://127.0.0.1:1", "b": "http://127.0.0.1:2"}


def test_pins_are_seen(tmp_path: Path) -> None:
    file = tmp_path / "pins.json"
    pins = Pins({"m": Pin(7)})
    put(file, json.dumps(pins.to_json()))
    found = seen(PinsFile(file, every=0.001).pins(), lambda: put(file, "{}"))
    assert found[0] == pins
    assert isinstance(found[1], ValueError)
