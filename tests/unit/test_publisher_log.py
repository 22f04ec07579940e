"""What the publisher logs, and how often."""

import logging
from itertools import pairwise

import pytest

from worker.kafka.backoff import Backoff
from worker.kafka.publisher_log import PublisherLog
from worker.kafka.publisher_options import PublisherOptions
from worker.kafka.transaction import TABLE, Event, Failure, State

OPTIONS = PublisherOptions(
    config={}, admin_config={}, topics={}, transactional_id="w-0", transaction_timeout_ms=15_000, group_id="g"
)


def line_of(
    state: State,
    event: Event,
    text: str,
    caplog: pytest.LogCaptureFixture,
    *,
    took_ms: int = 15_000,
    attempts: int = 0,
) -> tuple[str, str]:
    """Return the level and the text of the event's line."""
    caplog.set_level(logging.DEBUG)
    failure = Failure(code="", text=text)
    publisher_log = PublisherLog(OPTIONS)
    publisher_log.event(state, event, TABLE[state, event], failure, took_ms=took_ms, attempts=attempts)
    assert publisher_log.events == {event: 1}
    [record] = caplog.records
    return record.levelname, record.getMessage()


ID = "transactional id 'w-0'"


@pytest.mark.parametrize(
    ("state", "event", "text", "happened", "following"),
    [
        (
            State.COMMITTING,
            Event.TIMED_OUT,
            "no answer",
            f"commit_transaction timed out after 15000 ms ({ID}, broker: no answer)",
            "replacing the producer and reading again from the committed offsets",
        ),
        (
            State.COMMITTING,
            Event.RETRY,
            "",
            f"commit_transaction is not finished (retry) after 15000 ms ({ID})",
            "calling commit_transaction again",
        ),
        (
            State.OFFSETS,
            Event.ABORTABLE,
            "rebalance",
            f"send_offsets_to_transaction failed with an abortable error after 15000 ms ({ID}, broker: rebalance)",
            "calling abort_transaction",
        ),
        (
            State.READY,
            Event.GAP,
            "",
            f"no transaction was begun (group 'g', {ID}): gap: offsets are missing before a record",
            "reading again from the committed offsets",
        ),
    ],
)
def test_a_line_says_what_happened_for_how_long_and_what_comes_next(  # noqa: PLR0917 - a table
    state: State, event: Event, text: str, happened: str, following: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert line_of(state, event, text, caplog) == ("WARNING", f"{happened}; {following}")


def test_each_event_of_the_table_has_words(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for (state, event), step in TABLE.items():
        if event is not Event.DONE:
            PublisherLog(OPTIONS).event(state, event, step, Failure(code=""), took_ms=0, attempts=0)


def test_a_suspect_producer_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    level, line = line_of(State.READY, Event.SUSPECT, "a slow commit", caplog)
    assert level == "INFO"
    assert line.endswith("suspect producer: a slow commit; replacing the producer")


@pytest.mark.parametrize(("took_ms", "attempts"), [(4_999, 0), (15_000, 1)])
def test_a_quick_retry_and_a_repeated_failure_are_logged_for_debugging_only(
    took_ms: int, attempts: int, caplog: pytest.LogCaptureFixture
) -> None:
    level, _ = line_of(State.COMMITTING, Event.RETRY, "", caplog, took_ms=took_ms, attempts=attempts)
    assert level == "DEBUG"


def test_an_hour_without_a_commit_is_a_line_every_half_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    backoff, publisher_log, now_ms, logged_ms = Backoff(), PublisherLog(OPTIONS), 0, []
    while now_ms < 3_600_000:
        if backoff.is_over(now_ms):
            backoff.failed(now_ms, progress=False)
            lines = len(caplog.records)
            publisher_log.not_committed(Failure(code="UNKNOWN"), None, backoff, now_ms)
            logged_ms += [now_ms] * (len(caplog.records) - lines)
        now_ms += 10
    assert 1000 <= logged_ms[0] < 3000
    assert all(25_000 <= later - earlier <= 30_000 for earlier, later in pairwise(logged_ms))
    caplog.clear()
    for _ in range(2):
        publisher_log.committed(backoff, now_ms)
    [line] = caplog.messages
    assert line.startswith("committed again, after ")
    assert line.endswith("attempts in 3600.0 s (group 'g', transactional id 'w-0')")


def test_a_new_error_code_has_a_line_at_once_and_a_known_one_waits_for_the_interval(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backoff, publisher_log = Backoff(), PublisherLog(OPTIONS)
    backoff.failed(0, progress=False)
    for now_ms, code in enumerate(["_TIMED_OUT", "INVALID_TIMESTAMP", "_TIMED_OUT", "INVALID_TIMESTAMP"], 5_000):
        publisher_log.not_committed(Failure(code=code), None, backoff, now_ms)
    first, second = caplog.messages
    assert "_TIMED_OUT" in first
    assert "INVALID_TIMESTAMP" in second
    publisher_log.committed(backoff, 6_000)
    backoff.succeeded()
    backoff.failed(7_000, progress=False)
    publisher_log.not_committed(Failure(code="_TIMED_OUT"), None, backoff, 9_000)
    assert "_TIMED_OUT" in caplog.messages[-1]


def test_the_line_about_failed_attempts_keeps_the_reason_and_adds_what_delays_the_abort(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backoff, publisher_log = Backoff(), PublisherLog(OPTIONS)
    backoff.failed(0, progress=False)
    reason, abort = Failure(code="INVALID_TIMESTAMP", text="refused"), Failure(code="_TIMED_OUT", text="no answer")
    publisher_log.not_committed(reason, abort, backoff, 5_000)
    assert (
        "The last attempt failed: refused (INVALID_TIMESTAMP). Its abort is slow or failed too: no answer "
        "(_TIMED_OUT). Trying again"
    ) in caplog.text
    assert "compare the clocks" in caplog.text


def test_a_commit_after_one_failure_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    backoff, publisher_log = Backoff(), PublisherLog(OPTIONS)
    backoff.failed(0, progress=True)
    publisher_log.not_committed(Failure(code="UNKNOWN"), None, backoff, 0)
    publisher_log.committed(backoff, 100)
    assert not caplog.messages


def test_the_wait_for_a_new_producer_is_logged_every_half_minute(caplog: pytest.LogCaptureFixture) -> None:
    publisher_log = PublisherLog(OPTIONS)
    publisher_log.producer_created(1_000)
    for now_ms in range(1_000, 62_000, 1_000):
        publisher_log.waiting(Failure(code="", text="no answer"), now_ms)
    assert len(caplog.messages) == 2
    assert caplog.messages[0] == (
        f"waiting for Kafka to settle the last transaction of the {ID} (broker: no answer); "
        "calling init_transactions again"
    )
