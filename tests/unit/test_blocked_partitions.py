"""Another producer's open transaction: when it blocks a partition, and when it is an ordinary one."""

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
PATIENCE_MS = 1000


def test_a_last_stable_offset_that_does_not_move_blocks() -> None:
    blocks = BlockedPartitionDetector(PATIENCE_MS)
    assert blocks.find(0, {ONE: OPEN}) == {}
    assert blocks.find(PATIENCE_MS - 1, {ONE: OPEN}) == {}
    assert blocks.find(PATIENCE_MS, {ONE: OPEN}) == {
        ONE: BlockedPartition(last_stable_offset=10, messages=100, age_ms=PATIENCE_MS)
    }


@pytest.mark.parametrize(
    "standing",
    [
        pytest.param(replace(OPEN, high_watermark=10), id="no transaction is open"),
        pytest.param(replace(OPEN, high_watermark=0), id="the high watermark is not known"),
        pytest.param(
            replace(OPEN, last_stable_offset=11, progress=replace(OPEN.progress, position=11)), id="it moved"
        ),
        pytest.param(replace(OPEN, last_stable_offset=12), id="there is more to read before it"),
    ],
)
def test_an_ordinary_transaction_does_not_block(standing: PartitionLag) -> None:
    blocks = BlockedPartitionDetector(PATIENCE_MS)
    blocks.find(0, {ONE: OPEN})
    blocks.find(500, {ONE: standing})
    assert blocks.find(PATIENCE_MS, {ONE: OPEN}) == {}
