"""A fleet that asks for signatures and golden answers, with a real S3 store: what has neither never gets traffic."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import s3
from tests.keys import write_key
from tests.s3_outage import MortalS3
from tests.scenarios.live import LiveFleet
from tests.scenarios.stream import stream

M = "m"


@pytest.fixture
def shop(own_s3: MortalS3, mode: str, samples: Path, tmp_path: Path) -> Iterator[LiveFleet]:
    """Two replicas and a gateway that trust one key; version 1, signed and checked, serves."""
    fleet = LiveFleet(tmp_path / "fleet", tmp_path / "home", mode, samples)
    write_key(fleet.folder, "release")
    options = {"endpoint": own_s3.endpoint, "region": s3.REGION, "requireSignature": ["release.pub.pem"]}
    fleet.spec |= {"store": "s3://models/prod", "storeOptions": options, "models": {M: {}}}
    fleet.spec["serving"] |= {"replicas": 2, "minAvailable": 1}
    fleet.spec["gateway"]["replicas"] = 1
    fleet.write()
    try:
        push(fleet, 1, "--sign", "release.pem", "--check", expected=1.0)
        fleet.up()
        yield fleet
    finally:
        fleet.down()


def push(fleet: LiveFleet, version: int, *words: str, expected: float | None = None) -> None:
    """Publish the version that answers its own number, with a golden request if something is expected of it."""
    folder = Path(shutil.copytree(fleet.samples / f"constant-{version}", fleet.folder / f"constant-{version}"))
    if expected is not None:
        golden = {"request": {"instances": [1.0]}, "expected": {"predictions": [expected]}}
        (folder / "golden.json").write_text(json.dumps(golden))
    fleet.run("push", M, str(folder), "--version", str(version), *words)


def refused(fleet: LiveFleet, version: int) -> str:
    """Why a promote was refused; traffic is as it was."""
    words = str(fleet.promote(M, version, code=4).document["error"]["message"])
    assert fleet.effective(M, {1: 100})
    assert version not in fleet.model(M)["versions"]
    return words


def test_nothing_serves_that_is_not_signed_or_answers_otherwise(shop: LiveFleet, own_s3: MortalS3) -> None:
    """A wrong answer, a changed record and a missing signature are each refused; the right version is promoted."""
    sign = ("--sign", "release.pem")
    with stream(shop, {M: {1}}) as requests:
        push(shop, 2, *sign, expected=7.0)
        assert "golden request 0: predictions[0] is 2.0, expected 7.0" in refused(shop, 2)
        push(shop, 3, *sign)
        bucket = own_s3.open("prod")
        record = bucket.get(f"{M}/3/tfsdeploy.json") or b""
        changed = json.dumps(json.loads(record) | {"by": "mallory@elsewhere"}).encode()
        bucket.put(f"{M}/3/tfsdeploy.json", changed)
        assert "it was changed since" in refused(shop, 3)
        # A command that asks for nothing does not make the replicas believe anything.
        options = shop.spec["storeOptions"]
        shop.spec["storeOptions"] = {name: options[name] for name in options if name != "requireSignature"}
        shop.write()
        assert "it was changed since" in refused(shop, 3)
        push(shop, 4)
        assert "not signed" in refused(shop, 4)
        shop.spec["storeOptions"] = options
        shop.write()
        # Signed afterwards, it is what its number says.
        shop.run("adopt", M, "4", *sign)
        requests.now(M, {1, 4})
        shop.promote(M, 4)
        requests.now(M, {4})
    requests.check()
    rows = shop.run("versions", M, "-o", "json").document["versions"]
    assert [(row["version"], bool(row["signed"])) for row in rows] == [(1, True), (2, True), (3, False), (4, True)]
    assert rows[0]["check"]["golden"] == 1
