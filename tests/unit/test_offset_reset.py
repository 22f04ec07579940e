"""Where a partition starts."""

from worker.kafka.offset_reset import OffsetReset, is_truncated, start_offset


def test_a_committed_offset_in_range_is_the_start_with_every_setting() -> None:
    for reset in (OffsetReset(), OffsetReset(refuse=True), OffsetReset(time_ms=5)):
        assert start_offset(7, low=3, high=7, timed=None, reset=reset) == 7
        assert start_offset(3, low=3, high=7, timed=None, reset=reset) == 3


def test_without_a_committed_offset_the_setting_decides() -> None:
    assert start_offset(None, low=3, high=9, timed=None, reset=OffsetReset()) == 3
    assert start_offset(None, low=3, high=9, timed=5, reset=OffsetReset(time_ms=1)) == 5
    assert start_offset(None, low=3, high=9, timed=-1, reset=OffsetReset(time_ms=1)) == 9
    assert start_offset(None, low=3, high=9, timed=None, reset=OffsetReset(refuse=True)) is None


def test_a_partition_whose_committed_offset_was_deleted_by_retention_starts_at_the_first_available_offset() -> None:
    assert start_offset(1, low=3, high=9, timed=None, reset=OffsetReset()) == 3
    assert start_offset(1, low=3, high=9, timed=None, reset=OffsetReset(refuse=True)) is None


def test_a_log_that_ends_before_the_committed_offset_was_truncated() -> None:
    assert is_truncated(10, high=9)
    assert not is_truncated(9, high=9)
