"""How fast a run goes, and the line that says so. Pure; times are arguments."""

from dataclasses import dataclass

RECORDS_MAX = 1_000
"""Largest number of records in a transaction."""
_BATCHES_PER_SECOND = 4
_PLENTY_S = 360_000


@dataclass(frozen=True, slots=True)
class Pace:
    """The limit of a run.

    Attributes:
        per_second: Largest number of records a second; None: no limit.
    """

    per_second: float | None = None

    @property
    def records_max(self) -> int:
        """Largest number of records in a transaction. A slow run has small transactions, so that it is even."""
        if self.per_second is None:
            return RECORDS_MAX
        return max(1, min(RECORDS_MAX, int(self.per_second / _BATCHES_PER_SECOND)))

    def wait_s(self, records: int, elapsed_s: float) -> float:
        """Return how long to wait before the next record.

        Args:
            records: Records that were copied since the start.
            elapsed_s: Seconds since the start.
        """
        return 0.0 if self.per_second is None else max(0.0, records / self.per_second - elapsed_s)


def progress_line(*, records: int, passed: int, passed_before: int, total: int, elapsed_s: float) -> str:
    """Return how far a run has come, with its rate and the time left.

    Args:
        records: Records that this process has copied.
        passed: Offsets of the range that are behind the run.
        passed_before: Offsets that were behind the run when this process began.
        total: Offsets of the range.
        elapsed_s: Seconds since this process began.
    """
    here = passed - passed_before
    line = f"{records:,} records copied, {passed:,} of {total:,} offsets ({passed / max(1, total):.0%})"
    if here == 0 or elapsed_s <= 0:
        return line
    left_s = round((total - passed) * elapsed_s / here)
    return f"{line}, {records / elapsed_s:,.0f} records/s, {_duration(left_s)} left"


def _duration(seconds: int) -> str:
    if seconds > _PLENTY_S:
        return "more than 100 h"
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
