"""A folder of artefacts: ours follow the fleet, the others are left alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tfsdeploy.deploy.artefacts_folder import Written, write_artefacts
from tfsdeploy.deploy.rendering import render_docker
from tfsdeploy.errors import TfsdeployError, UsageError
from tfsdeploy.fleet.load import load_fleet

MARKER = "# ours\n"
PATTERNS = ("*.yaml", "*/*.yaml")


def write(folder: Path, *paths: str, text: str = "x\n") -> Written:
    artefacts = dict.fromkeys(paths, MARKER + text)
    return write_artefacts(folder, artefacts, marker=MARKER, patterns=PATTERNS)


def test_what_left_the_fleet_leaves_the_folder_and_nothing_else_does(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert write(out, "a.yaml", "b.yaml", "one/c.yaml") == Written(3, 3, 0)
    (out / "mine.yaml").write_text("kind: Mine\n")
    (out / "README.md").write_text(MARKER)
    (out / "deep" / "er").mkdir(parents=True)
    (out / "deep" / "er" / "a.yaml").write_text(MARKER)
    (out / "link.yaml").symlink_to(out / "a.yaml")
    assert write(out, "a.yaml") == Written(1, 0, 2)
    left = {str(path.relative_to(out)) for path in out.rglob("*") if not path.is_dir()}
    assert left == {"a.yaml", "mine.yaml", "README.md", "deep/er/a.yaml", "link.yaml"}
    assert not (out / "one").exists()


def test_files_that_are_as_they_should_be_are_not_touched(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "b.yaml")
    before = (tmp_path / "a.yaml").stat()
    (tmp_path / "b.yaml").write_text(MARKER + "changed by hand\n")
    assert write(tmp_path, "a.yaml", "b.yaml") == Written(2, 1, 0)
    assert (tmp_path / "a.yaml").stat() == before
    assert (tmp_path / "b.yaml").read_text() == MARKER + "x\n"


@pytest.mark.parametrize("content", [b"kind: Mine\n", b"\xff\xfe", b"\r\n" + MARKER.encode()])
def test_a_file_of_somebody_else_is_not_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b.yaml").write_bytes(content)
    with pytest.raises(UsageError, match="not written") as caught:
        write(tmp_path, "a.yaml", "b.yaml")
    assert caught.value.where.endswith("b.yaml")
    assert (tmp_path / "b.yaml").read_bytes() == content
    assert not (tmp_path / "a.yaml").exists(), "nothing is written before all is looked at"


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TfsdeployError, match="cannot be written"):
        write(tmp_path / "file", "a.yaml")


def test_without_a_marker_nothing_is_removed(tmp_path: Path) -> None:
    (tmp_path / "a.sh").write_text("other\n")
    assert write_artefacts(tmp_path, {"a.sh": "x\n"}, patterns=("*",)) == Written(1, 1, 0)
    assert write_artefacts(tmp_path, {"b.sh": "x\n"}, patterns=("*",)) == Written(1, 1, 0)
    assert (tmp_path / "a.sh").exists()


FLEET = """\
apiVersion: tfsdeploy/v1
kind: Fleet
name: shop
store: file:///srv/models
models: {m: {}}
"""


def write_compose(tmp_path: Path) -> Path:
    """A fleet, rendered for Compose as `render` does it."""
    (tmp_path / "fleet.yaml").write_text(FLEET)
    out, rendered = tmp_path / "out", render_docker([load_fleet(tmp_path / "fleet.yaml")])
    write_artefacts(out, rendered.artefacts, marker=rendered.marker, mounted=rendered.mounted)
    return out


def test_a_compose_file_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    file = write_compose(tmp_path) / "compose.yaml"
    ours = file.read_text()
    file.write_text("services: {}\n")
    with pytest.raises(UsageError, match="tfsdeploy has not written"):
        write_compose(tmp_path)
    assert file.read_text() == "services: {}\n"
    file.write_text(ours.replace("shop", "older"))
    write_compose(tmp_path)
    assert file.read_text() == ours


def test_what_containers_mount_is_read_by_their_user(tmp_path: Path) -> None:
    """Under a strict umask, and where an earlier render has left it closed."""
    before = os.umask(0o077)
    try:
        out = write_compose(tmp_path)
        (out / "given" / "pins.json").chmod(0o600)
        write_compose(tmp_path)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (out, *out.rglob("*"))}
    assert modes == {
        "out": 0o700, "compose.yaml": 0o600, "given": 0o755, "pins.json": 0o644, "settings.json": 0o644,
    }  # fmt: skip
