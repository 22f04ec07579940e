"""Publishes outputs and offsets in one transaction: asks the table of ``transaction``, then acts.

``producer`` makes the calls. A producer that becomes suspect never stops a commit that is under way: it is replaced
before the next begin. After a transaction that was not committed, the next pass has delivery reports, and
``rejected_batches`` finds out whether a record or a topic is at fault. While none is committed, the pauses between
the attempts grow.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

from confluent_kafka import KafkaError, ThrottleEvent, TopicPartition

from worker.errors import KafkaFatalError
from worker.kafka.backoff import Backoff
from worker.kafka.output_topics import OutputTopics
from worker.kafka.producer import Attempt, TransactionalProducer
from worker.kafka.producer_errors import why_fatal_errors_recur, why_it_ends, why_topic_refuses
from worker.kafka.publisher_log import PublisherLog
from worker.kafka.publisher_options import PublisherOptions
from worker.kafka.rejected_batches import RejectedBatches
from worker.kafka.suspect_producer import FatalErrors
from worker.kafka.transaction import CALLS, Event, Failure, Outcome, State, follow
from worker.records import MessagePosition, OutputRecord, Partition


class Publisher:
    """The state of the producer, and the attempt that is under way.

    Args:
        options: The settings.
        clock: Returns the time in milliseconds.
        watch: Tells the watchdog and the traces about a call while it lasts.
        on_error: Receives the errors that librdkafka reports outside the calls.
        on_throttle: Receives the events of a broker's quota.
    """

    def __init__(
        self,
        options: PublisherOptions,
        *,
        clock: Callable[[], int],
        watch: Callable[[str], AbstractContextManager[None]],
        on_error: Callable[[KafkaError], None],
        on_throttle: Callable[[ThrottleEvent], None],
    ) -> None:
        self._options = options
        self._clock = clock
        self._state = State.NEW
        self._attempt = Attempt(started_ms=clock())
        self._topics = OutputTopics(options.topics, options.admin_config, on_error)
        self._rejected_batches = RejectedBatches()
        self._backoff = Backoff()
        self._fatal_errors = FatalErrors()
        self._log = PublisherLog(options)
        self._producer = TransactionalProducer(
            options,
            self._topics,
            self._rejected_batches,
            clock=clock,
            watch=watch,
            on_error=on_error,
            on_throttle=on_throttle,
        )
        self._log.producer_created(clock())

    @property
    def events(self) -> Counter[Event]:
        """How often each event but DONE has happened: errors, and refusals."""
        return self._log.events

    @property
    def rejected(self) -> Mapping[MessagePosition, str]:
        """Records (position) whose outputs a broker refuses, with the dead-letter reason."""
        return self._rejected_batches.rejected

    @property
    def failure_code(self) -> str:
        """The name that librdkafka gives the error of the last publish; empty if there was no error.

        An error of the abort does not replace the error that led to the abort.
        """
        return self._attempt.failure.code

    def serve(self) -> None:
        """Let the producer report errors; never wait."""
        self._producer.serve()

    def ready(self) -> bool:
        """Return whether ``publish`` may be called; take a step towards it, of about a second at most.

        Raises:
            KafkaFatalError: Kafka refuses this worker, or an output topic is missing.
        """
        self.serve()  # a lost connection may not have been reported yet
        if not self._backoff.is_over(self._clock()):
            return False
        if self._state is State.READY and self._producer.suspect.reason:
            self._attempt = Attempt(
                started_ms=self._clock(), failure=Failure(code="", text=self._producer.suspect.reason)
            )
            self._step(Event.SUSPECT)
        if self._state is State.DEFUNCT:
            self._producer.replace()
            self._state = State.NEW
            self._log.producer_created(self._clock())
        if self._state is State.NEW:
            self._initialise()
        return self._state is State.READY and self._topics.are_known(self._clock())

    def publish(
        self,
        outputs: Sequence[OutputRecord],
        next_offsets: Sequence[TopicPartition],
        metadata: object,
        refusal: Event | None,
        check: Callable[[], str] | None,
    ) -> bool:
        """Publish one transaction, from begin to commit; only when ``ready``.

        Args:
            outputs: The records to produce.
            next_offsets: The offsets to commit.
            metadata: The consumer's current group metadata.
            refusal: Why the transaction must not begin, if there is a reason.
            check: Checks new starts of partitions (``StartConfirmation.check_of``); None: there are none.

        Returns:
            Whether the transaction is committed. If not, drop the records in memory, and ask the group for the
            committed offsets once ``ready`` again: the transaction may be aborted, and it may be committed.

        Raises:
            KafkaFatalError: The process must end. The transaction is not committed.
        """
        is_trial = self._rejected_batches.holds_suspect(outputs)
        self._attempt = Attempt(
            outputs=self._rejected_batches.suspects_last(outputs) if is_trial else outputs,
            offsets=list(next_offsets),
            metadata=metadata,
            check=check,
            started_ms=self._clock(),
            is_trial=is_trial,
            failure=Failure(code="" if refusal is None else refusal.value),
        )
        outcome = self._step(refusal or self._call())
        while outcome is None:
            outcome = self._step(self._call())
        if outcome is Outcome.COMMITTED:
            self._note_commit(next_offsets)
            return True
        self._note_failure()
        return False

    def _initialise(self) -> None:
        """Let the new producer settle the last transaction."""
        now_ms = self._clock()
        self._attempt = Attempt(started_ms=now_ms)
        event = self._call()
        self._step(event)
        self._producer.suspect.clear()
        if event is Event.RETRY:
            self._log.waiting(self._attempt.failure, now_ms)
        elif self._state is State.DEFUNCT:
            self._back_off(progress=False)

    def _call(self) -> Event:
        return self._producer.call(self._state, self._attempt)

    def _step(self, event: Event) -> Outcome | None:
        """Ask the table what an event leads to, and enter the next state.

        Raises:
            KafkaFatalError: The process must end.
        """
        state, failure, now_ms = self._state, self._attempt.last_failure, self._clock()
        step = follow(state, event)
        self._state, outcome = step
        took_ms = now_ms - self._attempt.started_ms
        self._log.event(state, event, step, failure, took_ms=took_ms, attempts=self._backoff.attempts)
        if event is Event.FATAL and self._fatal_errors.recur(now_ms):
            raise KafkaFatalError(why_fatal_errors_recur(CALLS[state], failure, self._options))
        if outcome is Outcome.STOP:
            failure = self._attempt.failure if state is State.FINAL_ABORT else failure
            # The answer does not name the topic. But a topic that this worker may not write is hidden from it.
            hidden = self._topics.hidden() if failure.code == "TOPIC_AUTHORIZATION_FAILED" else None
            raise KafkaFatalError(why_it_ends(event, failure, self._options, hidden))
        return outcome

    def _note_commit(self, next_offsets: Sequence[TopicPartition]) -> None:
        now_ms = self._clock()
        self._producer.suspect.committed(now_ms, now_ms - self._attempt.started_ms)
        if not self._attempt.outputs:
            return  # only offsets, of idle partitions or of a start: these prove nothing about the output topics
        self._log.committed(self._backoff, now_ms)
        self._backoff.succeeded()
        if self._rejected_batches.is_searching:
            self._rejected_batches.committed({Partition(at.topic, at.partition): at.offset for at in next_offsets})

    def _note_failure(self) -> None:
        """Draw the conclusions from an attempt that was not committed.

        Raises:
            KafkaFatalError: A topic refuses every output.
        """
        code = self._attempt.failure.code
        if self._rejected_batches.has_reports and code != "INVALID_TIMESTAMP":
            # The sequence numbers of the refused batch are missing now, so the broker would refuse the next pass
            # too.
            self._producer.suspect.add("a batch was refused")
        progress = self._rejected_batches.settle(self._topics.destination, code)
        if self._rejected_batches.topic_fault is not None:
            raise KafkaFatalError(why_topic_refuses(self._rejected_batches.topic_fault, self._options))
        self._topics.forget()
        self._back_off(progress=progress)

    def _back_off(self, *, progress: bool) -> None:
        now_ms = self._clock()
        self._backoff.failed(now_ms, progress=progress)
        self._log.not_committed(self._attempt.failure, self._attempt.abort_failure, self._backoff, now_ms)
