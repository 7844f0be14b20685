"""The store by its URL: what it lists, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tfsdeploy.errors import TfsdeployError, UsageError
from tfsdeploy.names import RECORD_FILE
from tfsdeploy.store.record import InvalidRecord
from tfsdeploy.store.store import FileStore, Store, file_store, open_store


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """A store that nobody has written to."""
    return open_store((tmp_path / "my models").as_uri())


def test_an_empty_store_lists_nothing(store: Store) -> None:
    assert store.models() == []
    assert store.versions("ranker") == []
    assert store.uncommitted("ranker") == []
    assert store.record("ranker", 7) is None


def test_it_lists_what_is_committed_and_what_is_not(store: FileStore, example: Callable[..., Path]) -> None:
    record, _ = store.publish("ranker", example(), 7)
    store.publish("ranker", example(3.0), 10)
    for name in ("9", "007", "0", "tmp", ".staging-1"):
        (store.model_path("ranker") / name).mkdir()
    (store.model_path("ranker") / "11").write_text("a file")
    (store.root / "no model!").mkdir()
    assert store.models() == ["ranker"]
    assert store.versions("ranker") == [7, 10]
    assert store.uncommitted("ranker") == [9]
    assert store.newest("ranker") == 10
    assert store.record("ranker", 7) == record
    assert store.record("ranker", 9) is None
    assert store.record("ranker", 11) is None


def test_many_versions_are_listed_without_reading_their_records(store: FileStore) -> None:
    for version in range(1, 1001):
        store.version_path("ranker", version).mkdir(parents=True)
        # Nobody could read it: a listing that did would say so.
        (store.version_path("ranker", version) / RECORD_FILE).write_text("nonsense")
    assert store.versions("ranker") == list(range(1, 1001))
    assert store.newest("ranker") == 1000
    with pytest.raises(InvalidRecord):
        store.record("ranker", 1000)


def test_the_record_of_another_version_is_none(store: FileStore, example: Callable[..., Path]) -> None:
    store.publish("ranker", example(), 7)
    store.version_path("ranker", 7).rename(store.version_path("ranker", 8))
    with pytest.raises(InvalidRecord, match="record of ranker 7"):
        store.record("ranker", 8)


def test_adopt_through_the_store(store: FileStore, example: Callable[..., Path]) -> None:
    store.model_path("ranker").mkdir(parents=True)
    example().rename(store.version_path("ranker", 7))
    assert store.versions("ranker") == []
    record, was_there = store.adopt("ranker", 7)
    assert not was_there
    assert store.record("ranker", 7) == record


@pytest.mark.parametrize("name", ["", "..", "a/b", ".staging-x", "a" * 64])
def test_what_is_no_model_name_touches_nothing(store: FileStore, name: str) -> None:
    with pytest.raises(UsageError, match="not a model name"):
        store.versions(name)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("nfs://host/models", "'nfs' is no store that can be used from here"),
        ("/srv/models", "no store that can be used from here"),
        ("file://models", "absolute path"),
        ("file://host/models", "absolute path"),
        ("file:///srv/models?a=b", "absolute path"),
        ("file:///srv/models#1", "absolute path"),
        ("file:///srv/%00", "absolute path"),
        ("file://[", "no URL"),
        ("s3://models/prod#new", r"no \? and no #"),
        ("s3://models/prod?versionId=7", r"no \? and no #"),
        ("s3://key:secret@models/prod", "credentials do not belong"),
    ],
)
def test_urls_that_are_refused(url: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_store(url)


@pytest.mark.parametrize("folder", ["/srv/models", "/srv/my models", "/srv/100%", "/srv/a#b?c", "/srv/modèles"])
def test_a_stores_url_leads_back_to_it(folder: str) -> None:
    store = file_store(Path(folder).as_uri())
    assert store.root == Path(folder)
    assert open_store(store.url).url == store.url


def test_a_store_that_cannot_be_read_is_one_error(store: FileStore) -> None:
    store.root.symlink_to(store.root)
    with pytest.raises(TfsdeployError, match="cannot be listed"):
        store.models()
    with pytest.raises(TfsdeployError, match="cannot be read"):
        store.record("ranker", 7)
