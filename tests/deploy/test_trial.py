"""`push --check`: the version is really loaded, by TensorFlow, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import lite
from tests.models import write_half_plus_two, write_needing
from tests.server.test_warmup import predict, write
from tfsdeploy.deploy.trial import try_out
from tfsdeploy.errors import TfsdeployError
from tfsdeploy.processes import identity, is_alive
from tfsdeploy.report import Silent
from tfsdeploy.store.example import write_example

MIB = 1 << 20
LIMIT = 60.0


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


def test_a_tflite_model_is_loaded_as_the_fleet_would(tmp_path: Path) -> None:
    lite.write_half_plus_two(tmp_path / "m", offset=3.0)
    golden(tmp_path / "m", 3.5, 4.0)
    assert try_out(tmp_path / "m", Silent()).golden == 1
    write_half_plus_two(tmp_path / "both")
    lite.write_half_plus_two(tmp_path / "both", offset=3.0)
    for prefer, expected in ((False, (2.5, 3.0)), (True, (3.5, 4.0))):
        golden(tmp_path / "both", *expected)
        assert try_out(tmp_path / "both", Silent(), prefer_tflite=prefer).golden == 1


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


def test_it_ends_with_a_command_that_is_killed(tmp_path: Path) -> None:
    # Whoever opens it for reading waits for a writer, for ever.
    os.mkfifo(tmp_path / "hangs")
    write_needing(tmp_path / "m", str(tmp_path / "hangs"))
    program = "import sys; from pathlib import Path; from tfsdeploy.deploy.trial import try_out; "
    program += "from tfsdeploy.report import Silent; try_out(Path(sys.argv[1]), Silent())"
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "m")]) as command:
        children = Path(f"/proc/{command.pid}/task/{command.pid}/children")
        end = time.monotonic() + LIMIT
        while not (found := children.read_text().split()):
            assert command.poll() is None
            assert time.monotonic() < end, "it starts no process"
            time.sleep(0.02)
        child = identity(int(found[0]))
        command.kill()
    while child is not None and is_alive(child):
        assert time.monotonic() < end, "the process that loads the version is left behind"
        time.sleep(0.02)


def test_without_tensorflow_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_example(tmp_path / "m")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if "site-packages" not in entry])
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorflow"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(TfsdeployError, match="TensorFlow, which is not installed") as refused:
        try_out(tmp_path / "m", Silent())
    assert "pip install 'tfsdeploy[server]'" in refused.value.hint
