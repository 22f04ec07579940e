"""Where a partition starts: at the committed offset, or where ``WORKER_KAFKA__AUTO_OFFSET_RESET`` says. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetReset:
    """Where to start without a usable committed offset: ``WORKER_KAFKA__AUTO_OFFSET_RESET``.

    Attributes:
        refuse: Nowhere: stop.
        time_ms: At the first message of that time or later, in milliseconds of the epoch; None: the earliest.
    """

    refuse: bool = False
    time_ms: int | None = None


def is_truncated(committed: int, *, high: int) -> bool:
    """Whether the log was truncated: the group has judged messages beyond its end.

    ``reset`` has no say in this: it is about an offset that is missing. To go on from the first offset would judge
    everything again.
    """
    return committed > high


def start_offset(
    committed: int | None, *, low: int, high: int, timed: int | None, reset: OffsetReset
) -> int | None:
    """Where a partition starts.

    Args:
        committed: What the group has committed, if anything.
        low: The first offset that there is.
        high: The end.
        timed: What the broker found for the time of ``reset``; negative: no message is that young.
        reset: What the settings want.

    Returns:
        The committed offset if it is in range. If retention has overtaken it, the first that there is. Without
        one, what ``reset`` says. None: nowhere. Of a truncated log it gives none (``is_truncated``).
    """
    assert committed is None or not is_truncated(committed, high=high)  # noqa: S101 - a bug of ours
    if committed is not None and low <= committed:
        return committed
    if reset.refuse:
        return None
    if committed is not None or timed is None:
        return low
    return timed if timed >= 0 else high
