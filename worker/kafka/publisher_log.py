"""What the publisher logs for the operator, and how often: events, failed attempts, and the wait for a broker.

The time is an argument.
"""

import logging
from collections import Counter

from worker.kafka.backoff import Backoff
from worker.kafka.log_interval import LogInterval
from worker.kafka.producer_errors import why_nothing_is_committed
from worker.kafka.publisher_options import PublisherOptions
from worker.kafka.suspect_producer import SLOW_MS
from worker.kafka.transaction import CALLS, Event, Failure, Outcome, State, Step

log = logging.getLogger(__name__)

_FIRST_LINE_MS = 1_000  # a single failed transaction has its own line
_NOT_COMMITTED_EVERY_MS = 25_000  # with the longest pause added, an operator reads a line every half minute
_WAITING_EVERY_MS = 30_000

_WHAT_HAPPENED = {
    Event.RETRY: "is not finished (retry)",
    Event.TIMED_OUT: "timed out",
    Event.OLD_START: "shows that a partition's start came from an old answer",
    Event.ABORTABLE: "failed with an abortable error",
    Event.UNKNOWN: "ended with an unknown outcome",
    Event.FATAL: "failed with a fatal error",
    Event.EXPIRED: "failed because the transactional id has expired",
    Event.UNAUTHORIZED: "is unauthorized",
    Event.FENCED: "was fenced",
    Event.INSTANCE_TAKEN: "failed because the group instance id is taken",
}
_WHY_NOT_BEGUN = {
    Event.NO_METADATA: "no metadata: this worker is not a member of the group",
    Event.STALE: "stale records: their partitions were revoked or rewound after they were read",
    Event.GAP: "gap: offsets are missing before a record",
    Event.MISSING_OUTPUT: "missing output: the outputs do not match the records",
    Event.SUSPECT: "suspect producer",
}


class PublisherLog:
    """Counts the events, and logs what an operator must know.

    Attributes:
        events: How often each event but DONE has happened.
    """

    def __init__(self, options: PublisherOptions) -> None:
        self.events: Counter[Event] = Counter()
        self._options = options
        self._not_committed = LogInterval(_NOT_COMMITTED_EVERY_MS)
        self._named_codes: set[str] = set()  # in lines about failed attempts, since the last commit
        self._waiting = LogInterval(_WAITING_EVERY_MS)

    def producer_created(self, now_ms: int) -> None:
        """Begin the wait for the initialisation of a new producer."""
        self._waiting.last_ms = now_ms

    def event(
        self, state: State, event: Event, step: Step, failure: Failure, *, took_ms: int, attempts: int
    ) -> None:
        """Count an event, and log it if it belongs to the first attempt after a commit.

        Args:
            state: The state before the event.
            event: The event.
            step: What the table says about it.
            failure: The error, if there was one.
            took_ms: Time since the attempt began.
            attempts: Number of attempts since the last commit that were not committed.
        """
        if event is Event.DONE or (event, state) == (Event.RETRY, State.NEW):
            return
        self.events[event] += 1
        level = logging.INFO if event is Event.SUSPECT else logging.WARNING
        if attempts or (event is Event.RETRY and took_ms < SLOW_MS):
            level = logging.DEBUG
        log.log(level, "%s; %s", self._what_happened(state, event, failure, took_ms), _what_next(state, step))

    def waiting(self, failure: Failure, now_ms: int) -> None:
        """Log, once an interval, that the last transaction is not settled."""
        if self._waiting.due(now_ms):
            log.warning(
                "waiting for Kafka to settle the last transaction of the transactional id %r (broker: %s); calling "
                "init_transactions again",
                self._options.transactional_id,
                failure.text,
            )

    def not_committed(self, failure: Failure, abort_failure: Failure | None, backoff: Backoff, now_ms: int) -> None:
        """Log for how long no transaction was committed: once an interval, and once for each new error code.

        Args:
            failure: Why the last transaction was not committed.
            abort_failure: The last error of its abort; None if the abort had none.
            backoff: The failed transactions since the last commit.
            now_ms: The time.
        """
        is_first = not self._not_committed.has_logged
        if is_first and now_ms - backoff.since_ms < _FIRST_LINE_MS:
            return
        if failure.code not in self._named_codes:
            self._named_codes.add(failure.code)
            self._not_committed.reset()
        if self._not_committed.due(now_ms):
            waited_ms = now_ms - backoff.since_ms
            reason = why_nothing_is_committed(failure, abort_failure, backoff.attempts, waited_ms, self._options)
            log.warning("%s", reason)

    def committed(self, backoff: Backoff, now_ms: int) -> None:
        """Log a commit if the log has named the failures before it; ``backoff`` still counts these failures."""
        if self._not_committed.has_logged:
            self._not_committed.reset()
            self._named_codes.clear()
            log.info(
                "committed again, after %d attempts in %.1f s (group %r, transactional id %r)",
                backoff.attempts,
                (now_ms - backoff.since_ms) / 1000,
                self._options.group_id,
                self._options.transactional_id,
            )

    def _what_happened(self, state: State, event: Event, failure: Failure, took_ms: int) -> str:
        transactional_id = f"transactional id {self._options.transactional_id!r}"
        if event in _WHY_NOT_BEGUN:
            reason = f": {failure.text}" if failure.text else ""
            group = f"group {self._options.group_id!r}, {transactional_id}"
            return f"no transaction was begun ({group}): {_WHY_NOT_BEGUN[event]}{reason}"
        broker = f", broker: {failure.text}" if failure.text else ""
        return f"{CALLS[state]} {_WHAT_HAPPENED[event]} after {took_ms} ms ({transactional_id}{broker})"


def _what_next(state: State, step: Step) -> str:
    match step:
        case (_, Outcome.STOP):
            return "ending the process"
        case (State.DEFUNCT, Outcome.REWIND):
            return "replacing the producer and reading again from the committed offsets"
        case (State.DEFUNCT, _):
            return "replacing the producer"
        case (_, Outcome.REWIND):
            return "reading again from the committed offsets"
        case (following, _) if following is state:
            return f"calling {CALLS[state]} again"
        case (following, _):
            return f"calling {CALLS[following]}"
