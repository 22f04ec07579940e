"""What a broker says about a quota."""

import pytest
from confluent_kafka import ThrottleEvent

from worker.throttling import Throttling, throttled_client


def test_a_throttled_client_is_known_for_as_long_as_the_broker_delays_it(caplog: pytest.LogCaptureFixture) -> None:
    throttling = Throttling(throttled_client({"client.id": "mod", "sasl.username": "me"}))
    assert not throttling.is_throttled(0)
    throttling.hear(ThrottleEvent("broker-1", 1, 2.5))
    assert throttling.is_throttled(0)
    assert throttling.is_throttled(2499)
    assert not throttling.is_throttled(2500)
    [line] = caplog.messages
    assert "broker-1 throttles this consumer by 2500 ms" in line
    assert "user 'me' (WORKER_KAFKA__SASL_USERNAME), client id 'mod' (client.id)" in line


def test_it_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    throttling = Throttling("client id 'mod'")
    for now_ms in (0, 30_000, 60_000):
        throttling.hear(ThrottleEvent("broker-1", 1, 0.1))
        throttling.is_throttled(now_ms)
    assert len(caplog.messages) == 2


def test_the_end_of_a_throttling_is_none(caplog: pytest.LogCaptureFixture) -> None:
    throttling = Throttling("client id 'mod'")
    throttling.hear(ThrottleEvent("broker-1", 1, 0))
    assert not throttling.is_throttled(0)
    assert not caplog.messages
