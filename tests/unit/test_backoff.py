"""The pauses between transactions while none is committed."""

from itertools import pairwise

from worker.kafka.backoff import Backoff, Slice, pause_ms


def test_the_pauses_double_from_tens_of_milliseconds_to_a_few_seconds() -> None:
    assert [pause_ms(failures) for failures in range(1, 11)] == [20, 40, 80, 160, 320, 640, 1280, 2560, 5000, 5000]
    assert pause_ms(10_000) == 5000


def test_nothing_is_waited_for_before_the_first_failure_and_after_a_commit() -> None:
    backoff = Backoff()
    assert backoff.is_over(0)
    backoff.failed(1000, progress=False)
    assert not backoff.is_over(1019)
    assert backoff.is_over(1020)
    backoff.succeeded()
    assert backoff.is_over(0)


def test_an_attempt_that_made_progress_is_not_waited_for() -> None:
    backoff = Backoff()
    for at_ms in range(100):
        assert not backoff.failed(at_ms, progress=True)
        assert backoff.is_over(at_ms)
    assert backoff.attempts == 100
    assert backoff.failed(1000, progress=True)


def test_an_hour_without_a_commit_is_a_few_hundred_attempts_and_a_line_every_half_minute() -> None:
    backoff, now_ms = Backoff(), 0
    told: list[int] = []
    while now_ms < 3_600_000:
        if backoff.is_over(now_ms) and backoff.failed(now_ms, progress=False):
            told.append(now_ms)
        now_ms += 10
    assert 1000 <= told[0] < 3000
    assert all(25_000 <= later - earlier <= 30_000 for earlier, later in pairwise(told))
    assert backoff.attempts < 750
    assert backoff.since_ms == 0
    assert backoff.succeeded()
    assert not backoff.succeeded()


def test_a_slice_grows_with_each_time_out_and_shrinks_after_a_quick_answer() -> None:
    one = Slice()
    lengths = []
    for _ in range(5):
        lengths.append(one.ms)
        one.timed_out(15_000)
    assert lengths == [1000, 2000, 4000, 8000, 15_000]
    one.answered(2400)
    assert one.ms == 15_000
    one.answered(50)
    assert one.ms == 1000
