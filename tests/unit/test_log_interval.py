"""A log line that repeats is logged once an interval."""

from worker.kafka.log_interval import LogInterval


def test_the_first_line_is_due_and_the_next_one_after_the_interval() -> None:
    interval = LogInterval(1000)
    assert [interval.due(now_ms) for now_ms in (0, 999, 1000, 1500, 2000)] == [True, False, True, False, True]


def test_after_a_reset_the_next_line_is_due() -> None:
    interval = LogInterval(1000)
    logged = [interval.has_logged]
    assert interval.due(0)
    logged.append(interval.has_logged)
    interval.reset()
    logged.append(interval.has_logged)
    assert logged == [False, True, False]
    assert interval.due(1)


def test_a_first_line_can_be_put_off_by_one_interval() -> None:
    interval = LogInterval(1000, last_ms=500)
    assert not interval.due(1499)
    assert interval.due(1500)
