"""The transactional producer of librdkafka: makes the call of a state, and returns the event that came of it.

A producer must be replaced by another one with the same ``transactional.id`` when the table says DEFUNCT, and
when it is suspect (``suspect_producer``): after a retriable error of a transaction, a transport error since its
last transaction, a slow commit, or a refused batch. ``init_transactions`` of the new producer settles the last
transaction. A suspect producer may hang for ever in its next ``send_offsets_to_transaction`` (librdkafka issues
5456, 5511). And since librdkafka does not use transactions v2, a delayed EndTxn could end a later transaction of
the same epoch (KAFKA-17754).

A call that takes longer than its time-out of a second is not a reason: with round trips of 1.2 s every call does.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Producer, ThrottleEvent, TopicPartition

from worker.kafka.backoff import OffsetsTimeout
from worker.kafka.clients import SLICE_S, ConnectionLossLogger, client, failure_of
from worker.kafka.output_topics import OutputTopics
from worker.kafka.publisher_options import PublisherOptions
from worker.kafka.rejected_batches import RejectedBatches
from worker.kafka.suspect_producer import SuspectReason
from worker.kafka.transaction import CALLS, Event, Failure, State, classify
from worker.records import Headers, OutputRecord, Partition, Topic


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One publish, or one initialisation of a producer.

    Attributes:
        outputs: The records to produce, in order.
        offsets: The offsets to commit.
        metadata: The consumer's group metadata.
        check: Checks new starts of partitions, and returns why one is wrong (``StartConfirmation.check_of``); None
            if there are none.
        started_ms: When the attempt began.
        is_trial: Whether the outputs are out of order, so that they must not be committed.
        began_ms: When the transaction began; None before.
        sent: Number of outputs that librdkafka has taken.
        failure: Why the attempt is not committed: its last error. An error of the abort does not replace it.
        abort_failure: The last error of the abort; None if it has none. A time-out is one: the abort is slow.
    """

    outputs: Sequence[OutputRecord] = ()
    offsets: list[TopicPartition] = field(default_factory=list)
    metadata: object = None
    check: Callable[[], str] | None = None
    started_ms: int
    is_trial: bool = False
    began_ms: int | None = None
    sent: int = 0
    failure: Failure = field(default_factory=lambda: Failure(code=""))
    abort_failure: Failure | None = None

    @property
    def last_failure(self) -> Failure:
        """The error of the last call that failed."""
        return self.abort_failure or self.failure


class TransactionalProducer:
    """One producer of librdkafka at a time.

    Args:
        options: The settings.
        topics: The output topics.
        rejected_batches: Receives the delivery reports, and says where to flush.
        clock: Returns the time in milliseconds.
        watch: Tells the watchdog and the traces about a call while it lasts.
        on_error: Receives the errors that librdkafka reports outside the calls.
        on_throttle: Receives the events of a broker's quota.

    Attributes:
        suspect: Why the producer must be replaced before its next transaction.
    """

    def __init__(
        self,
        options: PublisherOptions,
        topics: OutputTopics,
        rejected_batches: RejectedBatches,
        *,
        clock: Callable[[], int],
        watch: Callable[[str], AbstractContextManager[None]],
        on_error: Callable[[KafkaError], None],
        on_throttle: Callable[[ThrottleEvent], None],
    ) -> None:
        self.suspect = SuspectReason()
        self._config = {**options.config, "error_cb": self._on_error, "throttle_cb": on_throttle}
        self._timeout_ms = options.transaction_timeout_ms
        self._topics = topics
        self._rejected_batches = rejected_batches
        self._clock = clock
        self._watch = watch
        self._on_client_error = on_error
        self._offsets_timeout = OffsetsTimeout()
        self._producer = self._new_producer()

    def replace(self) -> None:
        """Replace the producer by a new one with the same transactional id."""
        with self._watch("replacing the producer"):
            self._producer.purge()
            self._producer = self._new_producer()

    def serve(self) -> None:
        """Let librdkafka call the callbacks; never wait."""
        try:
            self._producer.poll(0)
        except KafkaException as error:
            # The callback does not get a fatal error: ``poll`` raises it, once or again and again.
            self.suspect.add(str(error.args[0]))

    def call(self, state: State, attempt: Attempt) -> Event:
        """Make the call of a state. An error changes ``attempt.failure``, or ``attempt.abort_failure``."""
        if state is State.CONFIRMING and attempt.check is None:
            return Event.DONE
        try:
            with self._watch(CALLS[state]):
                return self._make_call(state, attempt)
        except KafkaException as error:
            failure = failure_of(error.args[0])
        if state in {State.ABORTING, State.FINAL_ABORT}:
            attempt.abort_failure = failure
        else:
            # An earlier output of this transaction was refused.
            was_refused = state in {State.OPEN, State.OFFSETS} and failure.code == "_STATE"
            attempt.failure = (was_refused and self._transaction_error()) or failure
        now_ms = self._clock()
        event = classify(
            state,
            failure,
            age_ms=0 if attempt.began_ms is None else now_ms - attempt.began_ms,
            elapsed_ms=now_ms - attempt.started_ms,
            transaction_timeout_ms=self._timeout_ms,
        )
        if state is State.OPEN and failure.code == "MSG_SIZE_TOO_LARGE":
            self._rejected_batches.reject_too_large(attempt.outputs[attempt.sent])
        if event is Event.TIMED_OUT or (event is Event.RETRY and failure.code != "_TIMED_OUT"):
            self.suspect.add(f"{CALLS[state]}: {failure.text}")
        return event

    def _make_call(self, state: State, attempt: Attempt) -> Event:
        match state:
            case State.NEW:
                self._producer.init_transactions(SLICE_S)
            case State.READY:
                self._producer.begin_transaction()
                attempt.began_ms = self._clock()
            case State.OPEN:
                return self._produce(attempt)
            case State.OFFSETS:
                self._send_offsets(attempt)
            case State.CONFIRMING:
                return self._confirm(attempt)
            case State.COMMITTING:
                self._producer.commit_transaction(SLICE_S)
            case State.ABORTING | State.FINAL_ABORT:
                self._producer.abort_transaction(SLICE_S)
            case State.DEFUNCT:
                raise AssertionError("a defunct producer has no call")
        return Event.DONE

    def _produce(self, attempt: Attempt) -> Event:
        """Hand the outputs over to librdkafka, from the first one that it has not taken.

        Delivery callbacks cost more than everything else here, so only a search has them. Without a search, the
        commit reports that a delivery failed, and the next pass searches for the output that the broker refuses.
        """
        produce, rejected_batches = self._producer.produce, self._rejected_batches
        is_searching = rejected_batches.is_searching
        topic: Topic | None = None
        partition: Partition | None = None
        given_headers: Headers | None = None
        name, number, headers = "", 0, list[tuple[str, str | bytes | None]]()
        for output in attempt.outputs[attempt.sent :]:
            if is_searching and rejected_batches.flush_before(output) and self._producer.flush(SLICE_S):
                return self._unfinished(attempt)
            # Most outputs have the destination and the headers of the output before.
            if output.topic is not topic or output.source.partition is not partition:
                topic, partition = output.topic, output.source.partition
                name, number = self._topics.destination(output)
            if output.headers is not given_headers:
                given_headers, headers = output.headers, list(output.headers)
            on_delivery = partial(self._on_delivery, output) if is_searching else None
            try:
                produce(name, output.value, output.key, number, on_delivery, None, 0, headers)
            except BufferError:
                self._producer.poll(SLICE_S)
                return self._unfinished(attempt)
            attempt.sent += 1
        if attempt.is_trial:
            attempt.failure = Failure(code="", text="the outputs were sent out of order to find the refused one")
            return self._unfinished(attempt) if self._producer.flush(SLICE_S) else Event.ABORTABLE
        return Event.DONE

    def _unfinished(self, attempt: Attempt) -> Event:
        """Return RETRY until the time for the whole publish is over, then TIMED_OUT."""
        is_late = self._clock() - attempt.started_ms >= self._timeout_ms
        return Event.TIMED_OUT if is_late else Event.RETRY

    def _send_offsets(self, attempt: Attempt) -> None:
        began_ms, timeout = self._clock(), self._offsets_timeout
        try:
            self._producer.send_offsets_to_transaction(attempt.offsets, attempt.metadata, timeout.ms / 1000)
        except KafkaException as error:
            if error.args[0].name() == "_TIMED_OUT":
                timeout.timed_out(self._timeout_ms)
            raise
        timeout.answered(self._clock() - began_ms)

    def _confirm(self, attempt: Attempt) -> Event:
        assert attempt.check is not None  # noqa: S101 - ``call`` has returned
        try:
            wrong = attempt.check()
        except KafkaException as error:
            attempt.failure = self._transaction_error() or failure_of(error.args[0])
            return Event.ABORTABLE
        if wrong:
            attempt.failure = Failure(code="", text=wrong)
        return Event.OLD_START if wrong else Event.DONE

    def _transaction_error(self) -> Failure | None:
        """Return the error because of which librdkafka wants the open transaction aborted; None if there is none.

        A broker may refuse an output while a later call is under way. librdkafka keeps that error, and raises it
        from each call that it no longer allows. ``begin_transaction`` is never allowed within a transaction: it
        raises this error or ``_STATE``, and changes nothing.
        """
        try:
            self._producer.begin_transaction()
        except KafkaException as error:
            failure = failure_of(error.args[0])
            return None if failure.code == "_STATE" else failure
        raise AssertionError("a transaction began within another one")

    def _new_producer(self) -> Producer:
        return client(Producer, self._config, ConnectionLossLogger(self.suspect.add))

    def _on_delivery(self, output: OutputRecord, error: KafkaError | None, _message: object) -> None:
        self._rejected_batches.report(output, None if error is None else error.name())

    def _on_error(self, error: KafkaError) -> None:
        """Record an error; librdkafka's ``error_cb``. Never raise: a commit that succeeds may call it."""
        self.suspect.transport_error(error.name(), str(error))
        self._on_client_error(error)
