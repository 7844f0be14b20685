"""`push --check`: the version is really loaded, by TensorFlow, in a process of its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.models import write_half_plus_two, write_needing
from tests.server.test_warmup import predict, write
from tfsdeploy.deploy.trial import try_out
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.report import Silent
from tfsdeploy.store.example import write_example

MIB = 1 << 20


def golden(path: Path, *predictions: float) -> None:
    request = {"request": {"instances": [1.0, 2.0]}, "expected": {"predictions": predictions}, "tolerance": 1e-6}
    (path / "golden.json").write_text(json.dumps(request))


def test_what_loading_took_is_measured(tmp_path: Path) -> None:
    write_half_plus_two(tmp_path / "m")
    write(tmp_path / "m", [predict(), predict()])
    golden(tmp_path / "m", 2.5, 3.0)
    found = try_out(tmp_path / "m", Silent())
    assert (found.warm_up, found.golden) == (2, 1)
    assert 0 < found.load_seconds < 60
    assert 0 < found.memory <= found.peak_memory < 1000 * MIB
    golden(tmp_path / "m", 2.5, 3.1)
    with pytest.raises(TfsdeployError, match=r"golden request 0: predictions\[1\] is 3.0, expected 3.1"):
        try_out(tmp_path / "m", Silent())


@pytest.mark.parametrize("trouble", ["no file", "warm-up"])
def test_what_does_not_load_is_told_in_the_servers_words(tmp_path: Path, trouble: str) -> None:
    if trouble == "no file":
        write_needing(tmp_path / "m", str(tmp_path / "nowhere"))
        words = "nowhere"
    else:
        write_example(tmp_path / "m")
        write(tmp_path / "m", [predict(alias="z")])
        words = "it does not load: .*INVALID_ARGUMENT"
    with pytest.raises(TfsdeployError, match=words) as refused:
        try_out(tmp_path / "m", Silent())
    assert "nothing was published" in refused.value.message


def test_without_tensorflow_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_example(tmp_path / "m")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if "site-packages" not in entry])
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorflow"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(TfsdeployError, match="TensorFlow, which is not installed") as refused:
        try_out(tmp_path / "m", Silent())
    assert "pip install 'tfsdeploy[server]'" in refused.value.hint
