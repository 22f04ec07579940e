"""Which share of the tokens to score one key has: whether one channel dominates. Pure: time is an argument.

No key is kept. A key's tokens are counted in the bucket of the key's hash, so the memory is that of ``BUCKETS``
numbers. Keys that share a bucket count as one, so the share can be too great, and never too small. With many small
keys it is too great by ``1 / BUCKETS`` = 0.001 on average. Python hashes bytes with a secret of the process, so no
sender can choose keys that share a bucket. Tokens of messages without a key count only in the sum.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

BUCKETS = 1024
HALF_LIFE_NS = 60 * 10**9
"""Time after which tokens count half."""
TOKENS_MIN = 10_000
"""Below this number of tokens there is no share: 20 texts of 512 tokens are then too much for one share."""


class _Latest(NamedTuple):
    """The counts at the last batch. ``share`` is the greatest bucket's, in [0, 1]."""

    share: float
    tokens: float
    at_ns: int


class KeyShare:
    """The decaying number of tokens of each bucket. One thread adds, and any thread reads."""

    def __init__(self) -> None:
        self._buckets = np.zeros(BUCKETS)
        self._latest = _Latest(0.0, 0.0, 0)

    def add(self, keys: Sequence[bytes | None], tokens: Sequence[int], now_ns: int) -> None:
        """Count the tokens to score of messages.

        Args:
            keys: ``[N]`` keys of the messages' records; None: no key.
            tokens: ``[N]`` tokens to score of each message.
            now_ns: Present time, by the monotonic clock.
        """
        kept = _kept(now_ns - self._latest.at_ns)
        numbers = np.fromiter(map(hash, keys), np.int64, len(keys)) % BUCKETS
        counts = np.fromiter(tokens, np.float64, len(tokens))
        total = self._latest.tokens * kept + float(counts.sum())
        if None in keys:
            counts *= [key is not None for key in keys]
        self._buckets = self._buckets * kept + np.bincount(numbers, counts, BUCKETS)
        self._latest = _Latest(float(self._buckets.max()) / total if total else 0.0, total, now_ns)

    def greatest(self, now_ns: int) -> float | None:
        """Return the greatest share, in [0, 1]; None below ``TOKENS_MIN`` tokens of the last minutes."""
        share, tokens, at_ns = self._latest
        return share if tokens * _kept(now_ns - at_ns) >= TOKENS_MIN else None


def _kept(passed_ns: int) -> float:
    """Return the weight that tokens have left after this time."""
    return float(0.5 ** (passed_ns / HALF_LIFE_NS))
