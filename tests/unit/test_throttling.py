"""What happens when a broker throttles a client."""

import pytest
from confluent_kafka import ThrottleEvent

from worker.kafka.throttling import Throttling

CONFIG = {"client.id": "mod", "sasl.username": "me"}


class Clock:
    """A clock that the test sets."""

    now_ms = 0

    def __call__(self) -> int:
        """Return the time."""
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_client_is_throttled_for_as_long_as_a_broker_delays_its_answers(clock: Clock) -> None:
    throttling = Throttling("consumer", CONFIG, clock)
    assert not throttling.is_throttled()
    throttling.record(ThrottleEvent("broker-1", 1, 2.5))
    throttling.record(ThrottleEvent("broker-2", 2, 0.5))
    assert throttling.is_throttled()
    clock.now_ms = 2499
    assert throttling.is_throttled()
    clock.now_ms = 2500
    assert not throttling.is_throttled()


def test_a_delay_that_is_over_is_reported_once(clock: Clock) -> None:
    throttling = Throttling("consumer", CONFIG, clock)
    throttling.record(ThrottleEvent("broker-1", 1, 0.1))
    clock.now_ms = 5000
    assert throttling.is_throttled()
    assert not throttling.is_throttled()


@pytest.mark.parametrize(
    ("client", "advice"),
    [
        ("consumer", "reading is slow. Raise consumer_byte_rate (or request_percentage) of user 'me'"),
        ("producer", "publishing is slow. Raise producer_byte_rate (or request_percentage) of user 'me'"),
    ],
)
def test_the_log_line_names_the_quota_and_its_user_and_client_id(
    client: str, advice: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    throttling = Throttling(client, CONFIG, clock)
    throttling.record(ThrottleEvent("broker-1", 1, 2.5))
    [line] = caplog.messages
    assert f"broker-1 throttles this {client} by 2500 ms" in line
    assert f"{advice} (WORKER_KAFKA__SASL_USERNAME), client id 'mod' (client.id)" in line


def test_throttling_is_logged_once_a_minute_with_the_sum_of_all_delays(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    throttling = Throttling("producer", CONFIG, clock)
    for clock.now_ms in (0, 30_000, 60_000):
        throttling.record(ThrottleEvent("broker-1", 1, 0.5))
    assert ["0.5 s in all" in caplog.messages[0], "1.5 s in all" in caplog.messages[1]] == [True, True]
    assert len(caplog.messages) == 2
    assert throttling.total_s == 1.5


def test_an_event_without_a_delay_is_not_throttling(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    throttling = Throttling("consumer", CONFIG, clock)
    throttling.record(ThrottleEvent("broker-1", 1, 0))
    assert not throttling.is_throttled()
    assert not caplog.messages
    assert throttling.total_s == 0
