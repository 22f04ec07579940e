"""How long to wait: between transactions while none is committed, and for the answer to one call.

Pure; the time is an argument.
"""

from dataclasses import dataclass

_PAUSE_MS_MIN, _PAUSE_MS_MAX = 20, 5_000


def pause_ms(failures: int) -> int:
    """Return the pause after this number of failures in a row: 20 ms, doubled each time, at most 5 s."""
    return min(_PAUSE_MS_MAX, _PAUSE_MS_MIN << min(failures - 1, 10))


@dataclass(slots=True)
class Backoff:
    """The failed transactions since the last commit, and the pause after them.

    Attributes:
        attempts: Number of transactions since the last commit that were not committed.
        since_ms: Time of the first of these failures.
    """

    attempts: int = 0
    since_ms: int = 0
    _failures: int = 0
    _until_ms: int = 0

    def is_over(self, now_ms: int) -> bool:
        """Return whether the next transaction may begin."""
        return not self._failures or now_ms >= self._until_ms

    def failed(self, now_ms: int, *, progress: bool) -> None:
        """Count a transaction that was not committed.

        Args:
            now_ms: The time.
            progress: Whether the next attempt differs from this one, so that it need not wait.
        """
        if not self.attempts:
            self.since_ms = now_ms
        self.attempts += 1
        if not progress:
            self._failures += 1
            self._until_ms = now_ms + pause_ms(self._failures)

    def succeeded(self) -> None:
        """Start again from zero after a commit."""
        self.attempts, self._failures = 0, 0


_TIMEOUT_MS_MIN = 1_000
_QUICK_MS = 500


@dataclass(slots=True)
class OffsetsTimeout:
    """The time-out of one call of ``send_offsets_to_transaction``.

    librdkafka 2.16 drops the requests of this call when the call times out. It keeps the requests of the other
    transaction calls. With round trips of 1.2 s, calls of one second would never succeed. So a time-out doubles the
    time-out of the next calls. A quick answer sets it back to a second, so that a lost request is sent again soon.

    Attributes:
        ms: The time-out in milliseconds.
    """

    ms: int = _TIMEOUT_MS_MIN

    def timed_out(self, ms_max: int) -> None:
        """Double the time-out, up to ``ms_max``."""
        self.ms = min(2 * self.ms, max(ms_max, _TIMEOUT_MS_MIN))

    def answered(self, took_ms: int) -> None:
        """Set the time-out back to a second after a quick answer."""
        if took_ms < _QUICK_MS:
            self.ms = _TIMEOUT_MS_MIN
