"""The loop's ``Judge``: it decides about the records of a transaction, and ends windows of alerts by the clock.

The policy in force and the time are functions that ``wiring`` hands over.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from worker.moderation.coalesced_alerts import AlertWindowClock, CommittedStates
from worker.moderation.outputs import OutputBuilder
from worker.moderation.policies import Policy
from worker.records import Judged, MessagePosition, ScoredRecord


class JudgedSession(CommittedStates, Protocol):
    """What the judge reads of the session: a part of ``TransactionalSession``."""

    @property
    def rejected(self) -> Mapping[MessagePosition, str]:
        """Messages whose outputs a broker rejects: position to the reason of the dead letter."""


class OutputJudge:
    """Builds the output records of scored records, and the summaries of ended windows.

    The loop calls it once for a transaction, so a transaction has the decisions of one policy.

    Args:
        outputs: The builder.
        now: Returns the time of the outputs: RFC 3339, UTC, milliseconds. No decision depends on it.
        policy: Returns the policy in force; None: the builder's policy.
    """

    def __init__(
        self, outputs: OutputBuilder, now: Callable[[], str], policy: Callable[[], Policy] | None = None
    ) -> None:
        self._outputs = outputs
        self._now = now
        self._in_force = policy
        self._clock = AlertWindowClock()

    def __call__(self, results: Sequence[ScoredRecord], session: JudgedSession) -> Judged:
        """Return the outputs of the records, the summaries of ended windows, and the new states."""
        if self._in_force is not None:
            self._outputs.use(self._in_force())
        return self._outputs.judge(results, judged_at=self._now(), rejected=session.rejected, committed=session)

    def end_alert_windows(self, now_ms: int, session: JudgedSession) -> Judged:
        """Return the summaries of the windows that the clock ends, and the states without these windows."""
        changed = self._clock.ended(now_ms, session)
        if changed and self._in_force is not None:
            self._outputs.use(self._in_force())
        ended = [(one, window) for one, windows in changed.items() for window in windows.take_ended()]
        return Judged(
            outputs=self._outputs.summaries(ended, judged_at=self._now()),
            states={partition: windows.encode() for partition, windows in changed.items()},
            keys_without_room=sum(windows.keys_without_room for windows in changed.values()),
        )
