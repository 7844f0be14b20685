"""The agents' documents: what is nonsense is a ValueError, whatever it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tfsdeploy.protocol.agents import decode_gateway, decode_replica

REPLICA = {"replica": "r", "generation": 1, "ready": True, "rest": "h:1", "grpc": "h:2", "models": {}}
GATEWAY = {"gateway": "g", "generation": 1, "ready": True, "models": {}}


@pytest.mark.parametrize(("decode", "good"), [(decode_replica, REPLICA), (decode_gateway, GATEWAY)])
@pytest.mark.parametrize(
    "harm",
    [
        lambda text: "",
        lambda text: "[]",
        lambda text: "null",
        lambda text: "[" * 100_000,
        lambda text: text.replace("1", "1e999", 1),
        lambda text: text.replace("1", "NaN", 1),
        lambda text: text.replace("1", '"x"', 1),
        lambda text: text.replace("{}", '{"m": {"x": {"state": "AVAILABLE"}}}'),
        lambda text: text.replace("{}", '{"m": {"1": {"state": "HAPPY"}}}'),
        lambda text: text.replace("{}", "7"),
        lambda text: text[:-1],
    ],
)
def test_nonsense(decode: Callable[[bytes], Any], good: dict[str, Any], harm: Callable[[str], str]) -> None:
    decode(json.dumps(good).encode())
    with pytest.raises(ValueError):
        decode(harm(json.dumps(good)).encode())


def test_unknown_keys_are_ignored() -> None:
    assert decode_replica(json.dumps({**REPLICA, "later": [1]}).encode()).replica == "r"
