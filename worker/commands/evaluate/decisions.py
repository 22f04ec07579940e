"""The thresholds that decide: those of the policy's mildest level, for each language. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from schemas.labels import CATEGORY_SLUGS

OFF = np.float32(np.inf)
"""The threshold of a category that is off: no score is greater."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecisionThresholds:
    """Thresholds of the categories.

    Attributes:
        version: The policy's version.
        level: The mildest level of the policy; None without a policy file.
        base: ``[L]`` thresholds of a text whose language has no rule, in [0, 1] or ``OFF``.
        by_language: The thresholds of each language that has a rule.
    """

    version: str
    level: str | None = None
    base: NDArray[np.float32]
    by_language: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def of(self, language: str | None) -> NDArray[np.float32]:
        """Return the ``[L]`` thresholds of a text in this language."""
        return self.base if language is None else self.by_language.get(language, self.base)

    def matrix(self, languages: Sequence[str | None]) -> NDArray[np.float32]:
        """Return the ``[N, L]`` thresholds of ``N`` texts."""
        return np.array([self.of(language) for language in languages], np.float32).reshape(-1, len(CATEGORY_SLUGS))
