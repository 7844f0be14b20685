"""Which versions a folder has, and which of them a policy picks."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsdeploy.protocol.model_config import All, Latest, ModelConfig, Policy, Specific
from tfsdeploy.server.source import StorageAway, chosen, scan, versions_of

# A plain file, a plus sign and spaces count too: measured on the original (file_system_storage_path_source.cc).
VERSIONS = {"1": 1, "00000003": 3, "0": 0, "+10": 10, " 14": 14, "9223372036854775807": 2**63 - 1}
NONE = ["-1", "1.0", "7.tmp", ".7", "_staging", "seven", "٣", "1e3", "0x1", "", "1 2"]


@pytest.mark.parametrize(("name", "version"), VERSIONS.items(), ids=repr)
def test_a_name_that_is_a_number_is_a_version(name: str, version: int, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    assert versions_of(ModelConfig("m", str(tmp_path), All())) == {version: str(tmp_path / name)}


def test_every_other_name_is_invisible(tmp_path: Path) -> None:
    for name in filter(None, NONE):
        (tmp_path / name).mkdir()
    assert versions_of(ModelConfig("m", str(tmp_path), All())) == {}


def test_a_file_counts_as_a_version(tmp_path: Path) -> None:
    (tmp_path / "99").write_text("not a folder")
    assert versions_of(ModelConfig("m", str(tmp_path), All())) == {99: str(tmp_path / "99")}


def test_of_two_names_of_one_number_the_shorter_wins(tmp_path: Path) -> None:
    for name in ("8", "00000008"):
        (tmp_path / name).mkdir()
    assert versions_of(ModelConfig("m", str(tmp_path), All())) == {8: str(tmp_path / "8")}


PICKS: list[tuple[Policy, list[int]]] = [
    (Latest(), [40]),
    (Latest(0), [40]),
    (Latest(1), [40]),
    (Latest(2), [7, 40]),
    (Latest(99), [3, 7, 40]),
    (All(), [3, 7, 40]),
    (Specific((7,)), [7]),
    (Specific((40, 3)), [3, 40]),
    (Specific((3, 3)), [3]),
    (Specific((3, 4)), [3]),
    (Specific((4,)), []),
    (Specific(()), []),
]


@pytest.mark.parametrize(("policy", "versions"), PICKS, ids=str)
def test_a_policy_picks(policy: Policy, versions: list[int], tmp_path: Path) -> None:
    for version in (3, 7, 40):
        (tmp_path / str(version)).mkdir()
    found = versions_of(ModelConfig("m", str(tmp_path), policy))
    assert found == {version: str(tmp_path / str(version)) for version in versions}


@given(st.sets(st.integers(0, 50)), st.integers(0, 9))
def test_latest_picks_the_highest_and_never_less_than_there_are(there: set[int], count: int) -> None:
    picked = chosen(Latest(count), {version: str(version) for version in there})
    assert len(picked) == min(len(there), max(1, count))
    assert all(version <= lowest for lowest in [min(picked, default=0)] for version in there - picked.keys())


def test_a_base_path_that_is_away_is_told_from_one_that_is_empty(tmp_path: Path) -> None:
    gone = ModelConfig("m", str(tmp_path / "gone"))
    with pytest.raises(StorageAway, match=r"Could not find base path .*/gone for servable m with error No such file"):
        versions_of(gone)
    assert versions_of(ModelConfig("m", str(tmp_path))) == {}
    with pytest.raises(StorageAway):
        scan([ModelConfig("there", str(tmp_path)), gone])
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageAway, match="Not a directory"):
        versions_of(ModelConfig("m", str(tmp_path / "file")))


def test_a_base_path_that_no_folder_can_have_is_away() -> None:
    with pytest.raises(StorageAway, match="base path /m\0x for servable m with error embedded null byte"):
        versions_of(ModelConfig("m", "/m\0x"))
