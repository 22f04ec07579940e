"""Which messages raised an alert and which ones would. For some only the text would tell, which no verdict has."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from worker.commands.policy.trial import NewDecisions
from worker.commands.policy.trial_report import TriedAlerts
from worker.moderation.policies.policy import Policy
from worker.moderation.policies.resolutions import AllowEntry, Resolution


class AlertTally:
    """Counts the alerts that were raised and those that a policy would raise, before they are coalesced.

    Args:
        policy: The policy that is tried.
        judge: A policy that judged the messages; None: none is known. A flagged message that another version judged
            counts as one that raised an alert.
    """

    def __init__(self, policy: Policy, judge: Policy | None = None) -> None:
        self._alert_level = policy.alert_level
        self._judge = judge
        self._silent_levels = frozenset(judge.levels[: judge.alert_level] if judge else ())
        self._counts: Counter[str] = Counter()
        self._lengths: dict[frozenset[str], frozenset[int]] = {}

    def add(self, new: NewDecisions) -> None:
        """Count the messages that the policy can decide about."""
        before = self._raised_before(new)
        silenced = set(before)
        for row in np.flatnonzero(new.decided & (new.levels >= 0)).tolist():
            outcome = self._outcome(new, row)
            self._counts[outcome] += 1
            if outcome == "raised" and row not in before:
                self._counts["newly_alerting"] += 1
            if outcome in {"raised", "undecided"}:
                silenced.discard(row)
        self._counts["before"] += len(before)
        self._counts["newly_silenced"] += len(silenced)

    def _raised_before(self, new: NewDecisions) -> set[int]:
        """Return the rows of the messages that raised an alert when they were judged."""
        columns = new.columns
        rows = np.flatnonzero(columns.flags.any(axis=1) & ~columns.withheld & new.decided).tolist()
        raised = set()
        for row in rows:
            is_known = self._judge is not None and columns.policies[row] == self._judge.version
            if not is_known or columns.levels[row] not in self._silent_levels:
                raised.add(row)
            self._counts["assumed"] += not is_known and columns.levels[row] is not None
        return raised

    def _outcome(self, new: NewDecisions, row: int) -> str:
        """Return what becomes of a message that the policy flags."""
        resolution = new.resolutions[row]
        if resolution.exempt is not None:
            return "exempt"
        if new.levels[row] < self._alert_level:
            return "below_level"
        scores, characters = new.columns.scores[row], new.columns.characters[row]
        is_undecided = resolution.allow and self._may_be_allowed(resolution, scores, characters)
        return "undecided" if is_undecided else "raised"

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
