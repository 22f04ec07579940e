"""The transaction of one publish: states x events, as a table that the session asks before it acts.

Invariant: outputs and offsets become visible together or not at all, and a transaction whose outcome nobody
told us is neither committed nor aborted until a new producer's ``init_transactions`` has settled it.

Why it holds: each state has exactly one Kafka call (``CALLS``). The call's result is classified into an event
(``classify``); the table says what state follows and whether the session has its answer. COMMITTED is the
answer to ``(COMMITTING, DONE)`` alone. Every other end answers FORGET: what is in memory is dropped and read
again from what the group has really committed, which covers "committed, but the answer was lost" as well as
"aborted". A pair that is not in the table is a bug, and raises ``KeyError`` before anything is called.

Rejected: retrying an abort after a commit that timed out (librdkafka answers ``_CONFLICT``, and on a killed
broker the abort ends in a fatal INVALID_TXN_STATE); remembering offsets and rewinding to them (the commit
whose answer was lost may have succeeded: everything would be judged twice).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """Where the producer stands; each but DEFUNCT has one call to make."""

    NEW = "new"  # made, not initialised: the fate of its predecessor's transaction is not known
    READY = "ready"  # between transactions
    OPEN = "open"  # begun: the outputs are being produced
    OFFSETS = "offsets"  # all outputs handed over: the offsets come next
    COMMITTING = "committing"
    ABORTING = "aborting"
    FINAL_ABORT = "final abort"  # aborting for the last time: Kafka has refused us for good
    DEFUNCT = "defunct"  # of no use any more: a new producer with the same id must take its place


class Event(Enum):
    """What came of a call, or of looking before one."""

    DONE = "done"
    RETRY = "retry"  # the slice of time is over; the same call goes on where it was
    TIMED_OUT = "timed out"  # one slice too many
    ABORTABLE = "abortable"
    UNKNOWN = "unknown"  # the coordinator did not say what became of the commit
    FATAL = "fatal"  # this producer is of no use; its successor is
    EXPIRED = "expired"  # the coordinator has forgotten our transactional.id, which was idle for too long
    UNAUTHORIZED = "unauthorized"  # would fail for ever: permissions, or a time-out that brokers don't take
    FENCED = "fenced"  # another live process has our transactional.id
    INSTANCE_TAKEN = "instance taken"  # another live process has our group.instance.id
    # Refusals: what the session finds before it begins.
    NO_METADATA = "no metadata"
    STALE = "stale"
    GAP = "gap"
    MISSING_OUTPUT = "missing output"
    SUSPECT = "suspect"  # what happened since the last transaction may make this producer hang, or be overtaken


class Answer(Enum):
    """What a publish came to."""

    COMMITTED = "committed"
    REWIND = "forget"  # drop what is in memory, read on from what the group has committed
    STOP = "stop"  # the process must end with the contract's exit code for Kafka


CALLS = {
    State.NEW: "init_transactions",
    State.READY: "begin_transaction",
    State.OPEN: "produce",
    State.OFFSETS: "send_offsets_to_transaction",
    State.COMMITTING: "commit_transaction",
    State.ABORTING: "abort_transaction",
    State.FINAL_ABORT: "abort_transaction",
}

REFUSALS = (Event.NO_METADATA, Event.STALE, Event.GAP, Event.MISSING_OUTPUT)

_STOPS = (Event.FENCED, Event.INSTANCE_TAKEN)
_IN_USE = (State.READY, State.OPEN, State.OFFSETS, State.COMMITTING, State.ABORTING)

TABLE: dict[tuple[State, Event], tuple[State, Answer | None]] = {
    (State.NEW, Event.DONE): (State.READY, None),
    (State.NEW, Event.RETRY): (State.NEW, None),
    (State.NEW, Event.TIMED_OUT): (State.NEW, None),  # a broker that is away is waited for without end
    (State.NEW, Event.ABORTABLE): (State.DEFUNCT, None),
    (State.NEW, Event.UNKNOWN): (State.DEFUNCT, None),
    (State.NEW, Event.FATAL): (State.DEFUNCT, None),
    (State.NEW, Event.UNAUTHORIZED): (State.DEFUNCT, Answer.STOP),
    (State.READY, Event.DONE): (State.OPEN, None),
    (State.READY, Event.RETRY): (State.DEFUNCT, Answer.REWIND),
    (State.READY, Event.TIMED_OUT): (State.DEFUNCT, Answer.REWIND),
    (State.READY, Event.ABORTABLE): (State.DEFUNCT, Answer.REWIND),
    (State.READY, Event.UNKNOWN): (State.DEFUNCT, Answer.REWIND),
    (State.READY, Event.FATAL): (State.DEFUNCT, Answer.REWIND),
    (State.READY, Event.UNAUTHORIZED): (State.DEFUNCT, Answer.STOP),
    (State.READY, Event.SUSPECT): (State.DEFUNCT, None),
    **{(State.READY, refusal): (State.READY, Answer.REWIND) for refusal in REFUSALS},
    (State.OPEN, Event.DONE): (State.OFFSETS, None),
    (State.OPEN, Event.RETRY): (State.OPEN, None),
    (State.OPEN, Event.TIMED_OUT): (State.DEFUNCT, Answer.REWIND),
    (State.OPEN, Event.ABORTABLE): (State.ABORTING, None),
    (State.OPEN, Event.UNKNOWN): (State.ABORTING, None),
    (State.OPEN, Event.FATAL): (State.DEFUNCT, Answer.REWIND),
    (State.OPEN, Event.UNAUTHORIZED): (State.FINAL_ABORT, None),
    (State.OFFSETS, Event.DONE): (State.COMMITTING, None),
    (State.OFFSETS, Event.RETRY): (State.OFFSETS, None),
    (State.OFFSETS, Event.TIMED_OUT): (State.DEFUNCT, Answer.REWIND),
    (State.OFFSETS, Event.ABORTABLE): (State.ABORTING, None),
    (State.OFFSETS, Event.UNKNOWN): (State.ABORTING, None),
    (State.OFFSETS, Event.FATAL): (State.DEFUNCT, Answer.REWIND),
    (State.OFFSETS, Event.UNAUTHORIZED): (State.FINAL_ABORT, None),
    (State.COMMITTING, Event.DONE): (State.READY, Answer.COMMITTED),
    (State.COMMITTING, Event.RETRY): (State.COMMITTING, None),
    (State.COMMITTING, Event.TIMED_OUT): (State.DEFUNCT, Answer.REWIND),
    (State.COMMITTING, Event.ABORTABLE): (State.ABORTING, None),
    (State.COMMITTING, Event.UNKNOWN): (State.DEFUNCT, Answer.REWIND),  # never abort what may be committed
    (State.COMMITTING, Event.FATAL): (State.DEFUNCT, Answer.REWIND),
    (State.COMMITTING, Event.UNAUTHORIZED): (State.FINAL_ABORT, None),
    (State.ABORTING, Event.DONE): (State.READY, Answer.REWIND),
    (State.ABORTING, Event.RETRY): (State.ABORTING, None),
    (State.ABORTING, Event.TIMED_OUT): (State.DEFUNCT, Answer.REWIND),
    (State.ABORTING, Event.ABORTABLE): (State.DEFUNCT, Answer.REWIND),
    (State.ABORTING, Event.UNKNOWN): (State.DEFUNCT, Answer.REWIND),
    (State.ABORTING, Event.FATAL): (State.DEFUNCT, Answer.REWIND),
    (State.ABORTING, Event.UNAUTHORIZED): (State.DEFUNCT, Answer.STOP),
    (State.FINAL_ABORT, Event.DONE): (State.DEFUNCT, Answer.STOP),
    (State.FINAL_ABORT, Event.RETRY): (State.FINAL_ABORT, None),
    (State.FINAL_ABORT, Event.TIMED_OUT): (State.DEFUNCT, Answer.STOP),
    (State.FINAL_ABORT, Event.ABORTABLE): (State.DEFUNCT, Answer.STOP),
    (State.FINAL_ABORT, Event.UNKNOWN): (State.DEFUNCT, Answer.STOP),
    (State.FINAL_ABORT, Event.FATAL): (State.DEFUNCT, Answer.STOP),
    (State.FINAL_ABORT, Event.UNAUTHORIZED): (State.DEFUNCT, Answer.STOP),
    **{(state, stop): (State.DEFUNCT, Answer.STOP) for state in CALLS for stop in _STOPS},
    (State.NEW, Event.EXPIRED): (State.DEFUNCT, None),
    (State.FINAL_ABORT, Event.EXPIRED): (State.DEFUNCT, Answer.STOP),
    **{(state, Event.EXPIRED): (State.DEFUNCT, Answer.REWIND) for state in _IN_USE},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A Kafka error, as far as it decides anything.

    Attributes:
        code: librdkafka's name of it: ``_FENCED``, ``ILLEGAL_GENERATION``.
        retriable: Its flag ``retriable``.
        abortable: Its flag ``txn_requires_abort``.
        fatal: Its flag ``fatal``.
        text: What librdkafka says, for people.
    """

    code: str
    retriable: bool = False
    abortable: bool = False
    fatal: bool = False
    text: str = ""


# librdkafka names a fenced producer in three ways, by the request that found out.
_FENCED_CODES = frozenset({"_FENCED", "INVALID_PRODUCER_EPOCH", "PRODUCER_FENCED"})
_UNAUTHORIZED = frozenset(
    {
        "CLUSTER_AUTHORIZATION_FAILED",
        "GROUP_AUTHORIZATION_FAILED",
        "INVALID_TRANSACTION_TIMEOUT",
        "TOPIC_AUTHORIZATION_FAILED",
        "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    }
)
# What ``produce`` says of one output. ``_STATE``: the broker has refused an earlier one in the meantime. Nothing
# is wrong with the transaction after the others, but it lacks an output now.
_NOT_TAKEN = frozenset({"_STATE", "MSG_SIZE_TOO_LARGE", "_UNKNOWN_PARTITION", "_UNKNOWN_TOPIC"})
# EndTxn answered so: the coordinator may have written the commit and may not.
_OUTCOME_UNKNOWN = frozenset({"REQUEST_TIMED_OUT", "UNKNOWN"})


def classify(  # noqa: PLR0911 - a return for each class of errors
    state: State,
    failure: Failure,
    *,
    age_ms: int,
    transaction_timeout_ms: int,
    elapsed_ms: int,
    bound_ms: int,
) -> Event:
    """Turns a failed call into an event.

    Args:
        state: Where the producer stood when it made the call.
        failure: The error.
        age_ms: Since the transaction began; 0 outside one. A transaction older than its time-out is fenced by
            the broker itself, with the very error that another live process causes: only the age tells them apart.
        transaction_timeout_ms: The producer's ``transaction.timeout.ms``.
        elapsed_ms: Since the publish began.
        bound_ms: How long it may take in all.
    """
    if failure.code == "FENCED_INSTANCE_ID":
        return Event.INSTANCE_TAKEN
    if failure.code in _UNAUTHORIZED:
        return Event.UNAUTHORIZED
    if failure.code in _FENCED_CODES:
        return Event.FATAL if age_ms >= transaction_timeout_ms else Event.FENCED
    if failure.code == "INVALID_PRODUCER_ID_MAPPING":
        # After an abort the same producer would begin, and may get the same answer again and again. A new one with
        # the same id registers it anew. Nothing is wrong with this process, so it doesn't count as fatal.
        return Event.EXPIRED
    if failure.fatal:
        return Event.FATAL
    if failure.abortable:
        lost = state is State.COMMITTING and failure.code in _OUTCOME_UNKNOWN
        return Event.UNKNOWN if lost else Event.ABORTABLE
    if state is State.OPEN and failure.code in _NOT_TAKEN:
        return Event.ABORTABLE
    if failure.retriable:
        # Offsets that a transport error cut off must not be sent again: that call would never return. No commit has
        # begun, so the transaction can be given up.
        cut_off = state is State.OFFSETS and failure.code == "_TRANSPORT"
        return Event.TIMED_OUT if cut_off or elapsed_ms >= bound_ms else Event.RETRY
    return Event.FATAL


def comes_back(replaced_at_ms: Sequence[int], now_ms: int) -> bool:
    """Whether fatal errors come back so often that another new producer is no remedy.

    Three in five minutes: one is a broker's restart, two are bad luck, and with three a person should look.

    Args:
        replaced_at_ms: When a fatal error cost a producer, oldest first, the latest one included.
        now_ms: The time.
    """
    return len([at_ms for at_ms in replaced_at_ms if now_ms - at_ms < 300_000]) >= 3  # noqa: PLR2004 - above
