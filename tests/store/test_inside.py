"""`push --from`: what is in the store's bucket is copied by the store, compared, and published like any version."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.fault_proxy import fault_proxy
from tests.s3 import S3
from tfsdeploy.errors import Busy, TfsdeployError, UsageError
from tfsdeploy.names import RECORD_FILE
from tfsdeploy.store import claim, hold, inside, rehash, sending, several
from tfsdeploy.store.answers import StoreAway, StoreError
from tfsdeploy.store.bucket import PART, Bucket, Entry
from tfsdeploy.store.claim import CLAIM_FILE
from tfsdeploy.store.elsewhere import Elsewhere
from tfsdeploy.store.inside import Prefix
from tfsdeploy.store.objects import ObjectStore
from tfsdeploy.store.store import FileStore
from tfsdeploy.store.verify import Damaged

Example = Callable[..., Path]

LARGE = {"variables/extra": b"0123456789abcdef" * 500_000, "assets/words": b"a\nb\n"}


@pytest.fixture
def store(s3: S3, s3_bucket: str) -> ObjectStore:
    return ObjectStore(s3.open(s3_bucket))


@pytest.fixture
def root(s3: S3, s3_bucket: str) -> Bucket:
    """The whole bucket, of which the store is the prefix ``prod``."""
    return s3.open(s3_bucket.removesuffix("/prod"))


def upload(bucket: Bucket, prefix: str, folder: Path) -> str:
    """Put a folder where a training job would; its URL."""
    for path in folder.rglob("*"):
        if path.is_file():
            bucket.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return bucket.where(prefix)


def test_the_store_copies_it_itself(
    s3: S3, store: ObjectStore, root: Bucket, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = example(files=LARGE)
    url = upload(root, "training/run-7", folder)
    sent: list[int] = []
    put, send = Bucket.put, Bucket.upload

    def counted(self: Bucket, key: str, data: bytes, **how: object) -> str | None:
        sent.append(len(data))
        return put(self, key, data, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(Bucket, "put", counted)
    monkeypatch.setattr(Bucket, "upload", lambda *_, **__: pytest.fail("it passes through here"))
    heard: list[tuple[int, int]] = []
    with Elsewhere(url, store, s3.options).origin() as origin:
        record, _ = store.publish("m", origin, None, lambda *seen: heard.append(seen))
    monkeypatch.setattr(Bucket, "upload", send)
    assert heard[-1] == (record.bytes, record.bytes)
    # The claim, its beats and the record: nothing of the model.
    assert sum(sent) < 10_000
    assert (store.versions("m"), store.uncommitted("m")) == ([1], [])
    store.verify(record)
    # It is what a push of the folder would have been.
    assert store.publish("m", folder, 1) == (record, True)
    with Elsewhere(url, store, s3.options).origin() as origin:
        assert store.publish("m", origin, 1) == (record, True)
    with Elsewhere(upload(root, "training/run-8", example(3.0)), store, s3.options).origin() as origin:
        with pytest.raises(Busy, match="published other bytes"):
            store.publish("m", origin, 1)
        assert store.publish("m", origin, 2)[0].version == 2


def test_what_the_way_has_changed_is_not_published(
    s3: S3, store: ObjectStore, root: Bucket, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, read, changed = upload(root, "training/run-7", example()), Bucket.get_range, list[str]()

    def changed_once(self: Bucket, key: str, start: int, end: int, etag: str | None = None) -> bytes:
        found = read(self, key, start, end, etag)
        if not key.endswith("/m/1/saved_model.pb") or changed:
            return found
        changed.append(key)
        return b"?" * len(found)

    monkeypatch.setattr(Bucket, "get_range", changed_once)
    with Elsewhere(url, store, s3.options).origin() as origin:
        record, _ = store.publish("m", origin, 1)
    assert changed
    store.verify(record)


@pytest.mark.parametrize(("most", "parts"), [(sending.MOST_PARTS, 2), (1, 1)])
def test_what_cannot_be_copied_at_once_passes_through_here(
    most: int, parts: int, s3: S3, store: ObjectStore, root: Bucket, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In no more parts than the store takes, which its tag tells."""
    url = upload(root, "training/run-7", example(files=LARGE))
    monkeypatch.setattr(inside, "COPY_BYTES", 1000)
    monkeypatch.setattr(sending, "MOST_PARTS", most)
    with Elsewhere(url, store, s3.options).origin() as origin:
        record, _ = store.publish("m", origin, 7)
    store.verify(record)
    there = store.bucket.stat("m/7/variables/extra")
    assert there is not None
    assert (there.etag or "").endswith(f'-{parts}"')


def test_who_slept_while_the_end_was_read_replaces_nothing(
    s3: S3, store: ObjectStore, root: Bucket, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one has taken the number over, and its version stays as it is."""
    url, read = upload(root, "training/run-7", example(files=LARGE)), inside.pieces
    other = example(3.0, {"variables/extra": b"other"})

    def asleep(bucket: Bucket, entry: Entry) -> Iterator[bytes]:
        yield from read(bucket, entry)
        if entry.size > PART:
            with monkeypatch.context() as meanwhile:
                meanwhile.setattr(hold, "abandoned", lambda *_: True)
                store.publish("m", other, 7)
            monkeypatch.setattr(claim, "LEASE_SECONDS", 0.0)

    monkeypatch.setattr(inside, "COPY_BYTES", 0)
    monkeypatch.setattr(inside, "pieces", asleep)
    with Elsewhere(url, store, s3.options).origin() as origin, pytest.raises(Busy, match="nothing was published"):
        store.publish("m", origin, 7)
    record = store.record("m", 7)
    assert record is not None
    store.verify(record)


def test_a_version_becomes_one_of_another_model(s3: S3, store: ObjectStore, root: Bucket, example: Example) -> None:
    first, _ = store.publish("m", example(files=LARGE), 7)
    store.bucket.put("m/7/left-over", b"of an interrupted push")
    with Elsewhere(f"{store.url}/m/7", store, s3.options).origin() as origin:
        second, _ = store.publish("other", origin, None)
    assert (second.model, second.version, second.digest) == ("other", 1, first.digest)
    store.verify(second)
    store.bucket.put("m/7/assets/words", b"a\nc\n")
    with Elsewhere(f"{store.url}/m/7", store, s3.options).origin() as origin, pytest.raises(Damaged):
        store.publish("other", origin, 2)
    assert store.versions("other") == [1]
    store.bucket.delete(["m/7/assets/words"])
    with (
        pytest.raises(Damaged, match="assets/words is missing"),
        Elsewhere(f"{store.url}/m/7", store, s3.options).origin(),
    ):
        pass


def test_what_changes_meanwhile_is_not_published(s3: S3, store: ObjectStore, root: Bucket, example: Example) -> None:
    url = upload(root, "training/run-7", example(files=LARGE))
    with Elsewhere(url, store, s3.options).origin() as origin:
        root.put("training/run-7/assets/more", b"later")
        with pytest.raises(TfsdeployError, match="changed while it was copied"):
            store.publish("m", origin, 7)
    assert store.versions("m") == []
    with Elsewhere(url, store, s3.options).origin() as origin:
        assert store.publish("m", origin, 7)[0].version == 7


@contextmanager
def moving(limit: int) -> Iterator[list[str]]:
    """The files that were copied or sent meanwhile, by name; the user interrupts before more than so many begin."""
    moved: list[str] = []
    begun = count()

    def watched(name: str) -> Callable[..., object]:
        do = getattr(Bucket, name)

        def either(self: Bucket, *words: Any, **how: Any) -> object:
            # Of a copy the second key is the new one.
            key = words[1] if name == "copy" else words[0]
            if not key.endswith((CLAIM_FILE, RECORD_FILE)):
                if next(begun) >= limit:
                    raise KeyboardInterrupt
                etag = do(self, *words, **how)
                moved.append(key.rpartition("/")[2])
                return etag
            return do(self, *words, **how)

        return either

    with pytest.MonkeyPatch.context() as meanwhile:
        for name in ("copy", "upload", "put"):
            meanwhile.setattr(Bucket, name, watched(name))
        yield moved


@pytest.mark.parametrize("changed", [False, True])
@pytest.mark.parametrize("there", ["inside", "another bucket"])
def test_what_was_interrupted_goes_on(
    there: str,
    changed: bool,
    s3: S3,
    store: ObjectStore,
    root: Bucket,
    s3_bucket: str,
    example: Example,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = f"interrupted-{changed:d}-{s3_bucket.split('/')[2]}"
    source = root if there == "inside" else s3.open(s3.make_bucket(name))
    url = upload(source, "run-7", example(files={**LARGE, "assets/more": b"c\n"}))
    # One copy after the other: one that nobody has read when another one fails is made anew.
    monkeypatch.setattr(several, "WORKERS", 1)
    with Elsewhere(url, store, s3.options).origin() as origin:
        with moving(2) as before, pytest.raises(KeyboardInterrupt):
            store.publish("m", origin, None)
        # A large file that is on its way when another one fails is given up.
        assert (store.versions("m"), len(before) in (1, 2)) == ([], True)
    again = [name for name in before if name != "saved_model.pb"][:1] if changed else []
    for entry in source.list("run-7"):
        if entry.key.rpartition("/")[2] in again:
            source.put(entry.key, bytes(entry.size))
    heard: list[tuple[int, int]] = []
    with Elsewhere(url, store, s3.options).origin() as origin, moving(99) as after:
        record, _ = store.publish("m", origin, None, lambda *seen: heard.append(seen))
    assert (record.version, heard[-1]) == (1, (record.bytes, record.bytes))
    assert sorted([*before, *after]) == sorted(["extra", "more", "saved_model.pb", "words", *again])
    store.verify(record)


@pytest.mark.parametrize("largest", [inside.COPY_BYTES, 0], ids=["copied", "sent on"])
def test_the_failure_of_one_copy_ends_the_others(
    largest: int, s3: S3, store: ObjectStore, root: Bucket, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large they are, at their next piece."""
    url = upload(root, "training/run-7", example(files=LARGE))
    reading, whole, failing = threading.Event(), list[str](), "assets/words"

    def endless(bucket: Bucket, entry: Entry) -> Iterator[bytes]:
        if not entry.key.endswith(failing):
            reading.set()
            for _ in range(1_000_000):
                yield b"x"
            whole.append(entry.key)
            return
        assert reading.wait(30)
        raise StoreAway("the store went away")

    monkeypatch.setattr(inside, "COPY_BYTES", largest)
    monkeypatch.setattr(inside, "pieces", endless)
    monkeypatch.setattr(rehash, "pieces", endless)
    with Elsewhere(url, store, s3.options).origin() as origin, pytest.raises(StoreAway, match="went away"):
        store.publish("m", origin, 7)
    assert (whole, store.versions("m")) == ([], [])


def test_any_key_is_a_folder(s3: S3, store: ObjectStore, root: Bucket, example: Example) -> None:
    upload(root, "training/run", example(1.0))
    url = upload(root, "training/run#7?final 100%", example(files={"assets/ä #1": b"a"}))
    with Elsewhere(url, store, s3.options).origin() as origin:
        record, _ = store.publish("m", origin, 7)
    assert [file.path for file in record.files] == ["assets/ä #1", "saved_model.pb"]


def test_markers_of_folders_are_no_files(s3: S3, store: ObjectStore, root: Bucket, example: Example) -> None:
    """TensorFlow makes them when it saves to s3://, and so do the stores' consoles."""
    folder = example(files={"assets/words": b"a", "assets/empty": b""})
    bucket = root.url.removeprefix("s3://")
    for prefix in ("training/run-7", "prod/adopted/3"):
        upload(root, prefix, folder)
        for path in ("", "assets/", "variables/"):
            s3.put_raw(f"/{bucket}/{prefix}/{path}")
    with Elsewhere(root.where("training/run-7"), store, s3.options).origin() as origin:
        copied, _ = store.publish("m", origin, 7)
    adopted, _ = store.adopt("adopted", 3)
    assert [file.path for file in copied.files] == ["assets/empty", "assets/words", "saved_model.pb"]
    assert copied.files == adopted.files
    store.verify(adopted)
    s3.put_raw(f"/{bucket}/training/run-8/a%09b")
    with pytest.raises(TfsdeployError, match="a name that is no path"):
        Elsewhere(root.where("training/run-8"), store, s3.options).origin().__enter__()


@pytest.mark.parametrize("kind", ["another bucket", "a folder's store", "a folder"])
def test_what_is_elsewhere_is_brought(
    kind: str, s3: S3, store: ObjectStore, s3_bucket: str, example: Example, tmp_path: Path
) -> None:
    folder = example(files=LARGE)
    target = FileStore(tmp_path / "models") if kind == "a folder's store" else store
    if kind == "a folder":
        url = folder.as_uri()
    else:
        name = f"elsewhere-{s3_bucket.split('/')[2]}-{len(kind)}"
        url = upload(s3.open(s3.make_bucket(name)), "run-7", folder)
    with Elsewhere(url, target, s3.options).origin() as origin:
        record, _ = target.publish("m", origin, 7)
    target.verify(record)
    assert target.publish("m", folder, 7) == (record, True)


def _nothing(root: Bucket) -> Iterable[tuple[str, str]]:
    root.put("training/half/saved_model.pb", b"half")
    root.put("training/claimed/.claim", b"{}")
    root.put("training/claimed/saved_model.pb", b"")
    yield root.where("training/nothing"), "there is nothing"
    yield root.where("training/half"), "damaged or incomplete"
    yield root.where("training/claimed"), "has not ended"
    yield root.url, "names no folder"
    yield "s3://", "names no folder"
    yield "s3://key:secret@models/training", "credentials do not belong"
    yield "ftp://host/path", "is no store"


def test_what_is_no_model_is_refused(s3: S3, store: ObjectStore, root: Bucket) -> None:
    for url, words in _nothing(root):
        with pytest.raises((UsageError, Busy), match=words) as refused, Elsewhere(url, store, s3.options).origin():
            pass
        assert "secret" not in str(refused.value)


def test_an_answer_that_is_too_short_is_no_damaged_model(s3: S3, root: Bucket, example: Example) -> None:
    upload(root, "training/run-7", example())
    said = set()
    with fault_proxy(s3.endpoint) as proxy:
        proxy.kinds = ("answer is shorter",)
        broken = s3.open(root.url, endpoint=proxy.endpoint)
        for seed in range(20):
            proxy.begin(seed, 0.3)
            try:
                Prefix(broken, "training/run-7", None)
            except StoreError as error:
                said.add(error.message)
    assert "the store's answer has another length" in said
