"""Names on the command line lead nowhere but to what they name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.saved_models import write_saved_model

FLEET = "apiVersion: tfsdeploy/v1\nkind: Fleet\nname: shop\nstore: file://./models\nmodels: {}\n"

HOSTILE = (
    "../precious",
    "../../precious",
    "x/../../precious",
    "/precious",
    "..",
    ".",
    "",
    " ",
    "a/b",
    "a\\b",
    "a\nb",
    "a\x1b[31mb",
    "a;b",
    "$(touch precious)",
    "%2e%2e",
    "r\u0430nker",
    "ranker\u200b",
    "\u202eranker",
    ".staging-x",
    "x" * 300,
)
"""Ways out of a folder, into a shell, a terminal or a URL, and letters that look like others."""

MODEL_COMMANDS = (
    ("push", "MODEL", "export"),
    ("adopt", "MODEL", "1"),
    ("versions", "MODEL"),
    ("verify", "MODEL"),
    ("gc", "MODEL"),
    ("mirror", "file:///nowhere", "MODEL"),
    ("inspect", "MODEL", "1"),
    ("promote", "MODEL", "1", "--yes"),
    ("rollback", "MODEL"),
    ("predict", "MODEL", "{}"),
    ("bench", "MODEL", "--rate", "1", "--duration", "1s"),
    ("history", "--model", "MODEL"),
    ("logs", "MODEL"),
)


@pytest.mark.parametrize("command", ["down --yes", "status", "rollback m", "logs", "history"])
@pytest.mark.parametrize("name", ["../../precious", "x/../../../precious", "..", ".", "", "/precious", "Shop", "a\nb"])
def test_what_is_no_fleet_name_is_refused(tmp_path: Path, command: str, name: str, run: Run) -> None:
    before = _precious(tmp_path)
    word, *rest = command.split()
    done = run(word, *rest, "--fleet", str(tmp_path / "precious") if name == "/precious" else name)
    assert done.code == 2, done
    assert "Traceback" not in done.err
    assert _contents(tmp_path) == before


@pytest.mark.parametrize("command", MODEL_COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_what_is_no_model_name_is_refused(tmp_path: Path, command: tuple[str, ...], name: str, run: Run) -> None:
    (tmp_path / "fleet.yaml").write_text(FLEET)
    (tmp_path / "models").mkdir()
    write_saved_model(tmp_path / "export", 1)
    before = _precious(tmp_path)
    hostile = str(tmp_path / "precious") if name == "/precious" else name
    done = run(*(hostile if word == "MODEL" else word for word in command))
    assert done.code == 2, done
    assert "Traceback" not in done.err
    assert not any(letter in done.out + done.err for letter in "\x1b\u202e\u200b")
    assert _contents(tmp_path) == before


def test_an_answer_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "tfsdeploy", "schema"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(argv, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "no space left" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "1>&- 2>&-", "2>/dev/full"])
@pytest.mark.parametrize(("words", "code"), [("init shop", 0), ("validate -f absent.yaml", 2)])
def test_closed_and_deaf_streams_change_no_result(tmp_path: Path, closed: str, words: str, code: int) -> None:
    argv = ["bash", "-c", f"{sys.executable} -m tfsdeploy {words} {closed}"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == code, done
    assert "Traceback" not in done.stdout + done.stderr
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and b"error:" in file.read_bytes()]


@pytest.mark.parametrize("words", ["status", "doctor", "up", "validate", "render"])
@pytest.mark.parametrize("place", ["x" * 300, "x/" * 3000, "fleet.yaml/fleet.yaml", "loop/fleet.yaml"])
def test_a_fleet_file_that_cannot_be_reached_is_wrong_usage(tmp_path: Path, run: Run, words: str, place: str) -> None:
    (tmp_path / "fleet.yaml").touch()
    (tmp_path / "loop").symlink_to("loop")
    ran = run(words, "-f", place)
    assert ran.code == 2
    assert "internal error" not in ran.err


def test_a_wait_without_end_is_wrong_usage(run: Run) -> None:
    ran = run("status", "--timeout", "999999999999h")
    assert (ran.code, "at most 720h" in ran.err) == (2, True)


@pytest.mark.parametrize("words", [("init",), ("init", "shop"), ("validate",), ("status",), ("inspect", "model")])
def test_a_folder_that_was_removed_is_told_in_a_line(tmp_path: Path, words: tuple[str, ...]) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    argv = ["bash", "-c", 'rmdir "$PWD"; exec "$@"', "bash", sys.executable, "-P", "-m", "tfsdeploy", *words]
    done = subprocess.run(argv, cwd=gone, capture_output=True, text=True, check=False)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("error: ")
    assert "internal error" not in done.stderr


def _precious(folder: Path) -> dict[str, bytes]:
    """What stands beside the store and the state, and must stay as it is, as must all else."""
    version = folder / "precious" / "1"
    version.mkdir(parents=True)
    (version / "letters").write_text("kept")
    return _contents(folder)


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
