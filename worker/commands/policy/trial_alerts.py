"""Which messages would raise an alert, and for which only the text, which no verdict has, would tell."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from worker.commands.policy.trial import NewDecisions
from worker.commands.policy.trial_report import TriedAlerts
from worker.moderation.policies.policy import Policy
from worker.moderation.policies.resolutions import AllowEntry, Resolution


class AlertTally:
    """Counts the alerts that a policy would raise, before they are coalesced.

    Args:
        policy: The policy that is tried.
    """

    def __init__(self, policy: Policy) -> None:
        self._alert_level = policy.alert_level
        self._counts: Counter[str] = Counter()
        self._lengths: dict[frozenset[str], frozenset[int]] = {}

    def add(self, new: NewDecisions) -> None:
        """Count the flagged messages that the policy can decide about."""
        for row in np.flatnonzero(new.decided & (new.levels >= 0)).tolist():
            resolution = new.resolutions[row]
            if resolution.exempt is not None:
                outcome = "exempt"
            elif new.levels[row] < self._alert_level:
                outcome = "below_level"
            elif resolution.allow and self._may_be_allowed(
                resolution, new.columns.scores[row], new.columns.characters[row]
            ):
                outcome = "undecided"
            else:
                outcome = "raised"
            self._counts[outcome] += 1

    def report(self) -> TriedAlerts:
        """Return the counts."""
        return TriedAlerts(**{name: self._counts[name] for name in TriedAlerts.model_fields})

    def _may_be_allowed(self, resolution: Resolution, scores: NDArray[np.float32], characters: int) -> bool:
        """Return whether an entry has a text of this length, and would keep the message from raising an alert."""
        return any(
            characters in self._lengths_of(entry)
            and not (scores > resolution.thresholds[self._alert_level])[~entry.categories].any()
            for entry in resolution.allow
        )

    def _lengths_of(self, entry: AllowEntry) -> frozenset[int]:
        found = self._lengths.get(entry.texts)
        if found is None:
            found = self._lengths[entry.texts] = frozenset(map(len, entry.texts))
        return found
