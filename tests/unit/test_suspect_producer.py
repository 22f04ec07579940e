"""When a producer is replaced before its next transaction, and when a new producer does not help."""

import pytest

from worker.kafka.suspect_producer import FatalErrors, SuspectReason


def test_the_first_reason_stays() -> None:
    suspect = SuspectReason()
    suspect.add("the first")
    suspect.add("the second")
    assert suspect.reason == "the first"


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
def test_only_an_error_of_the_connection_is_a_reason(code: str, reason: str) -> None:
    suspect = SuspectReason()
    suspect.transport_error(code, "the text")
    assert suspect.reason == reason


def test_a_slow_commit_is_a_reason_once_in_half_a_minute() -> None:
    suspect = SuspectReason()
    reasons = []
    for now_ms, took_ms in ((100_000, 4_999), (100_000, 5_000), (129_999, 6_000), (130_000, 6_000)):
        suspect.clear()
        suspect.committed(now_ms, took_ms)
        reasons.append(suspect.reason)
    assert reasons == ["", "a transaction took 5000 ms", "", "a transaction took 6000 ms"]


def test_the_third_fatal_error_in_five_minutes_ends_the_process() -> None:
    for times_ms, recurs in (
        ([0, 299_999], [False, False]),
        ([0, 100, 299_999], [False, False, True]),
        ([0, 100, 300_000, 300_099], [False, False, False, True]),
    ):
        fatal_errors = FatalErrors()
        assert [fatal_errors.recur(at_ms) for at_ms in times_ms] == recurs
