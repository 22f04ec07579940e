"""The table of the transaction, and the events that Kafka's errors mean."""

import itertools

import pytest

from worker.kafka.transaction import (
    CALL_EVENTS,
    CALLS,
    REFUSALS,
    TABLE,
    Event,
    Failure,
    Outcome,
    State,
    classify,
    follow,
)


def event_of(state: State, failure: Failure, *, age_ms: int = 100, elapsed_ms: int = 0) -> Event:
    return classify(
        state,
        failure,
        age_ms=age_ms,
        elapsed_ms=elapsed_ms,
        transaction_timeout_ms=15_000,
    )


def test_every_call_has_a_row_for_each_of_its_events() -> None:
    assert {pair for pair in TABLE if pair[1] in CALL_EVENTS} == set(itertools.product(CALLS, CALL_EVENTS))


def test_an_impossible_event_names_state_and_event() -> None:
    with pytest.raises(AssertionError, match="STALE is not possible in the state COMMITTING"):
        follow(State.COMMITTING, Event.STALE)
    for state, event in itertools.product(CALLS, CALL_EVENTS):
        assert follow(state, event) == TABLE[state, event]


def test_only_a_commit_that_is_done_is_committed() -> None:
    committed = [pair for pair, (_, outcome) in TABLE.items() if outcome is Outcome.COMMITTED]
    assert committed == [(State.COMMITTING, Event.DONE)]


def test_no_commit_begins_before_the_new_starts_are_confirmed() -> None:
    """``StartConfirmation`` says why: a coordinator may have answered with old committed offsets."""
    assert [pair for pair, (state, _) in TABLE.items() if state is State.COMMITTING] == [
        (State.CONFIRMING, Event.DONE),
        (State.COMMITTING, Event.RETRY),
    ]
    assert TABLE[State.OFFSETS, Event.DONE] == (State.CONFIRMING, None)  # only a write shows what is loaded
    assert TABLE[State.CONFIRMING, Event.OLD_START] == (State.ABORTING, None)
    assert TABLE[State.ABORTING, Event.DONE] == (State.READY, Outcome.REWIND)


def test_a_commit_that_may_have_succeeded_is_never_aborted() -> None:
    for event in (Event.TIMED_OUT, Event.UNKNOWN, Event.RETRY):
        state, _ = TABLE[State.COMMITTING, event]
        assert state in {State.DEFUNCT, State.COMMITTING}


def test_after_a_refusal_no_transaction_begins() -> None:
    for refusal in REFUSALS:
        assert TABLE[State.READY, refusal] == (State.READY, Outcome.REWIND)
        assert [state for state, event in TABLE if event is refusal] == [State.READY]


def test_a_suspect_producer_is_replaced_before_it_begins_and_at_no_other_time() -> None:
    assert TABLE[State.READY, Event.SUSPECT] == (State.DEFUNCT, None)
    assert [state for state, event in TABLE if event is Event.SUSPECT] == [State.READY]


def test_every_path_ends() -> None:
    """From each state, any events but RETRY lead to an outcome or to a defunct producer in a few steps."""
    for start in CALLS:
        reached = {start}
        for _ in range(6):
            steps = [TABLE[state, event] for state in reached for event in CALL_EVENTS if event is not Event.RETRY]
            reached = {state for state, outcome in steps if outcome is None and state not in {State.DEFUNCT, start}}
            reached -= {State.READY, State.NEW}
        assert not reached


def test_a_producer_is_used_again_only_after_a_clean_end() -> None:
    ready = {pair for pair, (state, outcome) in TABLE.items() if state is State.READY and outcome is not None}
    clean = {(State.COMMITTING, Event.DONE), (State.ABORTING, Event.DONE)}
    assert ready == clean | {(State.READY, refusal) for refusal in REFUSALS}


@pytest.mark.parametrize(
    "code",
    [
        "ILLEGAL_GENERATION",
        "UNKNOWN_MEMBER_ID",
        "STALE_MEMBER_EPOCH",
        "REBALANCE_IN_PROGRESS",
        "TRANSACTION_ABORTABLE",
        "_INCONSISTENT",
    ],
)
def test_what_requires_an_abort_is_aborted(code: str) -> None:
    for state in (State.OPEN, State.OFFSETS, State.COMMITTING):
        assert event_of(state, Failure(code=code, abortable=True)) is Event.ABORTABLE
        assert TABLE[state, Event.ABORTABLE] == (State.ABORTING, None)


@pytest.mark.parametrize("code", ["REQUEST_TIMED_OUT", "UNKNOWN"])
def test_a_commit_has_an_unknown_outcome_if_the_coordinator_does_not_say_it(code: str) -> None:
    failure = Failure(code=code, abortable=True)
    assert event_of(State.COMMITTING, failure) is Event.UNKNOWN
    assert event_of(State.OFFSETS, failure) is Event.ABORTABLE
    assert TABLE[State.COMMITTING, Event.UNKNOWN] == (State.DEFUNCT, Outcome.REWIND)


@pytest.mark.parametrize("code", ["_FENCED", "INVALID_PRODUCER_EPOCH", "PRODUCER_FENCED"])
def test_the_age_of_the_transaction_tells_a_fenced_producer_from_a_time_out(code: str) -> None:
    failure = Failure(code=code, fatal=True)
    assert event_of(State.COMMITTING, failure, age_ms=14_999) is Event.FENCED
    assert event_of(State.COMMITTING, failure, age_ms=15_000) is Event.FATAL
    assert TABLE[State.COMMITTING, Event.FENCED] == (State.DEFUNCT, Outcome.STOP)
    assert TABLE[State.COMMITTING, Event.FATAL] == (State.DEFUNCT, Outcome.REWIND)


def test_a_taken_instance_id_stops_the_process_whatever_its_flags() -> None:
    for state in CALLS:
        failure = Failure(code="FENCED_INSTANCE_ID", abortable=True)
        assert TABLE[state, event_of(state, failure)][1] is Outcome.STOP


@pytest.mark.parametrize(
    "code", ["GROUP_AUTHORIZATION_FAILED", "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "TOPIC_AUTHORIZATION_FAILED"]
)
def test_a_missing_permission_is_aborted_once_and_stops(code: str) -> None:
    assert event_of(State.OFFSETS, Failure(code=code, abortable=True)) is Event.UNAUTHORIZED
    assert TABLE[State.OFFSETS, Event.UNAUTHORIZED] == (State.FINAL_ABORT, None)
    assert TABLE[State.FINAL_ABORT, Event.DONE] == (State.DEFUNCT, Outcome.STOP)


def test_after_an_expired_transactional_id_the_producer_is_replaced_and_the_process_goes_on() -> None:
    code = "INVALID_PRODUCER_ID_MAPPING"
    for failure in (Failure(code=code, abortable=True), Failure(code=code, fatal=True), Failure(code=code)):
        assert {event_of(state, failure) for state in CALLS} == {Event.EXPIRED}
    for state in set(CALLS) - {State.NEW, State.FINAL_ABORT}:
        assert TABLE[state, Event.EXPIRED] == (State.DEFUNCT, Outcome.REWIND)
    assert TABLE[State.NEW, Event.EXPIRED] == (State.DEFUNCT, None)


@pytest.mark.parametrize("code", ["INVALID_TXN_STATE", "OUT_OF_ORDER_SEQUENCE_NUMBER"])
def test_other_codes_with_the_flag_fatal_are_fatal(code: str) -> None:
    assert event_of(State.OFFSETS, Failure(code=code, fatal=True)) is Event.FATAL


def test_a_retriable_call_is_repeated_until_the_time_out_and_then_the_producer_is_replaced() -> None:
    failure = Failure(code="_TIMED_OUT", retriable=True)
    for state in (State.OFFSETS, State.COMMITTING, State.ABORTING):
        assert event_of(state, failure, elapsed_ms=14_999) is Event.RETRY
        assert TABLE[state, Event.RETRY] == (state, None)
        assert event_of(state, failure, elapsed_ms=15_000) is Event.TIMED_OUT
        assert TABLE[state, Event.TIMED_OUT] == (State.DEFUNCT, Outcome.REWIND)


def test_offsets_that_a_transport_error_cut_off_are_not_sent_again() -> None:
    failure = Failure(code="_TRANSPORT", retriable=True)
    assert event_of(State.OFFSETS, failure) is Event.TIMED_OUT
    assert event_of(State.COMMITTING, failure) is Event.RETRY


def test_at_the_start_the_worker_waits_without_a_limit_for_a_broker_that_is_down() -> None:
    assert TABLE[State.NEW, Event.TIMED_OUT] == (State.NEW, None)


def test_a_transaction_that_lacks_an_output_is_aborted() -> None:
    for code in ("_STATE", "MSG_SIZE_TOO_LARGE", "_UNKNOWN_PARTITION"):
        assert event_of(State.OPEN, Failure(code=code)) is Event.ABORTABLE


def test_an_error_without_flags_is_fatal() -> None:
    assert event_of(State.OFFSETS, Failure(code="_CONFLICT")) is Event.FATAL
    assert event_of(State.READY, Failure(code="_STATE")) is Event.FATAL
