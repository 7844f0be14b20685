"""What counts as a passed gate."""

from __future__ import annotations

import pytest

from tfsdeploy.deploy.gates import verdict


@pytest.mark.parametrize(
    ("status", "body", "given", "wrong"),
    [
        (200, b'{"predictions": [1.0]}', True, None),
        (200, b'{"predictions": [1.0]}', False, None),
        (200, b"<html>", False, "the answer is no JSON object"),
        (400, b'{"error": "Expects an image"}', False, None),
        (400, b'{"error": "Expects an image"}', True, "HTTP 400: Expects an image"),
        (404, b'{"error": "Servable not found"}', False, "HTTP 404: Servable not found"),
        (500, b"boom", False, "HTTP 500: boom"),
    ],
)
def test_verdict(status: int, body: bytes, given: bool, wrong: str | None) -> None:
    assert verdict(status, body, given=given) == wrong
