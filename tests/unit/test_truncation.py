"""Detecting a log that ends before the group's committed offset."""

import pytest

from worker.errors import DataProtectionError
from worker.kafka.truncation import TRUNCATED_MS_MIN, TruncationDetector
from worker.records import Partition

P0, P1 = Partition("messages", 0), Partition("messages", 1)


def test_an_offset_up_to_the_end_of_the_log_is_not_suspected() -> None:
    detector = TruncationDetector("moderation")
    assert not detector.is_suspected(0, P0, None, high=10)
    assert not detector.is_suspected(0, P0, 10, high=10)


def test_an_offset_that_stays_beyond_the_end_is_an_error_that_names_group_partition_and_remedy() -> None:
    detector = TruncationDetector("moderation")
    assert detector.is_suspected(0, P0, 11, high=10)
    assert detector.is_suspected(TRUNCATED_MS_MIN - 1, P0, 11, high=10)
    with pytest.raises(
        DataProtectionError, match=r"messages\[0\]: the group 'moderation'.*the log ends at 10"
    ) as error:
        detector.is_suspected(TRUNCATED_MS_MIN, P0, 11, high=10)
    assert "--group moderation --topic messages:0 --reset-offsets --execute" in str(error.value)


def test_only_the_partition_whose_offset_is_in_range_again_is_no_longer_suspected() -> None:
    detector = TruncationDetector("moderation")
    assert detector.is_suspected(0, P0, 11, high=10)
    assert detector.is_suspected(0, P1, 11, high=10)
    assert not detector.is_suspected(1, P0, 11, high=11)
    assert detector.is_suspected(TRUNCATED_MS_MIN, P0, 11, high=10)
    with pytest.raises(DataProtectionError):
        detector.is_suspected(TRUNCATED_MS_MIN, P1, 11, high=10)
