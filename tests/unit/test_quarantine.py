"""When a partition enters quarantine, is sampled and is released."""

import pytest

from worker.errors import DataProtectionError, ModelError
from worker.kafka.quarantine import (
    SAMPLE_INTERVAL_MS_MAX,
    SAMPLE_INTERVAL_MS_MIN,
    Quarantine,
    TailSample,
    error_if_all_quarantined,
    sample_interval_ms,
)
from worker.records import DeadLetterCause, DeadLetterExcess, Partition

P0, P1 = Partition("messages", 0), Partition("messages", 1)
READABLE, UNREADABLE = TailSample(500, 100, 0), TailSample(500, 100, 51)


def excess(partition: Partition = P0, cause: DeadLetterCause = DeadLetterCause.INPUT) -> DeadLetterExcess:
    return DeadLetterExcess(
        partition=partition,
        cause=cause,
        commonest_reason="not_json",
        example_offset=7,
        dead_letters=60,
        records=100,
        share_max=0.5,
    )


def held(*excesses: DeadLetterExcess) -> Quarantine:
    quarantine = Quarantine()
    for one in excesses or (excess(),):
        assert quarantine.add(0, one) == SAMPLE_INTERVAL_MS_MIN
    return quarantine


def test_a_partition_is_sampled_once_when_its_time_has_come() -> None:
    quarantine = held()
    assert quarantine.due(SAMPLE_INTERVAL_MS_MIN - 1) == []
    assert quarantine.due(SAMPLE_INTERVAL_MS_MIN) == [P0]
    assert quarantine.due(SAMPLE_INTERVAL_MS_MIN) == []


def test_a_readable_sample_releases_the_partition_and_exempts_earlier_dead_letters() -> None:
    quarantine = held()
    quarantine.due(SAMPLE_INTERVAL_MS_MIN)
    assert quarantine.take_sample(SAMPLE_INTERVAL_MS_MIN, P0, READABLE)
    assert quarantine.partitions == {}
    assert quarantine.exempt_below == {P0: 500}


@pytest.mark.parametrize("sample", [UNREADABLE, TailSample(0, 0, 0), None])
def test_an_unreadable_or_missing_sample_keeps_the_partition_and_doubles_the_interval(
    sample: TailSample | None,
) -> None:
    quarantine = held()
    now_ms = 0
    for looks in range(20):
        now_ms += sample_interval_ms(looks)
        assert quarantine.due(now_ms - 1) == []
        assert quarantine.due(now_ms) == [P0]
        assert not quarantine.take_sample(now_ms, P0, sample)
        assert list(quarantine.partitions) == [P0]
    assert sample_interval_ms(1) == 2 * SAMPLE_INTERVAL_MS_MIN
    assert sample_interval_ms(20) == SAMPLE_INTERVAL_MS_MAX


def test_a_sample_exactly_at_the_bound_is_readable() -> None:
    quarantine = held()
    quarantine.due(SAMPLE_INTERVAL_MS_MIN)
    assert quarantine.take_sample(SAMPLE_INTERVAL_MS_MIN, P0, TailSample(500, 100, 50))


def test_an_operator_releases_all_partitions_whatever_their_samples_show() -> None:
    quarantine = held(excess(P0), excess(P1, DeadLetterCause.MODEL))
    quarantine.release_all(5)
    assert sorted(quarantine.due(5)) == [P0, P1]
    assert quarantine.take_sample(6, P0, UNREADABLE)
    assert quarantine.take_sample(6, P1, UNREADABLE)
    assert quarantine.exempt_below == {P0: 500, P1: 500}


def test_a_requested_release_waits_for_the_brokers() -> None:
    quarantine = held()
    quarantine.release_all(5)
    quarantine.due(5)
    assert not quarantine.take_sample(6, P0, None)
    assert quarantine.due(6 + SAMPLE_INTERVAL_MS_MIN) == [P0]
    assert quarantine.take_sample(7 + SAMPLE_INTERVAL_MS_MIN, P0, UNREADABLE)


def test_records_that_break_the_model_are_tried_again_at_growing_intervals_without_exemption() -> None:
    quarantine = held(excess(cause=DeadLetterCause.MODEL))
    quarantine.due(SAMPLE_INTERVAL_MS_MIN)
    assert quarantine.take_sample(SAMPLE_INTERVAL_MS_MIN, P0, READABLE)
    assert quarantine.exempt_below == {}
    assert quarantine.add(SAMPLE_INTERVAL_MS_MIN, excess(cause=DeadLetterCause.MODEL)) == sample_interval_ms(1)


def test_everything_about_a_revoked_partition_is_forgotten() -> None:
    quarantine = held()
    quarantine.due(SAMPLE_INTERVAL_MS_MIN)
    quarantine.take_sample(SAMPLE_INTERVAL_MS_MIN, P0, UNREADABLE)
    quarantine.forget([P0, P1])
    assert not quarantine.take_sample(SAMPLE_INTERVAL_MS_MIN, P0, READABLE)
    assert (quarantine.partitions, quarantine.exempt_below) == ({}, {})
    assert quarantine.add(0, excess()) == SAMPLE_INTERVAL_MS_MIN


@pytest.mark.parametrize(
    ("held_partitions", "assigned", "existing", "ends"),
    [
        (1, 1, 1, True),
        (1, 1, 2, False),
        (1, 1, None, False),
        (1, 2, 2, False),
        (2, 2, 2, True),
        (2, 2, 12, True),
        (2, 2, None, True),
        (2, 3, 3, False),
    ],
)
def test_the_worker_ends_when_all_its_partitions_are_in_quarantine(
    held_partitions: int,
    assigned: int,
    existing: int | None,
    ends: bool,  # noqa: FBT001 - pytest gives it by its name
) -> None:
    error = error_if_all_quarantined(excess(), held_partitions, assigned, lambda: existing)
    assert isinstance(error, DataProtectionError) is ends


def test_the_exit_code_tells_whether_the_input_or_the_model_is_the_cause() -> None:
    error = error_if_all_quarantined(excess(cause=DeadLetterCause.MODEL), 1, 1, lambda: 1)
    assert isinstance(error, ModelError)
    assert "WORKER_DEAD_LETTER__MODEL_SHARE_MAX" in str(error)
