"""A worker that stays outside its group: when to join again with a new client. Pure.

librdkafka can stop joining. One worker of a test lost its partition 28 s after its broker began to restart. Its
client then wrote no further log line for six minutes, and the group never gave it a partition. The worker's loop
and its other clients went on, so neither the watchdog nor ``/livez`` saw a fault. The cause is not known: 21
further runs did not repeat it.

A group needs time to accept a member: a join waits until every member has joined, for at most the largest
``max.poll.interval.ms`` of the group. A member that restarts holds the join up until its session times out. So the
detector waits for two such joins and a session timeout. A shorter time would end joins that only take long.
"""

from dataclasses import dataclass

_CHECK_MS = 1_000


@dataclass(slots=True)
class AbsenceDetector:
    """Finds out that this worker has not been a member of its group for too long.

    Attributes:
        timeout_ms: How long a worker may be outside its group, in milliseconds.
        checked_ms: When the membership was last checked; None before the first check.
        absent_since_ms: Since when the worker has not been a member; None while it is a member.
    """

    timeout_ms: int
    checked_ms: int | None = None
    absent_since_ms: int | None = None

    @classmethod
    def of(cls, *, max_poll_interval_ms: int, session_timeout_ms: int) -> "AbsenceDetector":
        """Return a detector that waits for two joins and one session timeout."""
        return cls(2 * max_poll_interval_ms + session_timeout_ms)

    def is_due(self, now_ms: int) -> bool:
        """Return whether to check the membership now: once a second."""
        if self.checked_ms is not None and now_ms - self.checked_ms < _CHECK_MS:
            return False
        self.checked_ms = now_ms
        return True

    def is_absent_too_long(self, now_ms: int, *, is_member: bool) -> bool:
        """Return whether to join again. If so, the time begins again now."""
        if is_member:
            self.absent_since_ms = None
            return False
        if self.absent_since_ms is None:
            self.absent_since_ms = now_ms
        if now_ms - self.absent_since_ms < self.timeout_ms:
            return False
        self.absent_since_ms = now_ms
        return True
