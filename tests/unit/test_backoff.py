"""The pauses between transactions while none is committed, and the time-out of sending offsets."""

from worker.kafka.backoff import Backoff, OffsetsTimeout, pause_ms


def test_the_pauses_double_from_tens_of_milliseconds_to_a_few_seconds() -> None:
    assert [pause_ms(failures) for failures in range(1, 11)] == [20, 40, 80, 160, 320, 640, 1280, 2560, 5000, 5000]
    assert pause_ms(10_000) == 5000


def test_there_is_no_pause_before_the_first_failure_and_after_a_commit() -> None:
    backoff = Backoff()
    assert backoff.is_over(0)
    backoff.failed(1000, progress=False)
    assert not backoff.is_over(1019)
    assert backoff.is_over(1020)
    backoff.succeeded()
    assert backoff.is_over(0)


def test_after_an_attempt_with_progress_there_is_no_pause() -> None:
    backoff = Backoff()
    for at_ms in range(100):
        backoff.failed(at_ms, progress=True)
        assert backoff.is_over(at_ms)
    assert backoff.attempts == 100


def test_an_hour_without_a_commit_is_a_few_hundred_attempts() -> None:
    backoff, now_ms = Backoff(), 0
    while now_ms < 3_600_000:
        if backoff.is_over(now_ms):
            backoff.failed(now_ms, progress=False)
        now_ms += 10
    assert 720 <= backoff.attempts < 750
    assert backoff.since_ms == 0


def test_the_time_out_grows_with_each_time_out_and_is_a_second_again_after_a_quick_answer() -> None:
    timeout = OffsetsTimeout()
    times_out_ms = []
    for _ in range(5):
        times_out_ms.append(timeout.ms)
        timeout.timed_out(15_000)
    assert times_out_ms == [1000, 2000, 4000, 8000, 15_000]
    timeout.answered(2400)
    assert timeout.ms == 15_000
    timeout.answered(50)
    assert timeout.ms == 1000
