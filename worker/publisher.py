"""The transactional producer: makes the calls that the table of ``transaction`` asks for, and nothing else.

A producer is replaced by another with the same ``transactional.id``, whose ``init_transactions`` settles what
the old one left: when the table says SPENT, and when it is suspect, that is after a retriable error of a
transaction, a transport error since its last one, a slow commit, or a refused batch. A suspect producer may hang
for ever in its next ``send_offsets_to_transaction`` (librdkafka issues 5456, 5511); and since librdkafka does not
speak transactions v2, a delayed EndTxn could end a later transaction of the same epoch (KAFKA-17754). Suspicion
never stops a commit that is under way: it replaces the producer before the next begin.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from worker.clients import SLICE_S, Overheard, client, failure_of
from worker.errors import KafkaRefused
from worker.records import Output, Partition, Topic
from worker.refused import Name, name_of, sort_out
from worker.transaction import CALLS, TABLE, Answer, Event, Failure, State, classify, comes_back

log = logging.getLogger(__name__)

_SLOW_COMMIT_MS = 5_000
_SLOWNESS_COUNTS_AGAIN_MS = 30_000
_TELL_AGAIN_MS = 30_000
_TOPIC_MISSING_MS_MAX = 5_000  # a broker that has just started may not know it yet
_TRANSPORT = frozenset({"_TRANSPORT", "_ALL_BROKERS_DOWN", "_RESOLVE", "_TIMED_OUT"})
_NEVER_TAKEN = frozenset({"MSG_SIZE_TOO_LARGE", "INVALID_RECORD"})  # of one output; others may be weather

_DENIED_HINTS = {
    "CLUSTER_AUTHORIZATION_FAILED": "IDEMPOTENT_WRITE on the cluster, which brokers before 2.8 want",
    "GROUP_AUTHORIZATION_FAILED": "READ on the consumer group WORKER_KAFKA__GROUP_ID",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": "WRITE on the transactional id WORKER_KAFKA__TRANSACTIONAL_ID",
    # Committing offsets needs READ.
    "TOPIC_AUTHORIZATION_FAILED": "WRITE on the verdict, alert and dead-letter topics and READ on the input topics",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PublisherOptions:
    """What the publisher needs to know.

    Attributes:
        config: librdkafka's properties.
        topics: The names of our topics.
        transactional_id: As in ``config``, for messages.
        transaction_timeout_ms: As in ``config``; also the bound on a whole publish.
    """

    config: Mapping[str, Any]
    topics: Mapping[Topic, str]
    transactional_id: str
    transaction_timeout_ms: int


class Publisher:
    """One producer at a time, and where it stands."""

    def __init__(
        self,
        options: PublisherOptions,
        *,
        clock: Callable[[], int],
        watch: Callable[[str], AbstractContextManager[None]],
        heard: Callable[[KafkaError], None],
    ) -> None:
        self.events: Counter[Event] = Counter()  # but for DONE: what went wrong, and what was refused
        self.rejected: set[tuple[Partition, int]] = set()
        self._options = options
        self._clock = clock
        self._watch = watch
        self._heard = heard
        self._partitions: dict[Topic, int] = {}
        self._missing_since_ms: int | None = None
        self._suspect = ""
        self._slow_at_ms: int | None = None
        self._fatal_at_ms: list[int] = []
        self._careful = False
        self._refused: list[Output] = []
        self._apart: set[Name] = set()
        self._hopeless = ""
        self._outputs: Sequence[Output] = ()
        self._sent = 0
        self._offsets: list[TopicPartition] = []
        self._metadata: object = None
        self._started_ms = 0
        self._began_ms: int | None = None
        self._failure = Failure(code="")
        self._told_ms = 0
        self._state = State.NEW
        self._producer = self._new_producer()

    def serve(self) -> None:
        """Lets the producer report errors; never waits."""
        try:
            self._producer.poll(0)
        except KafkaException as error:
            # A fatal error is not told to the callback but raised here, once more or out of the blue.
            self._suspect = self._suspect or str(error.args[0])

    def ready(self) -> bool:
        """Takes a step, of about a second at most, towards a producer that may begin.

        Raises:
            KafkaRefused: Kafka won't have us, or a topic of ours is not there.
        """
        self.serve()  # what happened to its connections may not have been told yet
        if self._state is State.READY and self._suspect:
            self._failure = Failure(code="", text=self._suspect)
            self._step(Event.SUSPECT)
        if self._state is State.SPENT:
            with self._watch("replacing the producer"):
                self._producer.purge()
                self._producer = self._new_producer()
        if self._state is State.NEW:
            self._started_ms = self._clock()
            event = self._call()
            self._step(event)
            self._suspect = ""
            if event is Event.RETRY and self._started_ms - self._told_ms >= _TELL_AGAIN_MS:
                self._told_ms = self._started_ms
                log.warning("waiting for Kafka to settle the last transaction: %s", self._failure.text)
        return self._state is State.READY and self._knows_topics()

    def publish(
        self,
        outputs: Sequence[Output],
        next_offsets: Mapping[Partition, int],
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
            KafkaRefused: The process must end. The transaction is not committed.
        """
        self._outputs, self._sent, self._refused = outputs, 0, []
        self._offsets = [TopicPartition(p.topic, p.number, offset) for p, offset in next_offsets.items()]
        self._metadata = metadata
        self._failure = Failure(code="")
        self._started_ms = self._clock()
        answer = self._step(refusal or self._call())
        while answer is None:
            answer = self._step(self._call())
        self._began_ms = None
        if answer is Answer.COMMITTED:
            self._notice_slowness(self._clock() - self._started_ms)
            self._careful = False
            self.rejected.clear()
            self._apart.clear()
            return True
        self._careful = True
        self._blame()
        self._partitions.clear()
        if self._hopeless:
            raise KafkaRefused(self._hopeless)
        return False

    def _new_producer(self) -> Producer:
        self._state = State.NEW
        self._began_ms = None
        self._told_ms = self._clock()
        return client(Producer, {**self._options.config, "error_cb": self._on_error}, Overheard(self._on_cut))

    def _call(self) -> Event:
        """Makes the call of this state."""
        try:
            with self._watch(CALLS[self._state]):
                return self._do()
        except KafkaException as error:
            failure = failure_of(error.args[0])
        if self._state is not State.LEAVING:  # what it leaves for is what people must hear
            self._failure = failure
        now_ms = self._clock()
        event = classify(
            self._state,
            failure,
            age_ms=0 if self._began_ms is None else now_ms - self._began_ms,
            transaction_timeout_ms=self._options.transaction_timeout_ms,
            elapsed_ms=now_ms - self._started_ms,
            bound_ms=self._options.transaction_timeout_ms,
        )
        if self._state is State.OPEN and self._failure.code in _NEVER_TAKEN:
            self._reject(self._outputs[self._sent])
        if event in (Event.RETRY, Event.OVERDUE):
            self._suspect = self._suspect or f"{CALLS[self._state]}: {self._failure.text}"
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
                self._producer.send_offsets_to_transaction(self._offsets, self._metadata, SLICE_S)
            case State.COMMITTING:
                self._producer.commit_transaction(SLICE_S)
            case State.ABORTING | State.LEAVING:
                self._producer.abort_transaction(SLICE_S)
            case State.SPENT:
                raise AssertionError("a spent producer has nothing to call")
        return Event.DONE

    def _produce(self) -> Event:
        """Hands the outputs over, from where it was left.

        Without delivery callbacks, which cost more than all the rest: the commit reports a failure, and the next
        pass, which is careful, finds out whose it is.
        """
        produce = self._producer.produce
        for output in self._outputs[self._sent :]:
            if self._apart and name_of(output) in self._apart and self._producer.flush(SLICE_S):
                return self._late()
            told = partial(self._delivered, output) if self._careful else None
            topic, partition = self._target(output)
            try:
                produce(topic, output.value, output.key, partition, on_delivery=told, headers=list(output.headers))
            except BufferError:
                self._producer.poll(SLICE_S)
                return self._late()
            self._sent += 1
        return Event.DONE

    def _late(self) -> Event:
        late = self._clock() - self._started_ms >= self._options.transaction_timeout_ms
        return Event.OVERDUE if late else Event.RETRY

    def _step(self, event: Event) -> Answer | None:
        """Asks the table what an event leads to."""
        was = self._state
        self._state, answer = TABLE[was, event]
        if event is not Event.DONE and (event, was) != (Event.RETRY, State.NEW):
            self.events[event] += 1
            level = logging.INFO if event is Event.SUSPECT else logging.WARNING
            log.log(level, "%s: %s %s", CALLS[was], event.value, self._failure.text)
        if event is Event.FATAL:
            now_ms = self._clock()
            self._fatal_at_ms = [*self._fatal_at_ms[-9:], now_ms]
            if comes_back(self._fatal_at_ms, now_ms):
                raise KafkaRefused(
                    f"fatal errors of the producer come back, the last one in {CALLS[was]}: {self._failure.text}. "
                    "Look at the brokers' logs for this transactional id: " + self._options.transactional_id
                )
        if answer is Answer.STOP:
            raise KafkaRefused(self._why_stop(event))
        return answer

    def _why_stop(self, event: Event) -> str:
        name = self._options.transactional_id
        match event:
            case Event.RIVAL:
                return (
                    f"another live process uses the transactional id {name!r} and has fenced this one off. Each "
                    "live worker needs its own, the same after a restart; a second worker on this host: "
                    f"WORKER_KAFKA__TRANSACTIONAL_ID={name}-2 moderation-worker run. (If an orchestrator restarts "
                    "both, they go on fencing each other.)"
                )
            case Event.INSTANCE_TAKEN:
                return (
                    "another live process joined the group with our group instance id and took our place: give "
                    "each worker its own WORKER_KAFKA__GROUP_INSTANCE_ID"
                )
            case _ if self._failure.code == "INVALID_TRANSACTION_TIMEOUT":
                return (
                    f"Kafka refuses: {self._failure.text}. WORKER_KAFKA__TRANSACTION_TIMEOUT_MS may be at most the "
                    "brokers' transaction.max.timeout.ms."
                )
            case _:
                return f"Kafka refuses: {self._failure.text}. Grant its principal {self._missing_grant()}."

    def _missing_grant(self) -> str:
        if self._failure.code == "TOPIC_AUTHORIZATION_FAILED":
            # The answer names no topic; but one that we may not write is hidden from us, and that is told by name.
            with suppress(KafkaException):
                for name in self._options.topics.values():
                    if self._producer.list_topics(name, timeout=SLICE_S).topics[name].error is not None:
                        return f"WRITE on the topic {name!r}"
        return _DENIED_HINTS.get(self._failure.code, "what deploy/acls.sh lists")

    def _knows_topics(self) -> bool:
        """Learns how many partitions our topics have, a topic at a time."""
        for topic, name in self._options.topics.items():
            if topic in self._partitions:
                continue
            try:
                found = self._producer.list_topics(name, timeout=SLICE_S).topics[name]
            except KafkaException as error:
                self._heard(error.args[0])
                return False
            if found.error is None and found.partitions:
                self._partitions[topic] = len(found.partitions)
                self._missing_since_ms = None
                continue
            now_ms = self._clock()
            self._missing_since_ms = self._missing_since_ms or now_ms
            if now_ms - self._missing_since_ms >= _TOPIC_MISSING_MS_MAX:
                why = "it has no partitions" if found.error is None else found.error.str()
                raise KafkaRefused(
                    f"the {topic.value} topic {name!r} can't be used: {why}. Create it with "
                    "moderation-worker topics create, or grant WRITE on it."
                )
            return False
        return True

    def _notice_slowness(self, took_ms: int) -> None:
        now_ms = self._clock()
        counts = self._slow_at_ms is None or now_ms - self._slow_at_ms >= _SLOWNESS_COUNTS_AGAIN_MS
        if took_ms >= _SLOW_COMMIT_MS and counts:
            self._slow_at_ms = now_ms
            self._suspect = self._suspect or f"a transaction took {took_ms} ms"

    def _delivered(self, output: Output, error: KafkaError | None, _message: object) -> None:
        if error is not None and error.name() in _NEVER_TAKEN:
            self._refused.append(output)

    def _blame(self) -> None:
        """Rejects the outputs that were refused alone, and has the next pass send the others further apart."""
        if self._refused:
            # Its numbers in that partition now have a gap, for which the broker would refuse the next pass too.
            self._suspect = self._suspect or "a batch was refused"
        culprits, further = sort_out(self._refused, self._target, self._apart)
        self._apart |= further
        for culprit in culprits:
            self._reject(culprit)

    def _target(self, output: Output) -> tuple[str, int]:
        """Topic and partition that an output goes to."""
        return self._options.topics[output.topic], output.source.partition.number % self._partitions[output.topic]

    def _reject(self, output: Output) -> None:
        """Notes that a broker won't take an output: its record becomes a dead letter on the next pass."""
        where = (output.source.partition, output.source.offset)
        if where in self.rejected and output.topic is Topic.DEAD_LETTER:
            self._hopeless = (
                f"the topic {self._options.topics[output.topic]!r} refuses even a dead letter without its value, "
                f"for {output.source.partition} at offset {output.source.offset}: raise its max.message.bytes, "
                "and look at what else it requires of a record"
            )
        self.rejected.add(where)

    def _on_cut(self, text: str) -> None:
        self._suspect = self._suspect or text

    def _on_error(self, error: KafkaError) -> None:
        """The error callback: notes, and never raises (it may run inside a commit that succeeds)."""
        if error.name() in _TRANSPORT:
            self._suspect = self._suspect or str(error)
        self._heard(error)
