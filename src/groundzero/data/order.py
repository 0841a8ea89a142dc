"""The order of an epoch, without holding it: a keyed permutation that is computed where it is asked for.

A shuffled list of windows needs memory, and NumPy does not promise that its generators shuffle alike in the next
release. A Feistel network over a rectangle of a x b >= n cells is a bijection for any round function, needs neither,
and gives the same order on every machine for ever, so that a run resumes exactly.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]

# Four rounds make a Feistel network indistinguishable from a random permutation (Luby & Rackoff 1988) when the round
# function is; splitmix64 is not quite, and two more rounds cost 10 us a batch of 64.
_ROUNDS = 6


def permute(indices: Indices, n: int, key: int) -> Indices:
    """Where each of `indices` in [0, n) goes in the permutation of n that `key` (64 bits) names."""
    assert n > 0
    a = math.isqrt(n - 1) + 1
    b = -(-n // a)
    keys = [mix(key + round_) for round_ in range(_ROUNDS)]
    result = _feistel(np.asarray(indices, dtype=np.uint64), a, b, keys)
    # The rectangle has fewer than a cells beyond n: walk on along the cycle until inside (Black & Rogaway 2002).
    while (outside := result >= n).any():
        result[outside] = _feistel(result[outside], a, b, keys)
    return result.astype(np.int64)


def mix(value: int) -> int:
    """Splitmix64's finaliser (Steele et al. 2014): 64 bits in, 64 well-mixed bits out."""
    return int(_mix(np.array([value % 2**64], dtype=np.uint64))[0])


def _feistel(cells: npt.NDArray[np.uint64], a: int, b: int, keys: list[int]) -> npt.NDArray[np.uint64]:
    left, right = np.divmod(cells, np.uint64(b))
    for round_, key in enumerate(keys):
        if round_ % 2 == 0:
            left = (left + _mix(right ^ np.uint64(key)) % np.uint64(a)) % np.uint64(a)
        else:
            right = (right + _mix(left ^ np.uint64(key)) % np.uint64(b)) % np.uint64(b)
    return left * np.uint64(b) + right


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    # Arrays wrap around silently; scalars would warn.
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
