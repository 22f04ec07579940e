"""Compare probabilities with thresholds. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from schemas import verdict
from schemas.labels import CATEGORY_SLUGS


class Judgement(NamedTuple):
    """The judgement of one text.

    Attributes:
        flags: For each of the ``L`` categories, whether its score is above its threshold.
        flagged: Whether any category is flagged.
        max_score: The highest score, in [0, 1].
        top: Index of the highest score; the first in the card's order when several are equal.
    """

    flags: list[bool]
    flagged: bool
    max_score: np.float32
    top: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Policy:
    """A threshold for each category.

    Thresholds are float32 like the scores. So the published scores and thresholds reproduce the published flags.

    Attributes:
        threshold: The general threshold, in [0, 1].
        values: ``[L]`` thresholds in the card's order, in [0, 1].
        fingerprint: The first 16 hexadecimal digits of the SHA-256 of ``values`` as little-endian float32. It does
            not depend on how the settings write the thresholds.
        version: The team's name of the policy; the fingerprint when the team gives no name.
    """

    threshold: np.float32
    values: NDArray[np.float32]
    fingerprint: str
    version: str

    @classmethod
    def of(
        cls, threshold: float = 0.5, thresholds: Mapping[str, float] | None = None, version: str | None = None
    ) -> Self:
        """Return a policy from settings.

        Args:
            threshold: The general threshold, in [0, 1].
            thresholds: Category slug to its own threshold, in [0, 1].
            version: The team's name of the policy.

        Raises:
            ValueError: A slug is not a category's, or a threshold is outside [0, 1].
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
        """The policy as it is published."""
        thresholds = dict(zip(CATEGORY_SLUGS, self.values, strict=True))
        return {
            "version": self.version,
            "threshold": self.threshold,
            "thresholds": {slug: value for slug, value in thresholds.items() if value != self.threshold},
        }

    def judge(self, scores: NDArray[np.float32]) -> list[Judgement]:
        """Return a judgement for each row of ``[B, L]`` probabilities."""
        flags = scores > self.values
        columns = (flags.tolist(), flags.max(axis=1).tolist(), scores.max(axis=1), scores.argmax(axis=1).tolist())
        return [Judgement(*row) for row in zip(*columns, strict=True)]
