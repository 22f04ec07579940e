"""The verdict itself: probabilities against thresholds. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from schemas import verdict
from schemas.labels import CATEGORY_SLUGS


class Judgement(NamedTuple):
    """What follows from one text's scores.

    Attributes:
        flags: ``[L]``: score > threshold.
        flagged: Whether any is.
        max_score: The greatest score.
        top: The index of the greatest score; of equal ones, the first in the card's order.
    """

    flags: list[bool]
    flagged: bool
    max_score: np.float32
    top: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Policy:
    """A threshold for each category, all float32: what is published is what was compared.

    Attributes:
        threshold: The general one.
        values: ``[L]``, in the card's order.
        fingerprint: The first 16 hexadecimal digits of the SHA-256 of ``values`` as little-endian float32:
            the same however they were written.
        version: What the team calls it; the fingerprint when it has no name.
    """

    threshold: np.float32
    values: NDArray[np.float32]
    fingerprint: str
    version: str

    @classmethod
    def of(
        cls, threshold: float = 0.5, thresholds: Mapping[str, float] | None = None, version: str | None = None
    ) -> Self:
        """A policy from settings: one threshold, and the categories (by slug) that have their own.

        Raises:
            ValueError: A slug that is none, or a threshold outside [0, 1].
        """
        thresholds = thresholds or {}
        if unknown := thresholds.keys() - set(CATEGORY_SLUGS):
            raise ValueError(f"no such category: {', '.join(sorted(unknown))}")
        if not all(0 <= value <= 1 for value in (threshold, *thresholds.values())):
            raise ValueError("a threshold is a number from 0 to 1")
        values = np.array([thresholds.get(slug, threshold) for slug in CATEGORY_SLUGS], np.float32)
        values.flags.writeable = False
        fingerprint = hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()[:16]
        return cls(
            threshold=np.float32(threshold),
            values=values,
            fingerprint=fingerprint,
            version=version or fingerprint,
        )

    @property
    def document(self) -> verdict.PolicyJson:
        """As it is published."""
        thresholds = dict(zip(CATEGORY_SLUGS, self.values, strict=True))
        return {
            "version": self.version,
            "threshold": self.threshold,
            "thresholds": {slug: value for slug, value in thresholds.items() if value != self.threshold},
        }

    def judge(self, scores: NDArray[np.float32]) -> list[Judgement]:
        """A judgement per row of ``[B, L]`` probabilities, by array operations over the whole batch."""
        flags = scores > self.values
        columns = (flags.tolist(), flags.max(axis=1).tolist(), scores.max(axis=1), scores.argmax(axis=1).tolist())
        return [Judgement(*row) for row in zip(*columns, strict=True)]
