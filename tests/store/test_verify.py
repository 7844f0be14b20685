"""Bytes that are not those of the record are found, and unchanged ones are read once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tfsdeploy.names import RECORD_FILE
from tfsdeploy.store.publish import publish
from tfsdeploy.store.record import Record
from tfsdeploy.store.verify import Damaged, VerifiedCache, verify


@pytest.fixture
def version(tmp_path: Path, example: Callable[..., Path]) -> tuple[Path, Record]:
    """A published version, and its record."""
    source = example(files={"assets/a.txt": b"aaa", "assets/b.txt": b"bbb"})
    record, _ = publish(tmp_path / "ranker", "ranker", source, 7)
    return tmp_path / "ranker" / "7", record


def _flip(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def _move(path: Path) -> None:
    path.rename(path.with_name("gone"))


DAMAGES: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: _flip(path / "assets/b.txt"), "assets/b.txt has other bytes"),
    (lambda path: (path / "assets/b.txt").write_bytes(b"bb"), "assets/b.txt has 2 bytes, the commit record says 3"),
    (lambda path: (path / "assets/b.txt").unlink(), "assets/b.txt is missing"),
    (lambda path: (path / "late.txt").write_bytes(b""), "late.txt is not in the commit record"),
    (lambda path: (path / "odd").symlink_to("/etc/hostname"), "leaves the model"),
    (lambda path: (path / "assets" / RECORD_FILE).write_bytes(b""), "is not in the commit record"),
    (_move, "its folder is gone"),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGES)
def test_the_first_file_that_differs_is_named(
    version: tuple[Path, Record], damage: Callable[[Path], object], words: str
) -> None:
    path, record = version
    verify(path, record)
    damage(path)
    with pytest.raises(Damaged, match=words):
        verify(path, record)


def test_progress_reaches_the_end(version: tuple[Path, Record]) -> None:
    heard: list[tuple[int, int]] = []
    verify(*version, lambda done, total: heard.append((done, total)))
    assert heard[-1] == (version[1].bytes, version[1].bytes)


def reads(cache: VerifiedCache, path: Path, record: Record) -> bool:
    """Whether the cache had to read the files."""
    heard: list[int] = []
    cache.verify(path, record, lambda done, total: heard.append(done))
    return bool(heard)


def test_unchanged_bytes_are_read_once_on_a_machine(tmp_path: Path, version: tuple[Path, Record]) -> None:
    file = tmp_path / "verified.json"
    assert not VerifiedCache(file).knows(*version)
    assert reads(VerifiedCache(file), *version)
    assert VerifiedCache(file).knows(*version)
    assert not reads(VerifiedCache(file), *version)


@pytest.mark.parametrize(("damage", "words"), DAMAGES)
def test_what_was_touched_is_read_again(
    tmp_path: Path, version: tuple[Path, Record], damage: Callable[[Path], object], words: str
) -> None:
    path, record = version
    cache = VerifiedCache(tmp_path / "verified.json")
    cache.verify(path, record)
    damage(path)
    with pytest.raises(Damaged, match=words):
        cache.verify(path, record)


def test_a_time_that_was_set_back_hides_nothing(tmp_path: Path, version: tuple[Path, Record]) -> None:
    path, record = version
    cache = VerifiedCache(tmp_path / "verified.json")
    cache.verify(path, record)
    file = path / "assets/b.txt"
    before = file.stat()
    _flip(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(Damaged, match="other bytes"):
        cache.verify(path, record)


def test_what_changes_while_it_is_read_is_not_believed(tmp_path: Path, version: tuple[Path, Record]) -> None:
    path, record = version
    cache = VerifiedCache(tmp_path / "verified.json")
    cache.verify(path, record, lambda done, total: done == total and _flip(path / "assets/a.txt"))
    assert not cache.knows(path, record)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"text"', b"\xff", b"[" * 100_000])
def test_a_damaged_cache_costs_time_only(tmp_path: Path, version: tuple[Path, Record], content: bytes) -> None:
    (tmp_path / "verified.json").write_bytes(content)
    cache = VerifiedCache(tmp_path / "verified.json")
    assert reads(cache, *version)
    assert not reads(cache, *version)


def test_a_cache_that_cannot_be_kept_costs_time_only(tmp_path: Path, version: tuple[Path, Record]) -> None:
    (tmp_path / "no-folder").touch()
    cache = VerifiedCache(tmp_path / "no-folder" / "verified.json")
    assert reads(cache, *version)
    assert reads(cache, *version)


def test_versions_that_are_gone_are_forgotten(tmp_path: Path, example: Callable[..., Path]) -> None:
    cache = VerifiedCache(tmp_path / "verified.json")
    records = [publish(tmp_path / "ranker", "ranker", example(float(n)), n)[0] for n in (1, 2)]
    cache.verify(tmp_path / "ranker" / "1", records[0])
    (tmp_path / "ranker" / "1").rename(tmp_path / "elsewhere")
    cache.verify(tmp_path / "ranker" / "2", records[1])
    assert "ranker/1" not in (tmp_path / "verified.json").read_text()
