"""The thresholds that decide: those of the policy's mildest level, for each language. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from schemas.labels import CATEGORY_SLUGS
from worker.moderation.policies import MessageFields, Policy

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

    def shown(self, slug: str, language: str | None) -> float | None:
        """Return the threshold of a category with the fewest digits; None if the category is off or unknown."""
        if slug not in CATEGORY_SLUGS:
            return None
        value = self.of(language)[CATEGORY_SLUGS.index(slug)]
        return float(str(value)) if np.isfinite(value) else None

    def matrix(self, languages: Sequence[str | None]) -> NDArray[np.float32]:
        """Return the ``[N, L]`` thresholds of ``N`` texts."""
        return np.array([self.of(language) for language in languages], np.float32).reshape(-1, len(CATEGORY_SLUGS))


def thresholds_of(policy: Policy, languages: Iterable[str | None]) -> DecisionThresholds:
    """Return what a policy decides by about texts of which only the language is known.

    A rule that asks for another field, such as the channel, matches none of these texts.

    Args:
        policy: The policy.
        languages: The languages of the texts.
    """
    named = {language for language in languages if language is not None}
    resolved = {language: policy.resolve(MessageFields(language=language)) for language in named}
    return DecisionThresholds(
        version=policy.version,
        level=policy.levels[0] if policy.has_file else None,
        base=policy.values,
        by_language={language: one.thresholds[0] for language, one in resolved.items() if one.rule is not None},
    )
