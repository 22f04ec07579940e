"""How long to wait: between transactions while none is committed, and for the answer to one call.

Pure; the time is an argument.
"""

from dataclasses import dataclass

_PAUSE_MS_MIN, _PAUSE_MS_MAX = 20, 5_000
_TELL_AGAIN_MS = 25_000  # with the longest pause added, an operator reads a line every half minute
_TELL_FIRST_MS = 1_000  # a single lost transaction has its own line


def pause_ms(failures: int) -> int:
    """Gives the pause after so many failures in a row: 20 ms, doubled each time, at most 5 s."""
    return min(_PAUSE_MS_MAX, _PAUSE_MS_MIN << min(failures - 1, 10))


@dataclass(slots=True)
class Backoff:
    """The transactions since the last commit.

    Attributes:
        attempts: How many were not committed.
        since_ms: When the first of them failed.
    """

    attempts: int = 0
    since_ms: int = 0
    _failures: int = 0
    _until_ms: int = 0
    _told_ms: int | None = None

    def is_over(self, now_ms: int) -> bool:
        """Whether the next transaction may begin."""
        return not self._failures or now_ms >= self._until_ms

    def failed(self, now_ms: int, *, progress: bool) -> bool:
        """Counts a transaction that was not committed.

        Args:
            now_ms: The time.
            progress: Whether the next attempt differs from this one, so that it need not wait.

        Returns:
            Whether it is time for a line in the log.
        """
        if not self.attempts:
            self.since_ms = now_ms
        self.attempts += 1
        if not progress:
            self._failures += 1
            self._until_ms = now_ms + pause_ms(self._failures)
        if self._told_ms is None:
            due = now_ms - self.since_ms >= _TELL_FIRST_MS
        else:
            due = now_ms - self._told_ms >= _TELL_AGAIN_MS
        if due:
            self._told_ms = now_ms
        return due

    def succeeded(self) -> bool:
        """Starts anew after a commit; tells whether the log spoke of the failures before it."""
        told = self._told_ms is not None
        if self.attempts:
            self.attempts, self._failures, self._told_ms = 0, 0, None
        return told


_SLICE_MS_MIN = 1_000
_QUICK_MS = 500


@dataclass(slots=True)
class Slice:
    """How long ``send_offsets_to_transaction`` may take before it is called again.

    Its requests are given up with the call [librdkafka 2.16], other than those of the other transaction calls. With
    round trips of 1.2 s slices of one second would never succeed. So a time-out doubles the slice for the calls to
    come, and a quick answer brings it back: a request that was lost is sent again sooner then.

    Attributes:
        ms: Its length.
    """

    ms: int = _SLICE_MS_MIN

    def timed_out(self, bound_ms: int) -> None:
        """Doubles it, up to the bound."""
        self.ms = min(2 * self.ms, max(bound_ms, _SLICE_MS_MIN))

    def answered(self, took_ms: int) -> None:
        """Shortens it again after a quick answer."""
        if took_ms < _QUICK_MS:
            self.ms = _SLICE_MS_MIN
