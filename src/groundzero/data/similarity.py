"""How alike texts are: hashes of all windows of a text at once, sketches of them, and pairs that are nearly the same.

Works on arrays of numbers: code points of text, or token ids.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

SKETCH = 128
_SHINGLE_LOG2 = 4  # shingles of 16 characters
_KEYS = 8  # smallest hashes by which pairs are looked for
_BUCKET = 32  # most earlier documents tried per key


def code_points(text: str) -> npt.NDArray[np.uint32]:
    """The characters of a text as numbers."""
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype="<u4")


def window_hashes(numbers: npt.NDArray[np.integer], log2_width: int) -> Hashes:
    """A 64-bit hash of every window of 2^log2_width numbers, by doubling; empty where the text is shorter."""
    hashes = numbers.astype(np.uint64) + np.uint64(1)
    for level in range(log2_width):
        half = 1 << level
        if len(hashes) <= half:
            return np.empty(0, dtype=np.uint64)
        # Odd multipliers from splitmix64's increments; arrays wrap around silently.
        factor = np.uint64((0x9E3779B97F4A7C15 * (2 * level + 1)) % 2**64 | 1)
        hashes = hashes[:-half] * factor + (hashes[half:] ^ (hashes[half:] >> np.uint64(29)))
    hashes = (hashes ^ (hashes >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    return np.asarray(hashes ^ (hashes >> np.uint64(32)))


def sketch(numbers: npt.NDArray[np.integer]) -> Hashes:
    """The 128 smallest hashes of a text's shingles, ascending (bottom-k sketch, Broder 1997); empty for short texts."""
    # Sorting and comparing neighbours: np.unique takes 25 times as long on a quarter of a million hashes.
    hashes = np.sort(window_hashes(numbers, _SHINGLE_LOG2))
    return hashes[np.append(hashes[1:] != hashes[:-1], True)][:SKETCH] if len(hashes) else hashes


def resemblance(a: Hashes, b: Hashes) -> float:
    """Estimated Jaccard similarity of the shingles behind two sketches, in [0, 1]."""
    if not len(a) or not len(b):
        return 0.0
    union = np.union1d(a, b)[:SKETCH]
    shared = np.intersect1d(a, b, assume_unique=True)
    return float(np.isin(union, shared, assume_unique=True).mean())


def near_pairs(sketches: Sequence[Hashes], threshold: float) -> list[tuple[int, int, float]]:
    """Pairs (earlier, later, resemblance) at or above the threshold.

    A pair is looked at when it shares two of its 8 smallest hashes, which texts 80% alike hardly ever do not. Of each
    text only the best pair with an earlier one is kept, so a text that is copied a hundred times gives a hundred pairs,
    not five thousand.
    """
    buckets: dict[int, list[int]] = defaultdict(list)
    pairs = []
    for index, own in enumerate(sketches):
        keys = own[:_KEYS].tolist()
        shared = Counter(other for key in keys for other in buckets[key])
        candidates = [other for other, count in shared.items() if count >= min(2, len(keys))]
        scored = [(resemblance(sketches[other], own), -other) for other in candidates]
        best, other = max(scored, default=(0.0, 0))
        if best >= threshold:
            pairs.append((-other, index, best))
        for key in keys:
            if len(buckets[key]) < _BUCKET:
                buckets[key].append(index)
    return pairs
