"""When another producer's open transaction blocks a partition, and when the transaction is an ordinary one."""

from dataclasses import replace

import pytest

from worker.kafka.blocked_partitions import BlockedPartition, BlockedPartitionDetector
from worker.kafka.ownership import PartitionProgress
from worker.kafka.stall_detection import PartitionLag
from worker.records import Partition

ONE = Partition("messages", 0)
OPEN = PartitionLag(
    progress=PartitionProgress(committed=10, delivered=10, position=10),
    last_stable_offset=10,
    fetched_end=10,
    high_watermark=110,
)
WARN_AFTER_MS = 1000


def test_a_partition_whose_last_stable_offset_does_not_move_is_blocked() -> None:
    detector = BlockedPartitionDetector(WARN_AFTER_MS)
    assert detector.blocked(0, {ONE: OPEN}) == {}
    assert detector.blocked(WARN_AFTER_MS - 1, {ONE: OPEN}) == {}
    assert detector.blocked(WARN_AFTER_MS, {ONE: OPEN}) == {
        ONE: BlockedPartition(last_stable_offset=10, messages=100, age_ms=WARN_AFTER_MS)
    }


@pytest.mark.parametrize(
    "lag",
    [
        pytest.param(replace(OPEN, high_watermark=10), id="no transaction is open"),
        pytest.param(replace(OPEN, high_watermark=0), id="the high watermark is not known"),
        pytest.param(
            replace(OPEN, last_stable_offset=11, progress=replace(OPEN.progress, position=11)), id="it moved"
        ),
        pytest.param(replace(OPEN, last_stable_offset=12), id="there is more to read before it"),
    ],
)
def test_an_ordinary_transaction_does_not_block_a_partition(lag: PartitionLag) -> None:
    detector = BlockedPartitionDetector(WARN_AFTER_MS)
    detector.blocked(0, {ONE: OPEN})
    detector.blocked(500, {ONE: lag})
    assert detector.blocked(WARN_AFTER_MS, {ONE: OPEN}) == {}
