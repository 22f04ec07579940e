"""Standing still: what is a stall, and what may be committed without a record."""

from dataclasses import replace

import pytest

from worker.kafka.ownership import PartitionProgress
from worker.kafka.stall_detection import PartitionLag, StallDetector, idle_offsets
from worker.records import Partition

ONE = Partition("messages", 0)
DONE = PartitionProgress(committed=10, delivered=10, position=10)
CAUGHT_UP = PartitionLag(progress=DONE, last_stable_offset=10, fetched_end=10)
BEHIND_A_CONTROL_RECORD = PartitionLag(progress=replace(DONE, position=11), last_stable_offset=11, fetched_end=11)
IN_HAND = replace(DONE, committed=8)
STILL = replace(CAUGHT_UP, last_stable_offset=15)
PATIENCE_MS = 1000


def test_a_control_record_that_was_passed_is_committed() -> None:
    assert idle_offsets({ONE: BEHIND_A_CONTROL_RECORD}) == {ONE: 11}


@pytest.mark.parametrize(
    "standing",
    [
        pytest.param(CAUGHT_UP, id="nothing to pass"),
        pytest.param(
            replace(BEHIND_A_CONTROL_RECORD, progress=replace(IN_HAND, position=11)),
            id="a record is in memory, or was dropped",
        ),
        pytest.param(replace(BEHIND_A_CONTROL_RECORD, last_stable_offset=12), id="more is to come"),
    ],
)
def test_nothing_else_is_passed_over(standing: PartitionLag) -> None:
    assert idle_offsets({ONE: standing}) == {}


def test_a_partition_that_stands_still_for_long_enough_is_stalled() -> None:
    stalls = StallDetector(PATIENCE_MS)
    assert stalls.find(0, 0, {ONE: STILL}) == {}
    assert stalls.find(PATIENCE_MS - 1, 2, {ONE: STILL}) == {}
    assert stalls.find(PATIENCE_MS, 2, {ONE: STILL}) == {ONE: 10}


@pytest.mark.parametrize(
    "standing",
    [
        pytest.param(CAUGHT_UP, id="nothing to read"),
        pytest.param(replace(STILL, progress=IN_HAND), id="its records are in memory"),
        pytest.param(replace(STILL, progress=replace(DONE, position=12)), id="it moves"),
    ],
)
def test_a_partition_that_was_well_in_between_is_not_stalled(standing: PartitionLag) -> None:
    stalls = StallDetector(PATIENCE_MS)
    stalls.find(0, 0, {ONE: STILL})
    stalls.find(500, 5, {ONE: standing})
    assert stalls.find(PATIENCE_MS, 10, {ONE: STILL}) == {}
    assert stalls.find(2 * PATIENCE_MS, 20, {ONE: STILL}) == {ONE: 10}


def test_what_may_still_wait_behind_a_busier_partition_is_not_stalled() -> None:
    stalls = StallDetector(PATIENCE_MS)
    stalls.find(0, 7.5, {ONE: STILL})
    assert stalls.find(100 * PATIENCE_MS, 9, {ONE: STILL}) == {}


def test_a_pause_excuses_all() -> None:
    stalls = StallDetector(PATIENCE_MS)
    stalls.find(0, 0, {ONE: STILL})
    stalls.forget()
    assert stalls.find(PATIENCE_MS, 9, {ONE: STILL}) == {}


def test_a_partition_that_stands_still_is_stalled_also_while_another_one_moves() -> None:
    stalls, other = StallDetector(PATIENCE_MS), Partition("messages", 1)
    for turn in range(2):
        moving = replace(STILL, progress=replace(DONE, position=11 + turn), last_stable_offset=99)
        assert stalls.find(turn * PATIENCE_MS - turn, 9 * turn, {ONE: STILL, other: moving}) == {}
    assert stalls.find(PATIENCE_MS, 90, {ONE: STILL, other: moving}) == {ONE: 10}
