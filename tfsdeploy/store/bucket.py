"""An object store's bucket: the few things that are asked of it, the same for S3, GCS and Azure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tfsdeploy.store.answers import Replaced, StoreAway, StoreError, Taken, meaning_of, no_such_bucket
from tfsdeploy.store.connect import connect

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ObjectStore

SMALL = 16 << 20
"""Bytes of the largest object that `Bucket.get` reads unless told otherwise."""

PART = 6 << 20
"""Bytes of one part of a multipart upload; S3 takes 10,000 of them; several at once must fit into little memory."""

_PAGE = 1000

_PIECE = 256 << 10
"""Bytes, or some more, that are taken from an answer at a time."""


@dataclass(frozen=True, slots=True)
class Stat:
    """An object: its bytes, and the tag that changes with its content; None if the store gives none."""

    size: int
    etag: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """An object in a listing: its key below the bucket's root, and when it was written by the store's clock."""

    key: str
    size: int
    etag: str | None
    modified: datetime


def open_bucket(url: str, options: Mapping[str, object] | None = None) -> Bucket:
    """The bucket of a URL; see `tfsdeploy.store.connect.connect`."""
    given = options or {}
    client = connect(url, given)
    return Bucket(url.rstrip("/"), lambda: client, conditional=given.get("conditional_writes") is not False)


class Bucket:
    """A bucket, or what is below a prefix in it.

    Every method may raise StoreError, and StoreAway where trying again may cure it. All block, for two minutes a
    request at most, and may be called from any thread.

    Args:
        url: for people; has no secrets.
        client: gives one that is rooted at the prefix, or raises StoreError; asked before every request.
        conditional: the store carries out the conditions of writes. If not, they are looked at right before: that is
            safe only while nobody else writes.
    """

    def __init__(self, url: str, client: Callable[[], ObjectStore], *, conditional: bool = True) -> None:
        self.url = url
        self._open = client
        self._conditional = conditional

    @property
    def _client(self) -> ObjectStore:
        return self._open()

    def trouble(self) -> str | None:
        """Why nothing can be asked of it from here, in words; None if it can. Asks nothing of the store."""
        try:
            self._open()
        except StoreError as error:
            return str(error)
        return None

    def stat(self, key: str) -> Stat | None:
        """An object's size and tag; None if it is not there (or the bucket, which this question cannot tell)."""
        import obstore

        try:
            with self._asking(key):
                meta = obstore.head(self._client, key)
        except _Absent:
            return None
        except StoreAway:
            raise
        except StoreError:
            # The answer to this question has no words, such as that it is the clock; that to another one has, and one
            # byte is enough where it is not refused.
            try:
                self.get_range(key, 0, 1)
            except Replaced:
                return None
            raise
        return Stat(meta["size"], meta["e_tag"])

    def get(self, key: str, limit: int = SMALL) -> bytes | None:
        """A small object's content; None if it is not there."""
        found = self.get_with_stat(key, limit)
        return None if found is None else found[0]

    def get_with_stat(self, key: str, limit: int = SMALL) -> tuple[bytes, Entry] | None:
        """A small object's content, and what it is; None if it is not there.

        Args:
            key: the object.
            limit: bytes; a larger one is not read.
        """
        import obstore

        content = bytearray()
        try:
            with self._asking(key):
                answer = obstore.get(self._client, key)
                entry = _entry(answer.meta)
                for piece in answer.stream(64 << 10):
                    content += piece
                    if len(content) > limit:
                        raise StoreError(f"it has more than {limit} bytes", where=self.where(key))
        except _Absent:
            return None
        if len(content) != entry.size:
            raise StoreAway("the store's answer was cut short", where=self.where(key), hint="try again")
        return bytes(content), entry

    def get_range(self, key: str, start: int, end: int, etag: str | None = None) -> bytes:
        """Some bytes of an object; arguments and errors as for `pieces`."""
        return b"".join(self.pieces(key, start, end, etag))

    def pieces(self, key: str, start: int, end: int, etag: str | None = None) -> Iterator[bytes]:
        """Some bytes of an object as they come.

        Args:
            key: the object.
            start: the first byte's offset.
            end: the offset behind the last byte; more than ``start``.
            etag: of the object that is meant, so that two cannot mix.

        Raises:
            Replaced: the object has another tag, or is gone.
        """
        import obstore

        size = 0
        options: GetOptions = {"range": (start, end)}
        if etag is not None:
            options["if_match"] = etag
        try:
            with self._asking(key):
                for piece in obstore.get(self._client, key, options=options).stream(_PIECE):
                    size += len(piece)
                    if size > end - start:
                        break
                    yield piece
        except Taken as error:
            raise Replaced("it was replaced while it was read", where=self.where(key)) from error
        except _Absent as error:
            raise Replaced("it is gone", where=self.where(key)) from error
        if size != end - start:
            raise StoreAway("the store's answer has another length", where=self.where(key), hint="try again")

    def put(self, key: str, data: bytes, *, create: bool = False, replaces: str | None = None) -> str | None:
        """Write a small object, whole or not at all.

        Args:
            key: the object.
            data: its content.
            create: only if it is not there.
            replaces: only if it is there with this tag.

        Returns:
            Its new tag.

        Raises:
            Taken: the condition does not hold. An answer that was lost on the way is asked for again, so what is
                there may be our own.
        """
        import obstore

        if not self._conditional and (create or replaces is not None):
            there = self.stat(key)
            if replaces != (None if there is None else there.etag):
                raise Taken("somebody else has written it meanwhile", where=self.where(key))
            create, replaces = False, None
        mode: Any = "create" if create else "overwrite"
        try:
            with self._asking(key):
                if replaces is not None:
                    mode = self._same(key, replaces)
                return obstore.put(self._client, key, data, mode=mode, use_multipart=False)["e_tag"]
        except _Absent as error:
            # Only what should be replaced can be missed; or the whole bucket, and that has another error.
            raise Taken("it is gone", where=self.where(key)) from error

    def upload(self, key: str, pieces: Iterable[bytes], *, part: int = PART, parallel: int = 2) -> str | None:
        """Write an object of any size, in parts; it appears whole when the last one is there.

        Args:
            key: the object.
            pieces: its content; an error that they raise ends the upload, and is raised.
            part: bytes of one part.
            parallel: how many are on their way at once; so many are held in memory.

        Returns:
            Its tag.
        """
        import obstore

        failed: list[BaseException] = []

        def heard() -> Iterator[bytes]:
            try:
                yield from pieces
            except BaseException as error:
                failed.append(error)
                raise

        try:
            with self._asking(key):
                return obstore.put(
                    self._client, key, heard(), use_multipart=True, chunk_size=part, max_concurrency=parallel
                )["e_tag"]
        except StoreError as error:
            # A file that went away is no object that is not there.
            raise failed[0] if failed else error from error.__cause__

    def copy(self, source_key: str, key: str) -> None:
        """Copy an object inside the store: no byte of it comes here."""
        import obstore

        try:
            with self._asking(source_key):
                obstore.copy(self._client, source_key, key)
        except _Absent as error:
            raise StoreError("it is gone", where=self.where(source_key)) from error

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are not there are no error."""
        import obstore

        some = list(keys)
        while some:
            now, some = some[:_PAGE], some[_PAGE:]
            try:
                with self._asking(now[0]):
                    obstore.delete(self._client, now)
            except _Absent:
                # GCS tells that one is not there, and the client leaves the rest.
                for key in now if len(now) > 1 else ():
                    self.delete([key])

    def folders(self, prefix: str = "") -> Iterator[str]:
        """The names directly below a prefix that have something below them, in the order of the store."""
        import obstore

        with self._asking(prefix):
            found = obstore.list_with_delimiter(self._client, prefix or None)["common_prefixes"]
        for path in found:
            yield path.rstrip("/").rpartition("/")[2]

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """All objects below a prefix; not more than a page of them is in memory at once."""
        import obstore

        with self._asking(prefix):
            for page in obstore.list(self._client, prefix or None, chunk_size=_PAGE):
                yield from map(_entry, page)

    def where(self, key: str) -> str:
        """An object's URL, for people."""
        return f"{self.url}/{key}" if key else self.url

    def _same(self, key: str, etag: str) -> dict[str, str | None]:
        """The condition that an object is the one with this tag."""
        if not self.url.startswith("gs://"):
            return {"e_tag": etag}
        # GCS has no If-Match for writes; its generations do the same.
        import obstore

        meta = obstore.head(self._client, key)
        # Nothing has generation 1: it is the store that refuses, so that one that knows no conditions is found out.
        return {"e_tag": etag, "version": meta["version"] if meta["e_tag"] == etag else "1"}

    @contextmanager
    def _asking(self, key: str) -> Iterator[None]:
        from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

        try:
            yield
        except (AlreadyExistsError, PreconditionError) as error:
            raise Taken("somebody else has written it meanwhile", where=self.where(key)) from error
        except FileNotFoundError as error:
            if no_such_bucket(error):
                raise meaning_of(error, self.url) from error
            raise _Absent("it is not there", where=self.where(key)) from error
        except BaseError as error:
            raise meaning_of(error, self.where(key)) from error
        except ValueError as error:
            raise StoreError("this is no name for an object", where=self.where(key)) from error


class _Absent(StoreError):
    """The object is not there."""


def _entry(meta: Any) -> Entry:
    tag = meta["e_tag"]
    if tag and not tag.endswith('"'):
        # Azure lists without the quotes that the same tag has everywhere else.
        tag = f'"{tag}"'
    return Entry(meta["path"], meta["size"], tag, meta["last_modified"])
