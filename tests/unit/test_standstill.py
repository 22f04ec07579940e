"""Standing still: what is a stall, and what may be committed without a record."""

from dataclasses import replace

import pytest

from worker.kafka.ownership import Progress
from worker.kafka.stall_detection import Stalls, Standing, passed
from worker.records import Partition

ONE = Partition("messages", 0)
DONE = Progress(committed=10, delivered=10, position=10)
CAUGHT_UP = Standing(progress=DONE, end=10, fetched_end=10)
BEHIND_A_CONTROL_RECORD = Standing(progress=replace(DONE, position=11), end=11, fetched_end=11)
IN_HAND = replace(DONE, committed=8)
STILL = replace(CAUGHT_UP, end=15)
PATIENCE_MS = 1000


def test_a_control_record_that_was_passed_is_committed() -> None:
    assert passed({ONE: BEHIND_A_CONTROL_RECORD}) == {ONE: 11}


@pytest.mark.parametrize(
    "standing",
    [
        pytest.param(CAUGHT_UP, id="nothing to pass"),
        pytest.param(
            replace(BEHIND_A_CONTROL_RECORD, progress=replace(IN_HAND, position=11)),
            id="a record is in memory, or was dropped",
        ),
        pytest.param(replace(BEHIND_A_CONTROL_RECORD, end=12), id="more is to come"),
    ],
)
def test_nothing_else_is_passed_over(standing: Standing) -> None:
    assert passed({ONE: standing}) == {}


def test_a_partition_that_stands_still_for_long_enough_is_stalled() -> None:
    stalls = Stalls(PATIENCE_MS)
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
def test_a_partition_that_was_well_in_between_is_not_stalled(standing: Standing) -> None:
    stalls = Stalls(PATIENCE_MS)
    stalls.find(0, 0, {ONE: STILL})
    stalls.find(500, 5, {ONE: standing})
    assert stalls.find(PATIENCE_MS, 10, {ONE: STILL}) == {}
    assert stalls.find(2 * PATIENCE_MS, 20, {ONE: STILL}) == {ONE: 10}


def test_what_may_still_wait_behind_a_busier_partition_is_not_stalled() -> None:
    stalls = Stalls(PATIENCE_MS)
    stalls.find(0, 7.5, {ONE: STILL})
    assert stalls.find(100 * PATIENCE_MS, 9, {ONE: STILL}) == {}


def test_a_pause_excuses_all() -> None:
    stalls = Stalls(PATIENCE_MS)
    stalls.find(0, 0, {ONE: STILL})
    stalls.forget()
    assert stalls.find(PATIENCE_MS, 9, {ONE: STILL}) == {}


def test_a_partition_that_stands_still_is_stalled_also_while_another_one_moves() -> None:
    stalls, other = Stalls(PATIENCE_MS), Partition("messages", 1)
    for turn in range(2):
        moving = replace(STILL, progress=replace(DONE, position=11 + turn), end=99)
        assert stalls.find(turn * PATIENCE_MS - turn, 9 * turn, {ONE: STILL, other: moving}) == {}
    assert stalls.find(PATIENCE_MS, 90, {ONE: STILL, other: moving}) == {ONE: 10}
