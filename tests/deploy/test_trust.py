"""A fleet file that asks for signatures is refused while the fleet holds what has none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.keys import write_key
from tfsdeploy.deploy.stores import StoredModels
from tfsdeploy.deploy.trust import check_trust, is_narrower
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.fleet.load import parse_fleet
from tfsdeploy.fleet.model import to_plain
from tfsdeploy.release.model import Change, Release
from tfsdeploy.release.transitions import add
from tfsdeploy.store.example import write_example
from tfsdeploy.store.signing import SigningKey
from tfsdeploy.targets.settings import settings_of


@pytest.mark.parametrize(
    ("before", "keys", "narrower"),
    [
        (None, {"a"}, True),
        ([], {"a"}, True),
        ("nonsense", {"a"}, True),
        (["a"], {"a"}, False),
        (["a"], {"a", "b"}, False),
        (["a", "b"], {"a"}, True),
        (["b"], {"a"}, True),
    ],
)
def test_when_less_is_believed(before: object, keys: set[str], narrower: bool) -> None:
    assert is_narrower(before, keys) is narrower


def test_what_the_fleet_holds_must_be_signed_first(tmp_path: Path) -> None:
    private, key = write_key(tmp_path, "release")
    write_example(tmp_path / "half")
    document = {
        "apiVersion": "tfsdeploy/v1",
        "kind": "Fleet",
        "name": "shop",
        "store": "file://./models",
        "models": {"m": {}},
    }
    anybody = parse_fleet(json.dumps(document), str(tmp_path / "fleet.yaml"))
    strict = parse_fleet(
        json.dumps(document | {"storeOptions": {"requireSignature": [key]}}), str(tmp_path / "fleet.yaml")
    )
    store = StoredModels(strict.store.url, to_plain(strict.store.options))
    store.store.publish("m", tmp_path / "half", 1)
    release = Release("shop", "u", 1, Change("a", "now", "", "up"), None, {"m": add(1, None)})
    before = settings_of(anybody, "local", "f")
    with pytest.raises(TfsdeployError, match=r"its replicas would not load again: m/1: .* not signed") as refused:
        check_trust(before, strict, release, store)
    assert "adopt m 1 --sign" in refused.value.hint
    check_trust(None, strict, release, store)
    check_trust(before, anybody, release, store)
    check_trust(settings_of(strict, "local", "f"), strict, release, store)
    store.store.sign("m", 1, SigningKey(private).sign)
    check_trust(before, strict, release, store)
