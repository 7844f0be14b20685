"""Golden requests: files that are understood or refused with words, and answers that are near enough or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tfsdeploy.errors import UsageError
from tfsdeploy.store.golden import LARGEST, Golden, beside, difference, parse

CASES = yaml.safe_load((Path(__file__).parents[1] / "cases" / "store" / "golden.yaml").read_text())


@pytest.mark.parametrize("case", CASES["parse"], ids=lambda case: case["name"])
def test_what_a_file_may_say(case: dict[str, Any]) -> None:
    if "count" in case:
        assert len(parse(case["file"].encode(), "golden.json")) == case["count"]
    else:
        with pytest.raises(UsageError) as refused:
            parse(case["file"].encode(), "golden.json")
        assert case["says"] in refused.value.message
        assert refused.value.where == "golden.json"


@pytest.mark.parametrize("case", CASES["difference"], ids=lambda case: case.get("name") or json.dumps(case["expected"]))
def test_when_an_answer_is_near_enough(case: dict[str, Any]) -> None:
    golden = Golden("predict", b"{}", case["expected"], case.get("tolerance", 1e-5))
    answer = case["answer"]
    body = answer if isinstance(answer, str) else json.dumps(answer)
    wrong = difference(golden, case.get("status", 200), body.encode())
    assert case["says"] in (wrong or "") if "says" in case else wrong is None


def test_where_the_file_stands(tmp_path: Path) -> None:
    assert beside(tmp_path) == ()
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "golden.json").write_text('{"request": {}, "expected": 1}')
    assert [golden.expected for golden in beside(tmp_path)] == [1]
    (tmp_path / "golden.json").write_text('{"request": {}, "expected": 2}')
    assert [golden.expected for golden in beside(tmp_path)] == [2]


def test_a_file_that_is_too_large_is_refused_before_it_is_published(tmp_path: Path) -> None:
    (tmp_path / "golden.json").write_text('{"request": {}, "expected": 1}' + " " * LARGEST)
    with pytest.raises(UsageError, match="has more than"):
        beside(tmp_path)


def test_an_answer_that_is_too_deep_is_an_answer_that_is_wrong() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = [deep]
    body = b'{"predictions": ' + b"[" * 900 + b"1" + b"]" * 900 + b"}"
    assert "too deep" in (difference(Golden("predict", b"{}", deep), 200, body) or "")
