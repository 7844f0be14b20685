"""A stand-in for Google Cloud Storage on loopback: its XML API as far as `gs://` stores use it, with objects in memory.

It is no GCS, and it is ours. The real one cannot be had on a machine, and the emulators that can (fake-gcs-server)
neither honour `x-goog-if-generation-match` nor speak the XML multipart uploads by which obstore writes. It follows
https://cloud.google.com/storage/docs/xml-api and bodies of errors that users of the real one have quoted; what it does
not know it refuses, so that no condition is ignored in silence.

As in GCS: every write gives an object a new generation, conditions on it are atomic, a deleted object is no more found
when it is deleted again, an ETag is the MD5 but for objects in parts, listings come in pages and sorted, and one name
can be changed once a second if `one_a_second` is set. Service accounts sign in with JWTs of their own key, which are
verified; the metadata server of GCE and GKE hands out tokens.

Not here, and so not tested: Google's IAM, its frontends, TLS, other kinds of credentials than those, and scale.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tfsdeploy.store.bucket import Bucket, open_bucket

EMAIL = "publisher@project.iam.gserviceaccount.com"
READER = "reader@project.iam.gserviceaccount.com"
KEY_ID = "5d41402abc4b2a76b9719d911017c592"
READER_TOKEN = "ya29.reader-7d793037a0760186574b0282f2f435e7"
MACHINE_TOKEN = "ya29.machine-4015bc9ee91e437d90df83fb64fbbe31"
"""Of an account that may only read, and of the machine's own one; the metadata server tells the latter."""

PAGE = 3
"""Names in one answer to a listing; GCS gives 1000, and may give fewer."""

SMALLEST_PART = 5 << 20

_METADATA = "/computeMetadata/v1/instance/service-accounts/default/token"
_CONDITION = "x-goog-if-generation-match"
_KNOWN_HEADERS = {_CONDITION, "x-goog-copy-source", "if-match"}
_KNOWN_QUERIES = {
    "list-type", "prefix", "delimiter", "continuation-token", "uploads", "uploadId", "partNumber"
}  # fmt: skip


@dataclass(frozen=True)
class _Object:
    data: bytes
    generation: int
    etag: str
    modified: datetime


@dataclass(frozen=True)
class _Asked:
    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class _Answer:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class _No(Exception):
    """The request is refused, with a body as GCS writes it."""

    def __init__(self, status: int, code: str, message: str, details: str = "") -> None:
        more = f"<Details>{escape(details)}</Details>" if details else ""
        text = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message>{more}</Error>"
        self.answer = _Answer(status, _xml(text))


@dataclass
class Gcs:
    """A running stand-in; what is set here is so for the next request.

    Attributes:
        port: on loopback.
        credentials: the file of a service account that may do everything.
        key: the private half of its key.
        has_identity: the machine has an account of its own; the metadata server has none otherwise.
        slow_down: so many of the next requests are answered with 429.
        failing: the status that everything is answered with, without a body.
        one_a_second: a name can be changed once a second, as in GCS.
        deaf: the conditions of writes are ignored, as by other emulators.
    """

    port: int
    credentials: Path
    key: RSAPrivateKey
    has_identity: bool = False
    slow_down: int = 0
    failing: int | None = None
    one_a_second: bool = False
    deaf: bool = False
    asked: int = 0
    _buckets: dict[str, dict[str, _Object]] = field(default_factory=dict)
    _uploads: dict[str, dict[int, bytes]] = field(default_factory=dict)
    _changed: dict[tuple[str, str], float] = field(default_factory=dict)
    _generation: int = 1_700_000_000_000_000
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def options(self) -> dict[str, object]:
        """What `open_bucket` and `open_store` need beside the URL."""
        return {"endpoint": f"http://127.0.0.1:{self.port}"}

    @property
    def environment(self) -> dict[str, str]:
        """The variables that open it."""
        return {"GOOGLE_APPLICATION_CREDENTIALS": str(self.credentials)}

    @property
    def secrets(self) -> list[str]:
        """What must be shown nowhere: tokens, and lines of the key."""
        return [READER_TOKEN, MACHINE_TOKEN, *_pem(self.key).splitlines()[1:-1]]

    def make_bucket(self, name: str) -> str:
        """An empty bucket; its URL."""
        self._buckets[name] = {}
        return f"gs://{name}"

    def open(self, url: str, **options: object) -> Bucket:
        """A bucket, or a prefix in it."""
        return open_bucket(url, {**self.options, **options})

    def answer(self, asked: _Asked) -> _Answer:
        """The answer to one request; requests are carried out one after the other."""
        with self._lock:
            self.asked += 1
            try:
                return self._answer(asked)
            except _No as no:
                return no.answer

    def _answer(self, asked: _Asked) -> _Answer:
        if self.failing:
            return _Answer(self.failing)
        if self.slow_down > 0:
            self.slow_down -= 1
            raise _No(429, "SlowDown", "The bucket exceeded the rate limit. Please reduce your request rate.")
        if f"/{asked.bucket}/{asked.key}" == _METADATA:
            return self._token(asked)
        who = self._who(asked.headers.get("authorization", ""))
        _check_known(asked)
        if asked.bucket not in self._buckets:
            raise _No(404, "NoSuchBucket", "The specified bucket does not exist.")
        _check_allowed(asked, who)
        objects = self._buckets[asked.bucket]
        if not asked.key:
            return _listing(asked, objects)
        if asked.method in ("GET", "HEAD"):
            return _reading(asked, _found(objects, asked.key))
        if "uploads" in asked.query or "partNumber" in asked.query:
            return self._begin_or_add(asked)
        return self._change(asked, objects)

    def _token(self, asked: _Asked) -> _Answer:
        if not self.has_identity or asked.headers.get("metadata-flavor") != "Google":
            return _Answer(404)
        told = {"access_token": MACHINE_TOKEN, "expires_in": 3599, "token_type": "Bearer"}
        return _Answer(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def _who(self, authorization: str) -> str | None:
        """The account that asks; None for nobody in particular."""
        if not authorization:
            return None
        token = authorization.removeprefix("Bearer ")
        if token == MACHINE_TOKEN:
            return EMAIL
        if token == READER_TOKEN:
            return READER
        try:
            head, claims, signature = token.split(".")
            self.key.public_key().verify(_decoded(signature), f"{head}.{claims}".encode(), PKCS1v15(), SHA256())
            told = json.loads(_decoded(head)) | json.loads(_decoded(claims))
        except (ValueError, InvalidSignature):
            told = {}
        right = (told.get("alg"), told.get("kid"), told.get("iss")) == ("RS256", KEY_ID, EMAIL)
        if not right or not told["iat"] - 60 <= time.time() < told["exp"] or "cloud-platform" not in told["scope"]:
            raise _No(401, "AuthenticationRequired", "Authentication required.")
        return EMAIL

    def _begin_or_add(self, asked: _Asked) -> _Answer:
        if asked.method == "POST":
            upload = uuid.uuid4().hex
            self._uploads[upload] = {}
            text = f"<Bucket>{asked.bucket}</Bucket><Key>{escape(asked.key)}</Key><UploadId>{upload}</UploadId>"
            return _Answer(200, _xml(f"<InitiateMultipartUploadResult>{text}</InitiateMultipartUploadResult>"))
        self._parts(asked)[int(asked.query["partNumber"])] = asked.body
        return _Answer(200, headers={"ETag": _md5(asked.body)})

    def _change(self, asked: _Asked, objects: dict[str, _Object]) -> _Answer:
        if asked.method == "DELETE" and "uploadId" in asked.query:
            self._parts(asked)
            del self._uploads[asked.query["uploadId"]]
            return _Answer(204)
        there = objects.get(asked.key)
        if asked.method == "DELETE" and there is None:
            raise _no_such_key(asked.key)
        self._check_rate(asked)
        condition = None if self.deaf else asked.headers.get(_CONDITION)
        if condition is not None and int(condition) != (there.generation if there else 0):
            raise _precondition(_CONDITION)
        self._changed[asked.bucket, asked.key] = time.monotonic()
        if asked.method == "DELETE":
            del objects[asked.key]
            return _Answer(204)
        body, whole = asked.body, asked.method == "PUT"
        if "uploadId" in asked.query:
            body = _assembled(self._parts(asked), asked.body)
            del self._uploads[asked.query["uploadId"]]
        copied = asked.headers.get("x-goog-copy-source")
        if copied is not None:
            bucket, _, key = unquote(copied).partition("/")
            body = _found(self._buckets.get(bucket, {}), key).data
        self._generation += 1
        etag = _md5(body) if whole else f'"{base64.b64encode(str(self._generation).encode()).decode()}"'
        made = objects[asked.key] = _Object(body, self._generation, etag, datetime.now(UTC))
        kind = "CopyObjectResult" if copied is not None else "CompleteMultipartUploadResult"
        told = b"" if whole and copied is None else _xml(f"<{kind}><ETag>{escape(etag)}</ETag></{kind}>")
        return _Answer(200, told, {"ETag": etag, "x-goog-generation": str(made.generation)})

    def _parts(self, asked: _Asked) -> dict[int, bytes]:
        try:
            return self._uploads[asked.query["uploadId"]]
        except KeyError:
            raise _No(404, "NoSuchUpload", "The requested upload was not found.") from None

    def _check_rate(self, asked: _Asked) -> None:
        since = time.monotonic() - self._changed.get((asked.bucket, asked.key), -1.0)
        if self.one_a_second and since < 1.0:
            told = "exceeded the rate limit for object mutation operations (create, update, and delete)."
            raise _No(429, "SlowDown", f"The object {told} Please reduce your request rate.")


def _check_known(asked: _Asked) -> None:
    strange = [n for n in asked.headers if n.startswith(("x-goog-", "if-")) and n not in _KNOWN_HEADERS]
    strange += [n for n in asked.query if n not in _KNOWN_QUERIES]
    if strange or (asked.method != "PUT" and _CONDITION in asked.headers):
        raise _No(400, "InvalidArgument", f"The stand-in does not know {asked.method} with {strange or _CONDITION}.")


def _check_allowed(asked: _Asked, who: str | None) -> None:
    reads = asked.method in ("GET", "HEAD")
    if who == EMAIL or (who == READER and reads):
        return
    verb = ("get" if asked.key else "list") if reads else "delete" if asked.method == "DELETE" else "create"
    right = f"storage.objects.{verb}"
    caller = who or "Anonymous caller"
    details = f"{caller} does not have {right} access to the Google Cloud Storage object. Permission '{right}' denied"
    raise _No(403, "AccessDenied", "Access denied.", f"{details} on resource (or it may not exist).")


def _listing(asked: _Asked, objects: Mapping[str, _Object]) -> _Answer:
    prefix, delimiter = asked.query.get("prefix", ""), asked.query.get("delimiter", "")
    after, found = asked.query.get("continuation-token", ""), dict[str, _Object | None]()
    for key in sorted(key for key in objects if key.startswith(prefix)):
        head, cut, _ = key.removeprefix(prefix).partition(delimiter) if delimiter else ("", "", "")
        name = f"{prefix}{head}{cut}" if cut else key
        if name > after:
            found.setdefault(name, None if cut else objects[key])
    page = list(found.items())[:PAGE]
    text = f"<IsTruncated>{str(len(page) < len(found)).lower()}</IsTruncated>"
    if len(page) < len(found):
        text += f"<NextContinuationToken>{escape(page[-1][0])}</NextContinuationToken>"
    for name, there in page:
        if there is None:
            text += f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"
            continue
        text += f"<Contents><Key>{escape(name)}</Key><Generation>{there.generation}</Generation>"
        text += (
            f"<LastModified>{there.modified.isoformat(timespec='milliseconds').replace('+00:00', 'Z')}</LastModified>"
        )
        text += f"<ETag>{escape(there.etag)}</ETag><Size>{len(there.data)}</Size></Contents>"
    return _Answer(200, _xml(f"<ListBucketResult>{text}</ListBucketResult>"))


def _reading(asked: _Asked, there: _Object) -> _Answer:
    if asked.headers.get("if-match", there.etag) != there.etag:
        raise _precondition("If-Match")
    told = {
        "ETag": there.etag,
        "Last-Modified": format_datetime(there.modified, usegmt=True),
        "x-goog-generation": str(there.generation),
        "x-goog-stored-content-length": str(len(there.data)),
    }
    asked_range = re.fullmatch(r"bytes=(\d+)-(\d*)", asked.headers.get("range", ""))
    if asked_range is None:
        return _Answer(200, there.data, told)
    start, end = int(asked_range[1]), min(int(asked_range[2] or len(there.data)) + 1, len(there.data))
    if start >= end:
        raise _No(416, "InvalidRange", "The requested range cannot be satisfied.")
    return _Answer(206, there.data[start:end], {**told, "Content-Range": f"bytes {start}-{end - 1}/{len(there.data)}"})


def _assembled(parts: Mapping[int, bytes], body: bytes) -> bytes:
    named = [(int(p.findtext("PartNumber", "")), p.findtext("ETag", "")) for p in ElementTree.fromstring(body)]
    if not named or named != [(n, _md5(parts[n])) for n, _ in named if n in parts] or named != sorted(named):
        raise _No(400, "InvalidPart", "One or more of the specified parts could not be found.")
    if any(len(parts[n]) < SMALLEST_PART for n, _ in named[:-1]):
        raise _No(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum object size allowed.")
    return b"".join(parts[n] for n, _ in named)


def _found(objects: Mapping[str, _Object], key: str) -> _Object:
    if key not in objects:
        raise _no_such_key(key)
    return objects[key]


def _no_such_key(key: str) -> _No:
    return _No(404, "NoSuchKey", "The specified key does not exist.", f"No such object: {key}")


def _precondition(name: str) -> _No:
    return _No(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold.", name)


def _md5(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _xml(text: str) -> bytes:
    return f"<?xml version='1.0' encoding='UTF-8'?>{text}".encode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _pem(key: RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def write_account(file: Path, key: RSAPrivateKey, **other: Any) -> Path:
    """The file of the service account, as Google's console hands it out, with a key."""
    told = {"type": "service_account", "client_email": EMAIL, "private_key_id": KEY_ID, "private_key": _pem(key)}
    file.write_text(json.dumps({**told, **other}))
    return file


def new_key() -> RSAPrivateKey:
    """A key as service accounts have them."""
    return generate_private_key(65537, 2048)


_key = cache(new_key)


@contextmanager
def gcs_server(folder: Path) -> Iterator[Gcs]:
    """One that is ended with the context; writes the account's file into the folder."""
    key = _key()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Answers wait for nobody's acknowledgement.
        wbufsize = -1
        disable_nagle_algorithm = True

        def _handle(self) -> None:
            parts = urlsplit(self.path)
            bucket, _, name = parts.path.removeprefix("/").partition("/")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            if f"/{bucket}/{name}" == _METADATA:
                query.clear()
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = server.answer(_Asked(self.command, unquote(bucket), unquote(name), query, headers, body))
            self.send_response(answer.status)
            for header, value in answer.headers.items():
                self.send_header(header, value)
            if answer.status != 204:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        server = Gcs(listening.server_address[1], write_account(folder / "account.json", key), key)
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()
