"""What a policy decides about one message, for outputs and metrics. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.labels import CATEGORY_SLUGS
from schemas.verdict import ShadowJson
from worker.moderation.policies.policy import Decisions, Policy
from worker.moderation.policies.resolutions import Resolution
from worker.reported import CandidateLabels, ShadowOutcome, VerdictLabels
from worker.scores import Scores


class Decision(NamedTuple):
    """What a policy decides about one message.

    Attributes:
        resolution: What the policy says about messages like this one.
        flags: For each of the ``L`` categories, whether it reaches the mildest level.
        level: Index of the highest level reached; -1: none.
        level_name: Name of the highest level reached; None: none.
        max_score: The highest score, in [0, 1].
        top: Index of the highest score; the first in the card's order when several are equal.
        shadow: The candidates that decide differently: another ``flagged``, or another level.
        candidates: What metrics count of each candidate.
    """

    resolution: Resolution
    flags: list[bool]
    level: int
    level_name: str | None
    max_score: np.float32
    top: int
    shadow: Sequence[ShadowJson] = ()
    candidates: Sequence[CandidateLabels] = ()

    @property
    def flagged(self) -> bool:
        """Whether any category is flagged."""
        return self.level >= 0

    @property
    def categories(self) -> list[str]:
        """The slugs of the flagged categories, in the card's order."""
        return [slug for slug, flag in zip(CATEGORY_SLUGS, self.flags, strict=True) if flag]

    def labels(self, allowed: str | None, *, is_harmless: bool = False) -> VerdictLabels | None:
        """Return what metrics count of the verdict; None without a policy file.

        Exemptions and allowed texts apply to the candidates too. So on such a message a candidate changes nothing,
        and counts as one that agrees.

        Args:
            allowed: Name of the entry of allowed texts that withheld the alert.
            is_harmless: Whether an entry of allowed texts covers all that the policy and its candidates flag.
        """
        shared = self.resolution.labels
        if shared is None or not (self.flagged or self.shadow):
            return shared
        return VerdictLabels(
            level=self.level_name,
            rule=shared.rule,
            exempt=shared.exempt,
            allowed=allowed,
            categories=self.categories,
            candidates=shared.candidates if is_harmless or shared.exempt else self.candidates,
        )


def decide_each(policy: Policy, scores: NDArray[np.float32], resolutions: Sequence[Resolution]) -> list[Decision]:
    """Return a decision for each row of ``[B, L]`` probabilities."""
    made = policy.decide(scores, resolutions)
    names: dict[int, str | None] = {-1: None, **dict(enumerate(policy.levels))}
    columns = zip(
        resolutions,
        made.flags.tolist(),
        made.levels.tolist(),
        scores.max(axis=1),
        scores.argmax(axis=1).tolist(),
        strict=True,
    )
    decisions = [
        Decision(resolution, flags, level, names[level], max_score, top)
        for resolution, flags, level, max_score, top in columns
    ]
    if not policy.candidates:
        return decisions
    return [_with_shadow(one, index, policy.candidates, made, names) for index, one in enumerate(decisions)]


def allowed_by(policy: Policy, decision: Decision, scores: Scores, text: str) -> str | None:
    """Return the name of the first entry of allowed texts that withholds a message's alert; None if none does.

    An entry withholds the alert if the message would raise none without the entry's categories.

    Args:
        policy: The policy.
        decision: A decision that would raise an alert.
        scores: ``[L]`` probabilities.
        text: The whole text.
    """
    for entry in decision.resolution.allow:
        if text in entry.texts:
            others = np.where(entry.categories, np.float32(0), scores)
            reached = (others > decision.resolution.thresholds[policy.alert_level]).any()
            if not reached:
                return entry.name
    return None


def _with_shadow(
    decision: Decision, index: int, candidates: Sequence[str], made: Decisions, names: dict[int, str | None]
) -> Decision:
    shadow: list[ShadowJson] = []
    labels = []
    own = set(decision.categories)
    columns = zip(
        candidates, made.shadow_flags[:, index].tolist(), made.shadow_levels[:, index].tolist(), strict=True
    )
    for name, flags, level in columns:
        theirs = {slug for slug, flag in zip(CATEGORY_SLUGS, flags, strict=True) if flag}
        if level != decision.level:
            shadow.append({"name": name, "flagged": level >= 0, "level": names[level]})
        labels.append(
            CandidateLabels(
                name,
                _outcome(decision.level, level),
                agreed=tuple(sorted(own & theirs)),
                newly_flagged=tuple(sorted(theirs - own)),
                newly_passed=tuple(sorted(own - theirs)),
            )
        )
    return decision._replace(shadow=shadow, candidates=labels)


def _outcome(level: int, candidates_level: int) -> ShadowOutcome:
    if level == candidates_level:
        return ShadowOutcome.AGREE
    if level < 0:
        return ShadowOutcome.NEWLY_FLAGGED
    return ShadowOutcome.NEWLY_PASSED if candidates_level < 0 else ShadowOutcome.OTHER_LEVEL
