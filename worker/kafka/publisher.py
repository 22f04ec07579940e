"""The transactional producer: makes the calls that the table of ``transaction`` asks for, and nothing else.

A producer is replaced by another with the same ``transactional.id``, whose ``init_transactions`` settles what
the old one left: when the table says DEFUNCT, and when it is suspect, that is after a retriable error of a
transaction, a transport error since its last one, a slow commit, or a refused batch. A suspect producer may hang
for ever in its next ``send_offsets_to_transaction`` (librdkafka issues 5456, 5511); and since librdkafka does not
speak transactions v2, a delayed EndTxn could end a later transaction of the same epoch (KAFKA-17754). Suspicion
never stops a commit that is under way: it replaces the producer before the next begin. A call that outlasts its
slice of a second is no reason for suspicion: with round trips of 1.2 s every call does.

After a transaction that was not committed, the next pass has delivery reports, and ``refused`` finds out whether a
record or a topic is at fault. While none is committed, the pauses between the attempts grow.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Producer, ThrottleEvent, TopicPartition

from worker.errors import KafkaFatalError
from worker.kafka.backoff import Backoff, Slice
from worker.kafka.clients import SLICE_S, Overheard, client, failure_of
from worker.kafka.output_topics import OutputTopics
from worker.kafka.producer_errors import why_it_ends, why_nothing_is_committed, why_topic_refuses
from worker.kafka.publisher_options import PublisherOptions
from worker.kafka.rejected_batches import RejectedBatches
from worker.kafka.suspicion import SLOW_MS, Suspicion
from worker.kafka.transaction import CALLS, TABLE, Answer, Event, Failure, State, classify, comes_back
from worker.records import OutputRecord, Partition

log = logging.getLogger(__name__)

_TELL_AGAIN_MS = 30_000


@dataclass(slots=True, kw_only=True)
class _Attempt:
    """One publish.

    Attributes:
        outputs: What to produce, in order.
        offsets: What to commit.
        metadata: The consumer's group metadata.
        started_ms: When it began.
        sent: How many outputs librdkafka has taken.
        is_trial: Whether the outputs are out of order, so that it must not be committed.
        failure: What went wrong last.
    """

    outputs: Sequence[OutputRecord] = ()
    offsets: list[TopicPartition] = field(default_factory=list)
    metadata: object = None
    started_ms: int
    sent: int = 0
    is_trial: bool = False
    failure: Failure = field(default_factory=lambda: Failure(code=""))


class Publisher:
    """One producer at a time, and its state."""

    def __init__(
        self,
        options: PublisherOptions,
        *,
        clock: Callable[[], int],
        watch: Callable[[str], AbstractContextManager[None]],
        on_error: Callable[[KafkaError], None],
        on_throttle: Callable[[ThrottleEvent], None],
    ) -> None:
        self.events: Counter[Event] = Counter()  # all but DONE: what went wrong, and what was refused
        self._options = options
        self._clock = clock
        self._watch = watch
        self._on_client_error = on_error
        self._on_throttle = on_throttle
        self._topics = OutputTopics(options.topics, options.admin_config, on_error)
        self._rejected_batches = RejectedBatches()
        self._suspicion = Suspicion()
        self._backoff = Backoff()
        self._slice = Slice()
        self._careful = False  # delivery reports are wanted
        self._fatal_at_ms: list[int] = []
        self._attempt = _Attempt(started_ms=clock())
        self._began_ms: int | None = None
        self._told_ms = 0
        self._state = State.NEW
        self._producer = self._new_producer()

    @property
    def rejected(self) -> Mapping[tuple[Partition, int], str]:
        """Records (partition, offset) whose outputs a broker refuses, with the dead letter's reason."""
        return self._rejected_batches.rejected

    def serve(self) -> None:
        """Lets the producer report errors; never waits."""
        try:
            self._producer.poll(0)
        except KafkaException as error:
            # A fatal error does not reach the callback: it is raised here, again or for the first time.
            self._suspicion.add(str(error.args[0]))

    def ready(self) -> bool:
        """Takes a step, of about a second at most, towards a producer that may begin.

        Raises:
            KafkaFatalError: Kafka won't have us, or a topic of ours is not there.
        """
        self.serve()  # what happened to its connections may not have been reported yet
        if not self._backoff.is_over(self._clock()):
            return False
        if self._state is State.READY and self._suspicion.reason:
            self._attempt.failure = Failure(code="", text=self._suspicion.reason)
            self._step(Event.SUSPECT)
        if self._state is State.DEFUNCT:
            with self._watch("replacing the producer"):
                self._producer.purge()
                self._producer = self._new_producer()
        if self._state is State.NEW:
            self._initialise()
        return self._state is State.READY and self._topics.are_known(self._clock())

    def publish(
        self,
        outputs: Sequence[OutputRecord],
        next_offsets: Sequence[TopicPartition],
        metadata: object,
        refusal: Event | None,
    ) -> bool:
        """One transaction, from begin to commit; only when ``ready``.

        Args:
            outputs: What to produce.
            next_offsets: What to commit.
            metadata: The consumer's group metadata of now.
            refusal: Why it must not be begun, if so.

        Returns:
            Whether it is committed. If not, forget what is in memory, and ask the group what is committed once
            ``ready`` again: the transaction may have been aborted, and it may have been committed.

        Raises:
            KafkaFatalError: The process must end. The transaction is not committed.
        """
        is_trial = self._careful and self._rejected_batches.holds_suspect(outputs)
        self._attempt = _Attempt(
            outputs=self._rejected_batches.suspects_last(outputs) if is_trial else outputs,
            offsets=list(next_offsets),
            metadata=metadata,
            started_ms=self._clock(),
            is_trial=is_trial,
            failure=Failure(code="" if refusal is None else refusal.value),
        )
        answer = self._step(refusal or self._call())
        while answer is None:
            answer = self._step(self._call())
        self._began_ms = None
        if answer is Answer.COMMITTED:
            self._note_commit(next_offsets)
            return True
        self._note_failure()
        return False

    def _new_producer(self) -> Producer:
        self._state = State.NEW
        self._began_ms = None
        self._told_ms = self._clock()
        callbacks = {"error_cb": self._on_error, "throttle_cb": self._on_throttle}
        return client(Producer, {**self._options.config, **callbacks}, Overheard(self._suspicion.add))

    def _initialise(self) -> None:
        """Lets the new producer settle the last transaction."""
        now_ms = self._clock()
        self._attempt = _Attempt(started_ms=now_ms)
        event = self._call()
        self._step(event)
        self._suspicion.reason = ""
        if event is Event.RETRY and now_ms - self._told_ms >= _TELL_AGAIN_MS:
            self._told_ms = now_ms
            log.warning("waiting for Kafka to settle the last transaction: %s", self._attempt.failure.text)
        elif self._state is State.DEFUNCT:
            self._back_off(progress=False)

    def _call(self) -> Event:
        """Makes the call of this state."""
        attempt = self._attempt
        try:
            with self._watch(CALLS[self._state]):
                return self._do()
        except KafkaException as error:
            failure = failure_of(error.args[0])
        # The reason for an abort is the news, and not that the abort failed too.
        if self._state is not State.FINAL_ABORT:
            attempt.failure = failure
        now_ms = self._clock()
        event = classify(
            self._state,
            failure,
            age_ms=0 if self._began_ms is None else now_ms - self._began_ms,
            transaction_timeout_ms=self._options.transaction_timeout_ms,
            elapsed_ms=now_ms - attempt.started_ms,
            bound_ms=self._options.transaction_timeout_ms,
        )
        if self._state is State.OPEN and failure.code == "MSG_SIZE_TOO_LARGE":
            self._rejected_batches.refuse(attempt.outputs[attempt.sent])
        if event is Event.TIMED_OUT or (event is Event.RETRY and failure.code != "_TIMED_OUT"):
            self._suspicion.add(f"{CALLS[self._state]}: {failure.text}")
        return event

    def _do(self) -> Event:
        match self._state:
            case State.NEW:
                self._producer.init_transactions(SLICE_S)
            case State.READY:
                self._producer.begin_transaction()
                self._began_ms = self._clock()
            case State.OPEN:
                return self._produce()
            case State.OFFSETS:
                self._send_offsets()
            case State.COMMITTING:
                self._producer.commit_transaction(SLICE_S)
            case State.ABORTING | State.FINAL_ABORT:
                self._producer.abort_transaction(SLICE_S)
            case State.DEFUNCT:
                raise AssertionError("a defunct producer has nothing to call")
        return Event.DONE

    def _send_offsets(self) -> None:
        attempt, began_ms, bound_ms = self._attempt, self._clock(), self._options.transaction_timeout_ms
        try:
            self._producer.send_offsets_to_transaction(attempt.offsets, attempt.metadata, self._slice.ms / 1000)
        except KafkaException as error:
            if error.args[0].name() == "_TIMED_OUT":
                self._slice.timed_out(bound_ms)
            raise
        self._slice.answered(self._clock() - began_ms)

    def _produce(self) -> Event:
        """Hands the outputs over, from where it was left.

        Without delivery callbacks, which cost more than all the rest: the commit reports a failure, and the next
        pass, which is careful, finds out whose it is.
        """
        produce, attempt = self._producer.produce, self._attempt
        for output in attempt.outputs[attempt.sent :]:
            if self._careful and self._rejected_batches.is_apart(output) and self._producer.flush(SLICE_S):
                return self._late()
            on_delivery = partial(self._delivered, output) if self._careful else None
            topic, partition = self._target(output)
            try:
                produce(
                    topic,
                    output.value,
                    output.key,
                    partition,
                    on_delivery=on_delivery,
                    headers=list(output.headers),
                )
            except BufferError:
                self._producer.poll(SLICE_S)
                return self._late()
            attempt.sent += 1
        if attempt.is_trial:
            attempt.failure = Failure(code="", text="the outputs were sent out of order to find the refused one")
            return self._late() if self._producer.flush(SLICE_S) else Event.ABORTABLE
        return Event.DONE

    def _late(self) -> Event:
        late = self._clock() - self._attempt.started_ms >= self._options.transaction_timeout_ms
        return Event.TIMED_OUT if late else Event.RETRY

    def _step(self, event: Event) -> Answer | None:
        """Asks the table what an event leads to."""
        was, failure = self._state, self._attempt.failure
        self._state, answer = TABLE[was, event]
        if event is not Event.DONE and (event, was) != (Event.RETRY, State.NEW):
            self.events[event] += 1
            self._log_event(event, was)
        if event is Event.FATAL:
            now_ms = self._clock()
            self._fatal_at_ms = [*self._fatal_at_ms[-9:], now_ms]
            if comes_back(self._fatal_at_ms, now_ms):
                raise KafkaFatalError(
                    f"fatal errors of the producer come back, the last one in {CALLS[was]}: {failure.text}. "
                    "Look at the brokers' logs for this transactional id: " + self._options.transactional_id
                )
        if answer is Answer.STOP:
            # The answer names no topic, but one that we may not write is hidden from us.
            hidden = self._topics.hidden() if failure.code == "TOPIC_AUTHORIZATION_FAILED" else None
            raise KafkaFatalError(why_it_ends(event, failure, self._options, hidden))
        return answer

    def _log_event(self, event: Event, state: State) -> None:
        """Logs the events of the first attempt after a commit; ``Backoff`` counts the others."""
        waited_ms = self._clock() - self._attempt.started_ms
        level = logging.INFO if event is Event.SUSPECT else logging.WARNING
        if self._backoff.attempts or (event is Event.RETRY and waited_ms < SLOW_MS):
            level = logging.DEBUG
        log.log(level, "%s: %s %s", CALLS[state], event.value, self._attempt.failure.text)

    def _note_commit(self, next_offsets: Sequence[TopicPartition]) -> None:
        now_ms = self._clock()
        self._suspicion.committed(now_ms, now_ms - self._attempt.started_ms)
        if (
            not self._attempt.outputs
        ):  # an idle partition's offsets, or a start: these prove nothing about the topics
            return
        attempts, since_ms = self._backoff.attempts, self._backoff.since_ms
        if self._backoff.succeeded():
            log.info("committed again, after %d attempts in %.1f s", attempts, (now_ms - since_ms) / 1000)
        if self._careful:
            done = {Partition(at.topic, at.partition): at.offset for at in next_offsets}
            self._careful = self._rejected_batches.committed(done)

    def _note_failure(self) -> None:
        """Draws conclusions from an attempt that was not committed.

        Raises:
            KafkaFatalError: A topic refuses everything.
        """
        if self._rejected_batches.has_reports and self._attempt.failure.code != "INVALID_TIMESTAMP":
            # The numbers of that batch are missing now, so the broker would refuse the next pass as well.
            self._suspicion.add("a batch was refused")
        progress = self._rejected_batches.settle(self._target, self._attempt.failure.code)
        if self._rejected_batches.topic_fault is not None:
            raise KafkaFatalError(why_topic_refuses(self._rejected_batches.topic_fault, self._options))
        self._careful = True
        self._topics.forget()
        self._back_off(progress=progress)

    def _back_off(self, *, progress: bool) -> None:
        backoff, now_ms = self._backoff, self._clock()
        if backoff.failed(now_ms, progress=progress):
            failure = self._attempt.failure
            log.warning("%s", why_nothing_is_committed(failure, backoff.attempts, backoff.since_ms, now_ms))

    def _delivered(self, output: OutputRecord, error: KafkaError | None, _message: object) -> None:
        self._rejected_batches.report(output, None if error is None else error.name())

    def _target(self, output: OutputRecord) -> tuple[str, int]:
        """Topic and partition that an output goes to."""
        number = output.source.partition.number % self._topics.partitions[output.topic]
        return self._options.topics[output.topic], number

    def _on_error(self, error: KafkaError) -> None:
        """The error callback: notes, and never raises (it may run inside a commit that succeeds)."""
        self._suspicion.transport_error(error.name(), str(error))
        self._on_client_error(error)
