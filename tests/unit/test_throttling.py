"""What a broker says about a quota."""

import pytest
from confluent_kafka import ThrottleEvent

from worker.kafka.throttling import Throttling

CONFIG = {"client.id": "mod", "sasl.username": "me"}


class Clock:
    """A clock that the test sets."""

    now_ms = 0

    def __call__(self) -> int:
        """Give the time."""
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_throttled_client_is_known_for_as_long_as_the_broker_delays_it(clock: Clock) -> None:
    throttling = Throttling("consumer", CONFIG, clock)
    assert not throttling.is_throttled()
    throttling.record(ThrottleEvent("broker-1", 1, 2.5))
    throttling.record(ThrottleEvent("broker-2", 2, 0.5))
    assert throttling.is_throttled()
    clock.now_ms = 2499
    assert throttling.is_throttled()
    clock.now_ms = 2500
    assert not throttling.is_throttled()


def test_a_delay_that_is_over_is_known_once(clock: Clock) -> None:
    throttling = Throttling("consumer", CONFIG, clock)
    throttling.record(ThrottleEvent("broker-1", 1, 0.1))
    clock.now_ms = 5000
    assert throttling.is_throttled()
    assert not throttling.is_throttled()


@pytest.mark.parametrize(
    ("client", "said"),
    [
        ("consumer", "reading is slow. Raise consumer_byte_rate (or request_percentage) of user 'me'"),
        ("producer", "publishing is slow. Raise producer_byte_rate (or request_percentage) of user 'me'"),
    ],
)
def test_the_log_line_names_the_quota_and_whose_it_is(
    client: str, said: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    throttling = Throttling(client, CONFIG, clock)
    throttling.record(ThrottleEvent("broker-1", 1, 2.5))
    [line] = caplog.messages
    assert f"broker-1 throttles this {client} by 2500 ms" in line
    assert f"{said} (WORKER_KAFKA__SASL_USERNAME), client id 'mod' (client.id)" in line


def test_it_is_logged_once_a_minute_and_all_delays_are_added_up(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    throttling = Throttling("producer", CONFIG, clock)
    for clock.now_ms in (0, 30_000, 60_000):
        throttling.record(ThrottleEvent("broker-1", 1, 0.5))
    assert ["0.5 s in all" in caplog.messages[0], "1.5 s in all" in caplog.messages[1]] == [True, True]
    assert len(caplog.messages) == 2
    assert throttling.total_s == 1.5


def test_the_end_of_a_throttling_is_none(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    throttling = Throttling("consumer", CONFIG, clock)
    throttling.record(ThrottleEvent("broker-1", 1, 0))
    assert not throttling.is_throttled()
    assert not caplog.messages
    assert throttling.total_s == 0
