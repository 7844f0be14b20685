"""HTTP/1.1 as libevent reads and writes it, which the original's REST server is made of: bytes in, requests out.

Rules, texts and their order are those of libevent's http.c (2.1): bare line feeds, folded headers, header names that
are none and repeated lengths pass (the first counts); a request line with surplus blanks, a path that RFC 3986 does
not allow and a broken length are answered with a page of HTML, and the connection ends. Opens no socket.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

HEAD_BYTES: Final = 2**20
"""The original takes heads of any size."""

BODY_BYTES: Final = 2**31 - 1
"""As much as gRPC takes; the original takes bodies of any size."""

ALLOWED: Final = frozenset({"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"})
"""util/net_http/server/internal/evhttp_server.cc."""

REASONS: Final[Mapping[int, str]] = {
    100: "Continue", 200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    409: "Conflict", 413: "Request Entity Too Large", 417: "Expectation Failed", 429: "Client Error",
    499: "Client Error", 500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable",
    504: "Gateway Time-out",
}  # fmt: skip

CACHED_BYTES: Final = 2048

CONTINUE: Final = b" 100 Continue\r\n\r\n"

_HTML: Final = "text/html"
_VERSION: Final = re.compile(r"HTTP/([+-]?\d{1,9})\.([+-]?\d{1,9})\Z", re.ASCII)
_LENGTH: Final = re.compile(r"[ \t]*\+?(\d+)\Z", re.ASCII)
_CHUNK: Final = re.compile(rb"[ \t]*\+?(?:0[xX])?([0-9a-fA-F]+)(?: .*)?\Z", re.DOTALL)
_PLAIN: Final = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*"
_QUERY: Final = _PLAIN.replace("@/]", "@/?]")  # one class: a repetition of repetitions takes for ever to say no
_TARGET: Final = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):)?"
    r"(?://(?P<authority>[A-Za-z0-9\-._~!$&'()*+,;=:@%\[\]]*)(?=[/?#]|\Z))?"
    rf"(?P<rest>(?P<path>{_PLAIN})(?:\?{_QUERY})?(?:\#{_QUERY})?)\Z"
)


class Refused(Exception):
    """What came is no request; the page says so, and the connection has to be closed after it.

    Args:
        code: the HTTP status.
    """

    def __init__(self, code: int) -> None:
        super().__init__(REASONS[code])
        self.code = code


@dataclass(slots=True)
class Request:
    """One request, whole.

    Attributes:
        method: as it came.
        path: with query and fragment, without scheme and host.
        headers: name in small letters -> first value; never changed.
        body: as it came, chunks joined.
        version: for the answer's first line, such as ``HTTP/1.1``.
        keeps: the connection stays open after the answer.
        silent: it closes without saying so in the answer.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""
    version: str = "HTTP/1.1"
    keeps: bool = True
    silent: bool = False

    def with_body(self, body: bytes) -> Request:
        """The same request, with what came after its head."""
        return Request(self.method, self.path, self.headers, body, self.version, self.keeps, self.silent)


class Reader:
    """Reads the requests of one connection, one after the other."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._request: Request | None = None
        self._first_line_stands = False
        self._missing = 0
        self._chunks: bytearray | None = None
        self._in_trailer = False

    def feed(self, data: bytes) -> None:
        """Add what came."""
        self._buffer += data

    def __len__(self) -> int:
        """How many bytes wait here."""
        return len(self._buffer)

    @property
    def between(self) -> bool:
        """Whether nothing of a next request is here."""
        return self._request is None and not self._buffer

    @property
    def awaits_continue(self) -> bool:
        """Whether the client waits for ``100 Continue`` before it sends the body."""
        request = self._request
        return (
            request is not None and not self._buffer and "expect" in request.headers and request.version >= "HTTP/1.1"
        )

    def take(self) -> Request | None:
        """The next request; None when more has to come first.

        Raises:
            Refused: what came is no request.
        """
        if self._request is None:
            found = self._head()
            if found is None:
                return None
            self._request = _read_head(found) if len(found) > CACHED_BYTES else _cached_head(found)
            self._first_line_stands = False
            if self._request.method in ALLOWED:
                self._prepare_body(self._request)
        request = self._request
        if self._chunks is not None:
            if not self._chunked(self._chunks):
                return None
            request = request.with_body(bytes(self._chunks))
        elif self._missing:
            if len(self._buffer) < self._missing:
                return None
            request = request.with_body(self._bytes(self._missing))
        self._request, self._missing, self._chunks, self._in_trailer = None, 0, None, False
        if request.method not in ALLOWED:
            raise Refused(501)
        return request

    def _bytes(self, count: int) -> bytes:
        with memoryview(self._buffer) as view:
            taken = bytes(view[:count])
        del self._buffer[:count]
        return taken

    def _head(self) -> bytes | None:
        """A whole head, without the empty line that ends it."""
        buffer = self._buffer
        end = buffer.find(b"\n\r\n")
        bare = buffer.find(b"\n\n", 0, end if end >= 0 else len(buffer))
        if bare >= 0:
            return self._bytes(bare + 2)[:-2]
        if end >= 0:
            return self._bytes(end + 3)[:-3]
        if not self._first_line_stands and (first := buffer.find(b"\n")) >= 0:
            # A first line that is none is answered at once, whatever follows.
            _first_line(buffer[:first].decode("latin-1").removesuffix("\r"))
            self._first_line_stands = True
        if len(buffer) > HEAD_BYTES:
            raise Refused(400)
        return None

    def _prepare_body(self, request: Request) -> None:
        headers = request.headers
        if headers.get("transfer-encoding", "").lower() == "chunked":
            if "content-length" in headers:
                raise Refused(400)
            self._chunks = bytearray()
        elif "content-length" in headers:
            length = _LENGTH.match(headers["content-length"])
            if length is None:
                raise Refused(400)
            digits = length[1].lstrip("0") or "0"
            # Python reads no number of thousands of digits.
            if len(digits) > len(str(BODY_BYTES)) or int(digits) > BODY_BYTES:
                raise Refused(413)
            self._missing = int(digits)
        if (self._missing or self._chunks is not None) and request.version >= "HTTP/1.1":
            expected = headers.get("expect")
            if expected is not None and expected.lower() != "100-continue":
                raise Refused(417)

    def _chunked(self, chunks: bytearray) -> bool:
        """Whether all chunks and the trailer are there."""
        buffer = self._buffer
        while not self._in_trailer:
            if self._missing:
                if len(buffer) < self._missing:
                    return False
                chunks += self._bytes(self._missing)
                self._missing = 0
            line = self._line()
            if line is None:
                return False
            if not line:
                continue
            size = _CHUNK.match(line)
            if size is None:
                raise Refused(400)
            self._missing = int(size[1], 16)
            if self._missing + len(chunks) > BODY_BYTES:
                raise Refused(413)
            self._in_trailer = not self._missing
        while (line := self._line()) is not None:
            if not line:
                return True
            if b":" not in line and line[:1] not in (b" ", b"\t"):
                raise Refused(400)
        return False

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\n")
        if end < 0:
            if len(self._buffer) > HEAD_BYTES:
                raise Refused(400)
            return None
        return self._bytes(end + 1)[:-1].removesuffix(b"\r")


def _read_head(raw: bytes) -> Request:
    lines = raw.decode("latin-1").split("\n")
    method, path, version, proxied = _first_line(lines[0].removesuffix("\r"))
    headers = _headers(lines[1:])
    connection = headers.get("connection", "").lower()
    if proxied:
        keeps = headers.get("proxy-connection", "").lower() == "keep-alive"
    elif version < "HTTP/1.1":
        keeps = connection.startswith("keep-alive")
    else:
        keeps = connection != "close"
    return Request(method, path, headers, version=version, keeps=keeps, silent=proxied)


# A client sends the same head again and again.
_cached_head = lru_cache(maxsize=512)(_read_head)


def _first_line(line: str) -> tuple[str, str, str, bool]:
    """Method, path, version, and whether it is meant for a proxy."""
    words = line.split(" ")
    if len(words) != 3:
        raise Refused(400)
    method, target, version = words
    numbers = _VERSION.match(version)
    if numbers is None or int(numbers[1]) > 1:
        raise Refused(400)
    if method not in ALLOWED:
        # That is said when the head has been read, before anybody looks at the path.
        return method, target, version, False
    found = _TARGET.match(target)
    if found is None:
        raise Refused(400)
    if found["scheme"] is None and found["authority"] is None and ":" in found["path"].partition("/")[0]:
        raise Refused(400)
    proxied = (found["scheme"] or "").lower() in ("http", "https") and found["authority"] is not None
    return method, found["rest"], version, proxied


def _headers(lines: Iterable[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    last = ""
    for line in lines:
        if line.endswith("\r"):
            line = line[:-1]
        name, colon, value = line.partition(":")
        if line[:1] in (" ", "\t"):
            if not last:
                raise Refused(400)
            headers[last] += " " + line.strip(" \t")
            continue
        if not colon or "\r" in line:
            raise Refused(400)
        last = name.lower()
        if last not in headers:
            headers[last] = value.lstrip(" ").rstrip(" \t")
        elif last:
            last = f"{last} again"  # what is folded into it is not the first one's
            headers[last] = ""
    return headers


def head(
    request: Request, code: int, content_type: str, length: int, date: str, headers: Iterable[tuple[str, str]] = ()
) -> bytes:
    """The head of an answer.

    Args:
        request: what is answered.
        code: the HTTP status.
        content_type: of the body; empty for the one that libevent adds by itself.
        length: of the body, in bytes.
        date: now, as RFC 1123 writes it.
        headers: more of them, in their order.
    """
    lines = [f"{request.version} {code} {REASONS.get(code, 'Unknown')}"]
    if content_type:
        lines.append(f"Content-Type: {content_type}")
    lines += [f"{name}: {value}" for name, value in headers]
    modern = request.version >= "HTTP/1.1"
    if modern:
        lines.append(f"Date: {date}")
    elif request.keeps and request.version == "HTTP/1.0":
        lines.append("Connection: keep-alive")
    if (modern or request.keeps) and request.method != "HEAD":
        lines.append(f"Content-Length: {length}")
    if not content_type:
        lines.append("Content-Type: text/html; charset=ISO-8859-1")
    if modern and not request.keeps and not request.silent and "Connection: close" not in lines:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def html(code: int) -> str:
    """The body of an error page."""
    reason = REASONS[code]
    return f"<HTML><HEAD>\n<TITLE>{code} {reason}</TITLE>\n</HEAD><BODY>\n<H1>{reason}</H1>\n</BODY></HTML>\n"


def page(refused: Refused, date: str, version: str = "HTTP/1.1") -> bytes:
    """The whole answer to what is no request, or to a path that nobody knows; the connection ends after it."""
    body = html(refused.code)
    reason = REASONS[refused.code]
    return (
        f"{version} {refused.code} {reason}\r\nContent-Type: {_HTML}\r\nConnection: close\r\nDate: {date}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode("latin-1")
