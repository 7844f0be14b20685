"""RapidJSON 1.1's reader, to the letter: what it takes, how it rounds, and its words and places for what it refuses.

Slow, because it is Python: for texts that a quicker parser refuses, or might read otherwise. The order of the checks is
that of rapidjson/reader.h, with its flags for NaN and Infinity and for ending after the first value.
"""

from __future__ import annotations

import json
import math
import re
import sys
from typing import Any, Final

MAX_DEPTH: Final = 500
"""RapidJSON goes down until its stack is used up, and the original ends then."""

_BLANKS: Final = re.compile(rb"[ \n\r\t]*")
_DIGITS: Final = re.compile(rb"[0-9]*")
_PLAIN: Final = re.compile(rb'[^"\\\x00-\x1f]*')
# Short numbers of an array, with the comma that promises another value: however they are rounded, they are the same.
_NUMBER: Final = rb"-?(?:0|[1-9][0-9]{0,7})(?:\.[0-9]{1,7})?"
_RUN: Final = re.compile(rb"(%b(?:[ \n\r\t]*,[ \n\r\t]*%b){0,1000})[ \n\r\t]*,[ \n\r\t]*" % (_NUMBER, _NUMBER))
_HEX: Final = re.compile(rb"[0-9A-Fa-f]*")
_ESCAPES: Final = {
    b'"': b'"', b"\\": b"\\", b"/": b"/", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t",
}  # fmt: skip
_LITERALS: Final[dict[bytes, tuple[bytes, Any]]] = {
    b"n": (b"null", None), b"t": (b"true", True), b"f": (b"false", False),
}  # fmt: skip
_TOO_BIG: Final = "Number too big to be stored in double."
_INVALID: Final = "Invalid value."


class Refused(Exception):
    """No JSON.

    Args:
        words: what is wrong, in RapidJSON's words.
        at: where, in bytes.
    """

    def __init__(self, words: str, at: int) -> None:
        super().__init__(f"{words} at offset: {at}")


def read(raw: bytes) -> Any:
    """The first value of a text. Of equal names in an object the first counts; strings may hold surrogate escapes.

    Raises:
        Refused: there is none.
        RecursionError: it is nested too deeply.
    """
    reader = _Reader(raw, 3 if raw.startswith(b"\xef\xbb\xbf") else 0)
    reader.blanks()
    if reader.peek() in (b"", b"\0"):
        raise Refused("The document is empty.", reader.at)
    return reader.value(0)


class _Reader:
    def __init__(self, raw: bytes, at: int) -> None:
        self.raw = raw
        self.at = at

    def peek(self) -> bytes:
        return self.raw[self.at : self.at + 1]

    def took(self, wanted: bytes) -> bool:
        """Go over one byte if it is this one."""
        if self.peek() == wanted:
            self.at += 1
            return True
        return False

    def blanks(self) -> None:
        self.at = _BLANKS.match(self.raw, self.at).end()  # type: ignore[union-attr]

    def value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise RecursionError
        first = self.peek()
        if first in _LITERALS:
            word, meant = _LITERALS[first]
            self.word(word)
            return meant
        if first == b'"':
            return self.string().decode("utf-8", errors="surrogateescape")
        if first == b"{":
            return self.object(depth)
        return self.array(depth) if first == b"[" else self.number()

    def word(self, word: bytes) -> None:
        for at in range(len(word)):
            if not self.took(word[at : at + 1]):
                raise Refused(_INVALID, self.at)

    def object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self.at += 1
        self.blanks()
        if self.took(b"}"):
            return found
        while True:
            if self.peek() != b'"':
                raise Refused("Missing a name for object member.", self.at)
            name = self.string().decode("utf-8", errors="surrogateescape")
            self.blanks()
            if not self.took(b":"):
                raise Refused("Missing a colon after a name of object member.", self.at)
            self.blanks()
            found.setdefault(name, self.value(depth + 1))
            self.blanks()
            if self.took(b"}"):
                return found
            if not self.took(b","):
                raise Refused("Missing a comma or '}' after an object member.", self.at)
            self.blanks()

    def array(self, depth: int) -> list[Any]:
        found: list[Any] = []
        self.at += 1
        self.blanks()
        if self.took(b"]"):
            return found
        while True:
            run = _RUN.match(self.raw, self.at) if depth < MAX_DEPTH else None
            if run is not None:
                found += json.loads(b"[" + run[1] + b"]")
                self.at = run.end()
            found.append(self.value(depth + 1))
            self.blanks()
            if self.took(b"]"):
                return found
            if not self.took(b","):
                raise Refused("Missing a comma or ']' after an array element.", self.at)
            self.blanks()

    def string(self) -> bytes:
        parts: list[bytes] = []
        self.at += 1
        while True:
            end = _PLAIN.match(self.raw, self.at).end()  # type: ignore[union-attr]
            parts.append(self.raw[self.at : end])
            self.at = end
            if self.took(b'"'):
                return b"".join(parts)
            if self.peek() != b"\\":
                words = (
                    "Missing a closing quotation mark" if self.peek() in (b"", b"\0") else "Invalid escape character"
                )
                raise Refused(f"{words} in string.", self.at)
            parts.append(self.escape())

    def escape(self) -> bytes:
        start = self.at
        self.at += 1
        escaped = _ESCAPES.get(self.peek())
        if escaped is not None:
            self.at += 1
            return escaped
        if not self.took(b"u"):
            raise Refused("Invalid escape character in string.", start)
        code = self.hex(start)
        if 0xD800 <= code <= 0xDBFF:
            if not (self.took(b"\\") and self.took(b"u")):
                raise Refused("The surrogate pair in string is invalid.", start)
            low = self.hex(start)
            if not 0xDC00 <= low <= 0xDFFF:
                raise Refused("The surrogate pair in string is invalid.", start)
            code = ((code - 0xD800) << 10 | (low - 0xDC00)) + 0x10000
        return chr(code).encode("utf-8", errors="surrogatepass")

    def hex(self, start: int) -> int:
        digits = self.raw[self.at : self.at + 4]
        if len(digits) < 4 or _HEX.fullmatch(digits) is None:
            raise Refused("Incorrect hex digit after \\u escape in string.", start)
        self.at += 4
        return int(digits, 16)

    def digits(self) -> bytes:
        start = self.at
        self.at = _DIGITS.match(self.raw, self.at).end()  # type: ignore[union-attr]
        return self.raw[start : self.at]

    def number(self) -> int | float:
        start = self.at
        minus = self.took(b"-")
        if self.peek() in (b"I", b"N"):
            return self.special(minus)
        if self.took(b"0"):
            whole = b"0"
        elif not (whole := self.digits()):
            raise Refused(_INVALID, self.at)
        fraction = exponent = b""
        exponent_minus = False
        if self.took(b"."):
            fraction = self.digits()
            if not fraction:
                raise Refused("Miss fraction part in number.", self.at)
        if self.took(b"e") or self.took(b"E"):
            exponent_minus = not self.took(b"+") and self.took(b"-")
            exponent = self.digits()
            if not exponent:
                raise Refused("Miss exponent in number.", self.at)
        value = number(minus, whole, fraction, -int(exponent[:9]) if exponent_minus else exponent)
        if value is None:
            raise Refused(_TOO_BIG, start)
        return value

    def special(self, minus: bool) -> float:
        if self.took(b"N"):
            self.word(b"aN")
            return math.nan
        self.word(b"Inf")
        if self.peek() == b"i":
            self.word(b"inity")
        return -math.inf if minus else math.inf


def number(minus: bool, whole: bytes, fraction: bytes, exponent: int | bytes) -> int | float | None:
    """The value of a number's parts, rounded as RapidJSON rounds without its flag for full precision.

    Args:
        minus: it is negative.
        whole: digits before the point.
        fraction: digits after it; may be empty.
        exponent: a number below 1, or digits; may be empty.

    Returns:
        None if it is too big.
    """
    if not fraction and exponent == b"":
        small = int(whole) if len(whole) <= 20 else 2**64
        if small <= (2**63 if minus else 2**64 - 1):
            return -small if minus else small
    # The integer part: exactly, as far as 64 bits hold it, then digit by digit.
    head = 0
    limit = 2**63 if minus else 2**64 - 1
    rest = b""
    for at in range(len(whole)):
        further = head * 10 + whole[at] - 48
        if further > limit:
            rest = whole[at:]
            break
        head = further
    value, shift, significant = float(head), 0, len(whole) - 1 - len(rest)
    for digit in rest:
        if value >= 1.7976931348623157e307:
            return None
        value = value * 10 + (digit - 48)
    if fraction:
        value, shift = _with_fraction(head, value, fraction, significant, exact=not rest)
    if isinstance(exponent, bytes) and exponent:
        # One digit is never too big; the others are looked at one by one.
        shown = int(exponent) if len(exponent) < 9 else 10**9
        if len(exponent) > 1 and shown > 308 - shift:
            return None
        power = shown
    else:
        power = exponent if isinstance(exponent, int) else 0
    value = _scaled(value, power + shift)
    if value < sys.float_info.min:
        value = 0.0  # the original's threads know no numbers below the normal ones
    return -value if minus else value


def _with_fraction(head: int, value: float, fraction: bytes, significant: int, *, exact: bool) -> tuple[float, int]:
    shift, at = 0, 0
    if exact:
        while at < len(fraction) and head <= 2**53 - 1:
            head = head * 10 + fraction[at] - 48
            at += 1
            shift -= 1
            if head:
                significant += 1
        value = float(head)
    for digit in fraction[at:]:
        if significant < 17:
            value = value * 10.0 + (digit - 48)
            shift -= 1
            if value > 0.0:
                significant += 1
    return value, shift


def _scaled(value: float, power: int) -> float:
    if power < -308:
        return _scaled_once(value / 1e308, power + 308)
    return _scaled_once(value, power)


def _scaled_once(value: float, power: int) -> float:
    if power < -308:
        return 0.0
    return value * float(f"1e{power}") if power >= 0 else value / float(f"1e{-power}")
