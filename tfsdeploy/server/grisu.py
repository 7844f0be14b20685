"""Decimal digits of a double as RapidJSON 1.1 finds them: Grisu2, which is not always the nearest of the shortest.

Its digits are in the original's error texts. Names follow rapidjson/internal/dtoa.h and diyfp.h.
"""

from __future__ import annotations

import struct
from functools import lru_cache

_HIDDEN = 1 << 52
_MASK = 2**64 - 1


def digits(value: float) -> tuple[str, int]:
    """Digits and exponent: ``value`` is about ``int(digits) * 10 ** exponent``.

    Args:
        value: above zero and finite.
    """
    f, e = _parts(value)
    plus_f, plus_e = _normalized((f << 1) + 1, e - 1)
    minus_f, minus_e = ((f << 2) - 1, e - 2) if f == _HIDDEN else ((f << 1) - 1, e - 1)
    minus_f <<= minus_e - plus_e
    power_f, power_e, exponent = _cached_power(plus_e)
    w, _ = _normalized(f, e)
    w, high, low = (_product(factor, power_f) for factor in (w, plus_f, minus_f))
    high -= 1
    return _generated(w, high, plus_e + power_e + 64, high - (low + 1), exponent)


def _parts(value: float) -> tuple[int, int]:
    (bits,) = struct.unpack("<Q", struct.pack("<d", value))
    biased, significand = bits >> 52 & 0x7FF, bits & (_HIDDEN - 1)
    return (significand + _HIDDEN, biased - 1075) if biased else (significand, -1074)


def _normalized(f: int, e: int) -> tuple[int, int]:
    shift = 64 - f.bit_length()
    return f << shift, e - shift


def _product(a: int, b: int) -> int:
    return (a * b + (1 << 63)) >> 64


@lru_cache(maxsize=128)
def _cached_power(e: int) -> tuple[int, int, int]:
    """A power of ten of 64 bits, its binary exponent, and the decimal exponent that it takes away."""
    dk = (-61 - e) * 0.30102999566398114 + 347
    k = int(dk) + (dk - int(dk) > 0.0)
    power = -348 + ((k >> 3) + 1) * 8
    top, bottom = 10 ** max(power, 0), 10 ** max(-power, 0)
    exponent = top.bit_length() - bottom.bit_length() - 64
    f = _divided(top, bottom, exponent)
    if f.bit_length() < 64:
        exponent -= 1
        f = _divided(top, bottom, exponent)
    return f, exponent, -power


def _divided(top: int, bottom: int, exponent: int) -> int:
    """``top / bottom / 2**exponent``, rounded."""
    top <<= max(-exponent, 0)
    bottom <<= max(exponent, 0)
    return (2 * top + bottom) // (2 * bottom)


def _generated(w: int, high: int, e: int, delta: int, exponent: int) -> tuple[str, int]:
    one = 1 << -e
    distance = high - w
    whole, rest = high >> -e, high & (one - 1)
    found: list[int] = []
    kappa = len(str(whole)) if whole else 1
    while kappa > 0:
        kappa -= 1
        digit, whole = divmod(whole, 10**kappa)
        if digit or found:
            found.append(digit)
        left = (whole << -e) + rest
        if left <= delta:
            return _rounded(found, delta, left, 10**kappa << -e, distance), exponent + kappa
    while True:
        rest *= 10
        delta *= 10
        digit, rest = rest >> -e, rest & (one - 1)
        if digit or found:
            found.append(digit)
        kappa -= 1
        if rest < delta:
            # Its table of powers ends after nine: from there on nothing is rounded.
            scaled = distance * 10**-kappa & _MASK if -kappa < 9 else 0
            return _rounded(found, delta, rest, one, scaled), exponent + kappa


def _rounded(found: list[int], delta: int, rest: int, ten_kappa: int, distance: int) -> str:
    while (
        rest < distance
        and delta - rest >= ten_kappa
        and (rest + ten_kappa < distance or distance - rest > rest + ten_kappa - distance)
    ):
        found[-1] -= 1
        rest += ten_kappa
    return "".join(map(str, found))
