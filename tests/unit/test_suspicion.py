"""Why a producer is replaced before its next transaction."""

import pytest

from worker.kafka.suspicion import Suspicion


def test_the_first_reason_stays() -> None:
    suspicion = Suspicion()
    suspicion.add("the first")
    suspicion.add("the second")
    assert suspicion.reason == "the first"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("_TRANSPORT", "the text"),
        ("_ALL_BROKERS_DOWN", "the text"),
        ("_RESOLVE", "the text"),
        ("_TIMED_OUT", "the text"),
        ("_AUTHENTICATION", ""),
    ],
)
def test_an_error_of_the_connection_is_a_reason(code: str, reason: str) -> None:
    suspicion = Suspicion()
    suspicion.transport_error(code, "the text")
    assert suspicion.reason == reason


def test_a_slow_commit_is_a_reason_once_in_half_a_minute() -> None:
    suspicion = Suspicion()
    reasons = []
    for now_ms, took_ms in ((100_000, 4_999), (100_000, 5_000), (129_999, 6_000), (130_000, 6_000)):
        suspicion.reason = ""
        suspicion.committed(now_ms, took_ms)
        reasons.append(suspicion.reason)
    assert reasons == ["", "a transaction took 5000 ms", "", "a transaction took 6000 ms"]
