"""Where a partition starts: at the committed offset, or where ``WORKER_KAFKA__AUTO_OFFSET_RESET`` says. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetReset:
    """Where a partition without a usable committed offset starts: ``WORKER_KAFKA__AUTO_OFFSET_RESET``.

    Attributes:
        refuse: Whether the process must stop instead.
        time_ms: Start at the first message of this time or later, in milliseconds since the Unix epoch. None: start
            at the earliest message.
    """

    refuse: bool = False
    time_ms: int | None = None


def is_truncated(committed: int, *, high: int) -> bool:
    """Return whether the log was truncated: the group has committed an offset beyond the end of the log.

    ``OffsetReset`` does not decide this case, because the committed offset exists. A start at the first offset
    would give all messages of the log a second verdict.
    """
    return committed > high


def start_offset(
    committed: int | None, *, low: int, high: int, timed: int | None, reset: OffsetReset
) -> int | None:
    """Return the start offset of a partition whose log is not truncated.

    Args:
        committed: The committed offset; None if there is none.
        low: The first available offset.
        high: The end of the log.
        timed: The broker's offset for the time of ``reset``; negative if all messages are older.
        reset: The setting.

    Returns:
        The committed offset if it is in range. The first available offset if retention has deleted the messages at
        the committed offset. What ``reset`` says if there is no committed offset. None if ``reset`` refuses.
    """
    assert committed is None or not is_truncated(committed, high=high)  # noqa: S101 - the caller has a bug
    if committed is not None and low <= committed:
        return committed
    if reset.refuse:
        return None
    if committed is not None or timed is None:
        return low
    return timed if timed >= 0 else high
