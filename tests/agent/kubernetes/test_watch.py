"""Following the API server: every change is seen, and no trouble is taken for one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.agent.kubernetes.api import Script, api, configmap
from tfsdeploy.agent.kubernetes.account import Account, in_cluster
from tfsdeploy.agent.kubernetes.sources import PinsConfigMap, ReleaseConfigMap
from tfsdeploy.agent.kubernetes.watch import Watched
from tfsdeploy.errors import UsageError
from tfsdeploy.fleet.pins import Pin, Pins, canonical_json
from tfsdeploy.release.model import Change, InvalidRelease, Release, encode

States = Callable[[], Awaitable[dict[str, str]]]


def followed(tmp_path: Path, test: Callable[[Script, States, Account], Awaitable[None]]) -> None:
    """Run a test that gets the next state as name -> version."""

    async def run() -> None:
        async with api(tmp_path) as (script, account), asyncio.timeout(120):
            states = Watched(account, "/api/v1/configmaps", {"fieldSelector": "metadata.name=a"}).states()

            async def following() -> dict[str, str]:
                return {name: one["metadata"]["resourceVersion"] for name, one in (await anext(states)).items()}

            await test(script, following, account)
            await states.aclose()

    asyncio.run(run())


def test_a_list_and_then_each_change(tmp_path: Path) -> None:
    async def test(script: Script, following: States, account: Account) -> None:
        script.items, script.version = [configmap("a", 3)], "5"
        assert await following() == {"a": "3"}
        script.say("MODIFIED", configmap("a", 6))
        assert await following() == {"a": "6"}
        script.say("ADDED", configmap("b", 7))
        assert await following() == {"a": "6", "b": "7"}
        script.say("DELETED", configmap("a", 8))
        assert await following() == {"b": "7"}
        assert script.watched_from == ["5"]

    followed(tmp_path, test)


def test_a_watch_that_ends_goes_on_from_the_last_bookmark(tmp_path: Path) -> None:
    async def test(script: Script, following: States, account: Account) -> None:
        await following()
        script.say("BOOKMARK", configmap("", 40))
        script.cut()
        script.say("ADDED", configmap("a", 41))
        assert await following() == {"a": "41"}
        assert script.watched_from == ["1", "40"]
        assert script.lists == 1

    followed(tmp_path, test)


def test_a_version_that_is_too_old_means_a_new_list(tmp_path: Path) -> None:
    async def test(script: Script, following: States, account: Account) -> None:
        script.items = [configmap("a", 3)]
        assert await following() == {"a": "3"}
        script.items, script.version = [configmap("a", 90)], "90"
        script.say("ERROR", {"code": 410, "message": "too old resource version", "metadata": {}})
        script.cut()
        assert await following() == {"a": "90"}
        script.say("MODIFIED", configmap("a", 91))
        assert await following() == {"a": "91"}
        assert script.watched_from == ["1", "90"]

    followed(tmp_path, test)


def test_an_object_of_a_megabyte_in_small_pieces(tmp_path: Path) -> None:
    async def test(script: Script, following: States, account: Account) -> None:
        await following()
        script.say("ADDED", configmap("a", 2, text="x" * 1_000_000))
        line = script.said.get_nowait()
        assert line is not None
        for at in range(0, len(line), 50_000):
            script.said.put_nowait(line[at : at + 50_000])
        assert await following() == {"a": "2"}

    followed(tmp_path, test)


@pytest.mark.parametrize("code", [401, 403, 410, 500, 503])
def test_an_api_server_in_trouble_takes_nothing_away(tmp_path: Path, code: int) -> None:
    async def test(script: Script, following: States, account: Account) -> None:
        script.items = [configmap("a", 3)]
        assert await following() == {"a": "3"}
        script.status = code
        script.say("BOOKMARK", configmap("", 4))
        script.cut()
        coming = asyncio.ensure_future(following())
        while len(script.tokens) < 5:
            await asyncio.sleep(0.01)
        assert not coming.done()
        script.status, script.items = 200, [configmap("a", 9)]
        assert await coming == {"a": "9"}

    followed(tmp_path, test)


@pytest.mark.parametrize(
    "words", [b"nonsense\n", b"[]\n", b'{"type": "ADDED"}\n', b'{"type": "ADDED", "object": {}}\n']
)
def test_what_cannot_be_read_is_asked_for_anew(tmp_path: Path, words: bytes) -> None:
    async def test(script: Script, following: States, account: Account) -> None:
        await following()
        script.items = [configmap("a", 3)]
        script.said.put_nowait(words)
        assert await following() == {"a": "3"}
        assert script.lists == 2

    followed(tmp_path, test)


def test_the_token_is_read_anew(tmp_path: Path) -> None:
    async def test(script: Script, following: States, account: Account) -> None:
        await following()
        (tmp_path / "token").write_text("second\n")
        script.say("BOOKMARK", configmap("", 4))
        script.cut()
        script.say("ADDED", configmap("a", 5))
        await following()
        assert (script.tokens[0], script.tokens[-1]) == ("Bearer first", "Bearer second")

    followed(tmp_path, test)


def release(generation: int) -> Release:
    return Release("shop", "uid", generation, Change("ann", "", "", ""))


def test_releases(tmp_path: Path) -> None:
    """One that is deleted is no release; nonsense is named; what did not change is not told again."""

    def holds(version: int, text: str) -> dict[str, Any]:
        return configmap("shop-release", version, **{"release.json": text})

    async def run() -> None:
        async with api(tmp_path) as (script, account), asyncio.timeout(60):
            source = ReleaseConfigMap(account, "shop").releases()
            script.items = [holds(1, encode(release(1)))]
            assert await anext(source) == release(1)
            script.say("MODIFIED", holds(2, encode(release(1))))
            script.say("MODIFIED", holds(3, "{"))
            invalid = await anext(source)
            assert isinstance(invalid, InvalidRelease)
            assert invalid.where == "configmap here/shop-release"
            script.say("MODIFIED", configmap("shop-release", 4))
            assert "holds no release.json" in str(await anext(source))
            script.say("DELETED", holds(5, "{"))
            script.say("ADDED", holds(6, encode(release(2))))
            assert await anext(source) == release(2)
            await source.aclose()

    asyncio.run(run())


def test_pins(tmp_path: Path) -> None:
    async def run() -> None:
        async with api(tmp_path) as (script, account), asyncio.timeout(60):
            source = PinsConfigMap(account, "shop").pins()
            pins = Pins({"m": Pin(7)})
            script.items = [configmap("shop-pins", 1, **{"pins.json": canonical_json(pins.to_json())})]
            assert await anext(source) == pins
            script.say("MODIFIED", configmap("shop-pins", 2, **{"pins.json": "[" * 100_000}))
            assert isinstance(await anext(source), ValueError)
            await source.aclose()

    asyncio.run(run())


def test_outside_a_pod_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="this is no pod"):
        in_cluster({}, tmp_path)
    with pytest.raises(UsageError, match="service account cannot be read"):
        in_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path)


def test_the_api_server_of_a_pod(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    (tmp_path / "namespace").write_text("here")
    (tmp_path / "ca.crt").write_bytes((Path(__file__).parent / "ca.crt").read_bytes())
    found = in_cluster({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}, tmp_path)
    assert (found.url, found.namespace) == ("https://[fd00::1]:6443", "here")
