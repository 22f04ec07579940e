"""The transaction of one publish: a table of states and events, which the publisher asks before it acts.

Invariant: outputs and offsets become visible together or not at all. A transaction with an unknown outcome counts
as neither committed nor aborted until ``init_transactions`` of a new producer has settled it.

Why it holds:

1. Each state has exactly one Kafka call (``CALLS``). ``classify`` turns the result of the call into an event.
2. The table (``TABLE``) gives the next state, and the outcome if the publish is over.
3. Only a successful ``commit_transaction`` gives COMMITTED. Every other end of a publish gives REWIND: the worker
   drops the records in memory and reads again from the offsets that the group has really committed. This is right
   after an abort, and right after a commit whose answer was lost.
4. The table has a row for each state with a call and each event of a call. So a call never ends without a row. A
   refusal is found before any call: in another state than READY it is a bug, and ``follow`` names state and
   event.

Rejected:

- To abort after a commit that timed out. librdkafka answers ``_CONFLICT``, and with a killed broker the abort
  ends in a fatal INVALID_TXN_STATE.
- To remember offsets and to rewind to them. The commit whose answer was lost may have succeeded, and then the
  worker would judge everything twice.
"""

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """The state of the producer. Each state but DEFUNCT has one call."""

    NEW = "new"  # created, not initialised: the transaction of the previous producer may still be open
    READY = "ready"  # between two transactions
    OPEN = "open"  # begun: the outputs are being produced
    OFFSETS = "offsets"  # librdkafka has taken all outputs: the offsets come next
    CONFIRMING = "confirming"  # the coordinator has taken the offsets: were the new starts the latest offsets?
    COMMITTING = "committing"
    ABORTING = "aborting"
    FINAL_ABORT = "final abort"  # aborting before the process ends: Kafka has refused this worker
    DEFUNCT = "defunct"  # cannot be used any more: a new producer with the same transactional id must replace it


class Event(Enum):
    """The result of a call, or of a check before a call."""

    DONE = "done"
    RETRY = "retry"  # the call is not finished: the next call of the same kind continues it
    TIMED_OUT = "timed out"  # the call is not finished, and the time for the whole publish is over
    OLD_START = "old start"  # a partition's start came from an old answer of the coordinator (start_confirmation)
    ABORTABLE = "abortable"  # the transaction cannot be committed, but the producer can abort it
    UNKNOWN = "unknown"  # the coordinator did not say whether it has committed the transaction
    FATAL = "fatal"  # this producer cannot be used any more, but a new one can
    EXPIRED = "expired"  # the coordinator has forgotten the transactional id, which was idle for too long
    UNAUTHORIZED = "unauthorized"  # fails until a person changes a permission or a time-out
    FENCED = "fenced"  # another live process uses the same transactional.id
    INSTANCE_TAKEN = "instance taken"  # another live process uses the same group.instance.id
    # Refusals: the session finds them before the transaction begins.
    NO_METADATA = "no metadata"  # the consumer is not a member of the group
    STALE = "stale"  # a record's partition was revoked or rewound after the record was read
    GAP = "gap"  # an offset is missing between the committed offset and the records
    MISSING_OUTPUT = "missing output"  # a record lacks a verdict, or has two
    # The publisher finds it before the transaction begins.
    SUSPECT = "suspect"  # this producer may hang, or a delayed request may end its next transaction


class Outcome(Enum):
    """The result of a publish."""

    COMMITTED = "committed"
    REWIND = "rewind"  # drop the records in memory, and read again from the committed offsets
    STOP = "stop"  # the process must end with the exit code for Kafka


CALLS = {
    State.NEW: "init_transactions",
    State.READY: "begin_transaction",
    State.OPEN: "produce",
    State.OFFSETS: "send_offsets_to_transaction",
    State.CONFIRMING: "OffsetFetch",  # by a client of its own, and only for partitions with a new start
    State.COMMITTING: "commit_transaction",
    State.ABORTING: "abort_transaction",
    State.FINAL_ABORT: "abort_transaction",
}

REFUSALS = (Event.NO_METADATA, Event.STALE, Event.GAP, Event.MISSING_OUTPUT)
CALL_EVENTS = tuple(event for event in Event if event not in {*REFUSALS, Event.SUSPECT})
"""The events that a call can have."""

Step = tuple[State, Outcome | None]
"""The next state, and the outcome; None while the publish goes on."""

_DEFAULTS: dict[State, Step] = {
    State.NEW: (State.DEFUNCT, None),  # no publish is under way, so nothing has to be read again
    State.READY: (State.DEFUNCT, Outcome.REWIND),
    State.OPEN: (State.DEFUNCT, Outcome.REWIND),
    State.OFFSETS: (State.DEFUNCT, Outcome.REWIND),
    State.CONFIRMING: (State.DEFUNCT, Outcome.REWIND),
    State.COMMITTING: (State.DEFUNCT, Outcome.REWIND),  # also UNKNOWN: never abort what may be committed
    State.ABORTING: (State.DEFUNCT, Outcome.REWIND),
    State.FINAL_ABORT: (State.DEFUNCT, Outcome.STOP),  # also DONE: the abort was the last thing to do
}
"""The step after any event that has no row of its own."""

_STOPS = (Event.FENCED, Event.INSTANCE_TAKEN, Event.UNAUTHORIZED)
"""These end the process, whatever the state. With UNAUTHORIZED an open transaction is aborted first."""

_EXCEPTIONS: dict[tuple[State, Event], Step] = {
    (State.NEW, Event.DONE): (State.READY, None),
    (State.NEW, Event.RETRY): (State.NEW, None),
    (State.NEW, Event.TIMED_OUT): (State.NEW, None),  # wait without a limit for a broker that is down
    (State.READY, Event.DONE): (State.OPEN, None),
    (State.READY, Event.SUSPECT): (State.DEFUNCT, None),
    **{(State.READY, refusal): (State.READY, Outcome.REWIND) for refusal in REFUSALS},
    (State.OPEN, Event.DONE): (State.OFFSETS, None),
    (State.OPEN, Event.RETRY): (State.OPEN, None),
    (State.OPEN, Event.ABORTABLE): (State.ABORTING, None),
    (State.OPEN, Event.UNKNOWN): (State.ABORTING, None),
    (State.OPEN, Event.UNAUTHORIZED): (State.FINAL_ABORT, None),
    (State.OFFSETS, Event.DONE): (State.CONFIRMING, None),
    (State.OFFSETS, Event.RETRY): (State.OFFSETS, None),
    (State.OFFSETS, Event.ABORTABLE): (State.ABORTING, None),
    (State.OFFSETS, Event.UNKNOWN): (State.ABORTING, None),
    (State.OFFSETS, Event.UNAUTHORIZED): (State.FINAL_ABORT, None),
    (State.CONFIRMING, Event.DONE): (State.COMMITTING, None),
    (State.CONFIRMING, Event.OLD_START): (State.ABORTING, None),
    (State.CONFIRMING, Event.ABORTABLE): (State.ABORTING, None),  # no answer: never ask again without a new write
    (State.COMMITTING, Event.DONE): (State.READY, Outcome.COMMITTED),
    (State.COMMITTING, Event.RETRY): (State.COMMITTING, None),
    (State.COMMITTING, Event.ABORTABLE): (State.ABORTING, None),
    (State.COMMITTING, Event.UNAUTHORIZED): (State.FINAL_ABORT, None),
    (State.ABORTING, Event.DONE): (State.READY, Outcome.REWIND),
    (State.ABORTING, Event.RETRY): (State.ABORTING, None),
    (State.FINAL_ABORT, Event.RETRY): (State.FINAL_ABORT, None),
}

TABLE: dict[tuple[State, Event], Step] = {
    **{(state, event): step for state, step in _DEFAULTS.items() for event in CALL_EVENTS},
    **{(state, stop): (State.DEFUNCT, Outcome.STOP) for state in CALLS for stop in _STOPS},
    **_EXCEPTIONS,
}


def follow(state: State, event: Event) -> Step:
    """Return the step that the table gives.

    Raises:
        AssertionError: A bug: the event is not possible in this state.
    """
    step = TABLE.get((state, event))
    if step is None:
        raise AssertionError(f"the event {event.name} is not possible in the state {state.name}")
    return step


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The parts of a Kafka error that decide what follows.

    Attributes:
        code: librdkafka's name of the error, for example ``_FENCED`` or ``ILLEGAL_GENERATION``.
        retriable: Its flag ``retriable``.
        abortable: Its flag ``txn_requires_abort``.
        fatal: Its flag ``fatal``.
        text: librdkafka's message, for people.
    """

    code: str
    retriable: bool = False
    abortable: bool = False
    fatal: bool = False
    text: str = ""


_CODES = {
    # Another live process has joined the group with the same group.instance.id, whatever the flags say.
    "FENCED_INSTANCE_ID": Event.INSTANCE_TAKEN,
    # Brokers before 2.8 want IDEMPOTENT_WRITE on the cluster for init_transactions.
    "CLUSTER_AUTHORIZATION_FAILED": Event.UNAUTHORIZED,
    # READ on the group is missing: the offsets cannot be committed.
    "GROUP_AUTHORIZATION_FAILED": Event.UNAUTHORIZED,
    # transaction.timeout.ms is longer than the brokers' transaction.max.timeout.ms.
    "INVALID_TRANSACTION_TIMEOUT": Event.UNAUTHORIZED,
    # WRITE on an output topic is missing, or READ on an input topic, which committing its offsets needs.
    "TOPIC_AUTHORIZATION_FAILED": Event.UNAUTHORIZED,
    # WRITE on the transactional id is missing.
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": Event.UNAUTHORIZED,
    # The coordinator has forgotten the transactional id. After an abort, the same producer could get this error
    # again and again. A new producer registers the id again. This process is not at fault, so the event is not
    # FATAL.
    "INVALID_PRODUCER_ID_MAPPING": Event.EXPIRED,
}
"""Codes that mean the same in every state."""

_FENCED_CODES = frozenset(
    {
        "_FENCED",  # librdkafka's own name: a newer producer has the same transactional.id
        "INVALID_PRODUCER_EPOCH",  # from a partition's leader, and from the coordinator in older requests
        "PRODUCER_FENCED",  # from the coordinator in newer requests (KIP-588)
    }
)
"""Another producer was initialised with the same id, or the coordinator itself has ended a transaction that was
older than its time-out."""

_NOT_TAKEN = frozenset(
    {
        "_STATE",  # the broker has refused an earlier output meanwhile
        "MSG_SIZE_TOO_LARGE",  # the output is larger than the client's message.max.bytes
        "_UNKNOWN_PARTITION",  # the topic has fewer partitions than before: it was deleted and created again
        "_UNKNOWN_TOPIC",  # the topic is gone
    }
)
"""Errors of ``produce`` for one output. The transaction is usable but incomplete, so abort it."""

_OUTCOME_UNKNOWN = frozenset(
    {
        "REQUEST_TIMED_OUT",  # the coordinator stopped waiting for the replicas of its log: it may have committed
        "UNKNOWN",  # the coordinator failed before or after it has committed
    }
)
"""Errors of ``commit_transaction`` that do not say whether the transaction is committed."""


def classify(  # noqa: PLR0911 - a return for each class of errors
    state: State, failure: Failure, *, age_ms: int, elapsed_ms: int, transaction_timeout_ms: int
) -> Event:
    """Return the event that a failed call means.

    Args:
        state: The state in which the call was made.
        failure: The error.
        age_ms: Time since the transaction began; 0 outside a transaction. The coordinator fences a transaction
            that is older than its time-out, with the same error that another live process causes. Only the age
            tells the two cases apart.
        elapsed_ms: Time since the publish began.
        transaction_timeout_ms: The producer's ``transaction.timeout.ms``, which also limits the whole publish.
    """
    if failure.code in _CODES:
        return _CODES[failure.code]
    if failure.code in _FENCED_CODES:
        return Event.FATAL if age_ms >= transaction_timeout_ms else Event.FENCED
    if failure.fatal:
        return Event.FATAL
    if failure.abortable:
        is_unknown = state is State.COMMITTING and failure.code in _OUTCOME_UNKNOWN
        return Event.UNKNOWN if is_unknown else Event.ABORTABLE
    if state is State.OPEN and failure.code in _NOT_TAKEN:
        return Event.ABORTABLE
    if failure.retriable:
        # Do not send offsets again after a transport error: that call would never return. The commit has not begun,
        # so the transaction can be given up.
        is_cut_off = state is State.OFFSETS and failure.code == "_TRANSPORT"
        return Event.TIMED_OUT if is_cut_off or elapsed_ms >= transaction_timeout_ms else Event.RETRY
    return Event.FATAL
