"""Partitions that stand still: which of them are stalled, and which offsets may be committed without a record."""

from dataclasses import replace

import pytest

from worker.kafka.ownership import PartitionProgress
from worker.kafka.stall_detection import PartitionLag, StallDetector, StalledPartitions, idle_offsets
from worker.records import Partition

ONE, OTHER = Partition("messages", 0), Partition("messages", 1)
DONE = PartitionProgress(committed=10, delivered=10, position=10)
CAUGHT_UP = PartitionLag(progress=DONE, last_stable_offset=10, fetched_end=10)
BEHIND_A_CONTROL_RECORD = PartitionLag(progress=replace(DONE, position=11), last_stable_offset=11, fetched_end=11)
UNCOMMITTED = replace(DONE, committed=8)
STILL = replace(CAUGHT_UP, last_stable_offset=15)
TIMEOUT_MS = 1000
QUEUED_RECORDS = 100
NOTHING = StalledPartitions(to_rejoin=[], unrecoverable=[])
STALLED = StalledPartitions(to_rejoin=[ONE], unrecoverable=[])


@pytest.fixture
def detector() -> StallDetector:
    return StallDetector(TIMEOUT_MS, queued_records=QUEUED_RECORDS)


def turn_over(detector: StallDetector, times: int = 2) -> None:
    """Poll this often without a record: each time librdkafka's queue was empty."""
    for _ in range(times):
        detector.observe_poll(0, 1)


def test_the_offset_past_a_control_record_is_committed() -> None:
    assert idle_offsets({ONE: BEHIND_A_CONTROL_RECORD}) == {ONE: 11}


@pytest.mark.parametrize(
    "lag",
    [
        pytest.param(CAUGHT_UP, id="nothing to pass"),
        pytest.param(
            replace(BEHIND_A_CONTROL_RECORD, progress=replace(UNCOMMITTED, position=11)),
            id="a record is in memory, or was dropped",
        ),
        pytest.param(replace(BEHIND_A_CONTROL_RECORD, last_stable_offset=12), id="there is more to read"),
    ],
)
def test_no_other_offset_is_committed_without_a_record(lag: PartitionLag) -> None:
    assert idle_offsets({ONE: lag}) == {}


def test_a_partition_that_stands_still_until_the_timeout_is_stalled(detector: StallDetector) -> None:
    assert detector.stalled(0, {ONE: STILL}) == NOTHING
    turn_over(detector)
    assert detector.stalled(TIMEOUT_MS - 1, {ONE: STILL}) == NOTHING
    assert detector.stalled(TIMEOUT_MS, {ONE: STILL}) == STALLED


@pytest.mark.parametrize(
    "lag",
    [
        pytest.param(CAUGHT_UP, id="nothing to read"),
        pytest.param(replace(STILL, progress=UNCOMMITTED), id="its records are in memory"),
        pytest.param(replace(STILL, progress=replace(DONE, position=12)), id="it moves"),
    ],
)
def test_a_partition_that_was_healthy_in_between_is_not_stalled(lag: PartitionLag, detector: StallDetector) -> None:
    detector.stalled(0, {ONE: STILL})
    turn_over(detector)
    detector.stalled(500, {ONE: lag})
    turn_over(detector)
    assert detector.stalled(TIMEOUT_MS, {ONE: STILL}) == NOTHING
    turn_over(detector)
    assert detector.stalled(2 * TIMEOUT_MS, {ONE: STILL}) == STALLED


def test_a_partition_whose_records_may_wait_behind_a_busier_partition_is_not_stalled(
    detector: StallDetector,
) -> None:
    detector.stalled(0, {ONE: STILL})
    detector.observe_poll(3 * QUEUED_RECORDS, 2)  # of two partitions: one and a half turnovers
    assert detector.stalled(100 * TIMEOUT_MS, {ONE: STILL}) == NOTHING
    detector.observe_poll(QUEUED_RECORDS, 2)
    assert detector.stalled(100 * TIMEOUT_MS, {ONE: STILL}) == STALLED


def test_after_a_reset_the_time_begins_again(detector: StallDetector) -> None:
    detector.stalled(0, {ONE: STILL})
    turn_over(detector)
    detector.reset()
    assert detector.stalled(TIMEOUT_MS, {ONE: STILL}) == NOTHING


def test_a_partition_that_stands_still_is_stalled_also_while_another_partition_moves(
    detector: StallDetector,
) -> None:
    for turn in range(2):
        moving = replace(STILL, progress=replace(DONE, position=11 + turn), last_stable_offset=99)
        assert detector.stalled(turn * TIMEOUT_MS - turn, {ONE: STILL, OTHER: moving}) == NOTHING
        turn_over(detector, 9)
    assert detector.stalled(TIMEOUT_MS, {ONE: STILL, OTHER: moving}) == STALLED


@pytest.mark.parametrize(
    ("fetched_end", "expected"),
    [
        pytest.param(-1, StalledPartitions(to_rejoin=[], unrecoverable=[ONE]), id="no fetch response came"),
        pytest.param(15, NOTHING, id="compaction left nothing to read"),
    ],
)
def test_a_partition_that_is_stalled_at_the_same_position_after_a_rejoin_is_unrecoverable_unless_it_is_empty(
    fetched_end: int, expected: StalledPartitions, detector: StallDetector
) -> None:
    detector.stalled(0, {ONE: STILL})
    turn_over(detector)
    assert detector.stalled(TIMEOUT_MS, {ONE: STILL}) == STALLED
    detector.reset()
    again = replace(STILL, fetched_end=fetched_end)
    detector.stalled(TIMEOUT_MS, {ONE: again})
    turn_over(detector)
    assert detector.stalled(2 * TIMEOUT_MS, {ONE: again}) == expected


def test_a_partition_that_is_stalled_at_a_later_position_is_worth_another_rejoin(detector: StallDetector) -> None:
    detector.stalled(0, {ONE: STILL})
    turn_over(detector)
    assert detector.stalled(TIMEOUT_MS, {ONE: STILL}) == STALLED
    later = replace(STILL, progress=replace(DONE, position=12))
    detector.stalled(TIMEOUT_MS, {ONE: later})
    turn_over(detector)
    assert detector.stalled(2 * TIMEOUT_MS, {ONE: later}) == STALLED
