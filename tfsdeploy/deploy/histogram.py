"""Latencies as bars of text: logarithmic buckets, because the slowest one in a hundred is what matters."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

BAR = 40
PER_DOUBLING = 2
"""Buckets for each factor of two."""


def bars(seconds: Iterable[float]) -> list[str]:
    """One line a bucket, from the fastest to the slowest: its upper bound, its bar, how many."""
    counts = Counter(math.ceil(PER_DOUBLING * math.log2(max(value, 1e-6) * 1000)) for value in seconds)
    if not counts:
        return []
    most = max(counts.values())
    lines = []
    for bucket in range(min(counts), max(counts) + 1):
        number = counts[bucket]
        # At least a sliver: a single slow request must be seen beside thousands of fast ones.
        width = max(1, round(BAR * number / most)) if number else 0
        lines.append(f"≤ {2 ** (bucket / PER_DOUBLING):>8.2f} ms  {'█' * width:<{BAR}}  {number}")
    return lines
