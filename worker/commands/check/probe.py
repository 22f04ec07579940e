"""Questions to a Kafka, each answered or given up within half a minute; none changes anything, or joins the group.

How each permission is proved, since no permission to describe anything is asked for:

- READ on an input: a fetch at its end, which answers "end of partition".
- READ on the group: an offset commit for a partition that can't exist. The broker looks at the group first, then
  at the topic, and only then finds nothing to commit to, so it stores nothing; OffsetFetch would pass on less.
- WRITE on the transactional id: ``init_transactions``.
- WRITE on an output: a record with a key and one without, each in a transaction that is aborted. Each is flushed
  first, since a broker looks only at records that reach it.

The topics' settings need DESCRIBE_CONFIGS, which the worker itself does not: without it they are not compared.

The transactional id is one of its own, since a second producer with a worker's id would fence the worker.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined] # theirs to export
    AdminClient,
    ConfigEntry,
    ConfigResource,
)

from worker.commands.check.open_transactions import find_blocks
from worker.kafka.blocked_partitions import BlockedPartition
from worker.kafka.login import Login
from worker.kafka.metadata import NoMetadataError, wait_for_metadata
from worker.kafka.offset_queries import OffsetQueries
from worker.kafka.offset_reset import start_offset
from worker.kafka.session_options import SessionOptions
from worker.records import Partition

ANSWER_S = 30.0
"""Several answers of a link that takes 3 s for each: the coordinator is found, connected to, and asked."""
POLL_S = 0.1
TRANSACTION_MS_MAX = 30_000
NO_PARTITION = 2**31 - 1

MISSING = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})  # noqa: SLF001 - librdkafka's own codes begin so
_ENDS = frozenset({KafkaError._PARTITION_EOF})  # noqa: SLF001 - as above
KEYS = (b"moderation-worker check", None)
_VALUE = b'{"schema":"check"}'
_HEADERS: list[tuple[str, str | bytes | None]] = [("content-type", b"application/json")]

# What librdkafka has to say comes back as errors, which the items show.
_silent = logging.getLogger("worker.commands.check.librdkafka")
_silent.setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits to be judged.

    Attributes:
        messages: Offsets between where the group stands and what a read_committed reader could read; markers of
            transactions and what compaction took away count too.
        unplaced: Partitions where the worker would find no position to start from, and stop.
    """

    messages: int
    unplaced: Sequence[Partition]


class Probe:
    """The worker's own clients, as its settings make them, but for what would join or disturb.

    They are never closed: that could wait for a broker that doesn't answer. The process ends instead.

    Raises:
        KafkaException: librdkafka refuses a property.
    """

    def __init__(self, options: SessionOptions, *, transactional_id: str) -> None:
        self._options = options
        self._heard: list[KafkaError] = []
        self._producer_config = {
            **options.publisher.config,
            "transactional.id": transactional_id,
            "transaction.timeout.ms": min(options.publisher.transaction_timeout_ms, TRANSACTION_MS_MAX),
            "error_cb": self._heard.append,
        }
        self._producers: list[Producer] = []  # holds on to them: to let go of one may take its time
        self._answers: list[KafkaError | None] = []
        config = {name: value for name, value in options.consumer_config.items() if name != "group.instance.id"}
        config |= {
            "allow.auto.create.topics": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 100,
            "error_cb": self._heard.append,
            "on_commit": lambda error, _: self._answers.append(error),
        }
        self._consumer = Consumer(config, logger=_silent)
        self._admin = AdminClient({"log_level": 0, **options.admin_config})
        self._queries = OffsetQueries(options.admin_config, answer_s_max=ANSWER_S)
        self._initialised: Producer | None = None
        self._spare: Producer | None = self._make_producer()  # made here, so that wrong properties are known now

    def brokers(self) -> int:
        """How many there are.

        Raises:
            KafkaException: None answers, or it doesn't let us in.
        """
        login, topic = Login.of(self._options.consumer_config), self._options.input_topics[0]
        try:
            return len(wait_for_metadata(self._consumer, self._heard, login, topic=topic).brokers)
        except NoMetadataError as error:
            raise KafkaException(error.error) from error

    def partitions(self, topic: str) -> int:
        """How many a topic has.

        Raises:
            KafkaException: It is not there, or we may not see whether it is.
        """
        found = self._consumer.list_topics(topic, timeout=ANSWER_S).topics[topic]
        if found.error is not None:
            raise KafkaException(found.error)
        return len(found.partitions)

    def read(self, topic: str) -> None:
        """Fetches at the end of a partition.

        Raises:
            KafkaException: We may not, or there was no answer.
        """
        self.partitions(topic)  # of a topic that is hidden from us a fetch would never come back
        self._consumer.assign([TopicPartition(topic, 0, OFFSET_END)])
        try:
            self._wait_for_fetch(topic)
        finally:
            self._consumer.unassign()

    def _wait_for_fetch(self, topic: str) -> None:
        deadline = time.monotonic() + ANSWER_S
        while time.monotonic() < deadline:
            message = self._poll(POLL_S)
            if message is None or message.topic() != topic:
                continue
            error = message.error()
            if error is None or error.code() in _ENDS:
                return
            raise KafkaException(error)
        raise _unanswered("Fetch")

    def _poll(self, timeout_s: float) -> Message | None:
        """What comes, and a note of each error."""
        message = self._consumer.poll(timeout_s)
        if message is not None and (error := message.error()) is not None:
            self._heard.append(error)
        return message

    def commit_nothing(self) -> None:
        """Proves that the group's offsets are ours to commit, and commits none.

        Raises:
            KafkaException: We may not, or there was no answer.
        """
        self._answers.clear()
        self._consumer.commit(offsets=[TopicPartition(self._options.input_topics[0], NO_PARTITION, 0)])
        deadline = time.monotonic() + ANSWER_S
        while time.monotonic() < deadline:
            self._poll(POLL_S)
            # Without any right to the group no answer comes: the search for its coordinator has failed, and that is
            # told once, at whatever was polled for then.
            for error in self._heard:
                if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                    raise KafkaException(error)
            for answer in self._answers:
                if answer is None or answer.code() in (*MISSING, KafkaError.TOPIC_AUTHORIZATION_FAILED):
                    return  # past the look at the group
                raise KafkaException(answer)
        raise _unanswered("OffsetCommit")

    def initialise(self) -> None:
        """Registers the transactional id.

        Raises:
            KafkaException: We may not, or there was no answer.
        """
        self._spare = self._ready_producer()

    def topic_settings(self, topic: str) -> tuple[dict[str, str], int]:
        """Its settings by name, and the smallest number of replicas of a partition.

        Raises:
            KafkaException: We may not, or there was no answer.
        """
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        configs = self._admin.describe_configs([resource], request_timeout=ANSWER_S)
        topics = self._admin.describe_topics(TopicCollection([topic]), request_timeout=ANSWER_S)
        found: dict[str, ConfigEntry] = configs[resource].result()
        replicas = min(len(partition.replicas) for partition in topics[topic].result().partitions)
        return {name: entry.value for name, entry in found.items() if entry.value is not None}, replicas

    def write_and_abort(self, topics: Sequence[str], keys: Sequence[bytes | None] = KEYS) -> None:
        """A record with each of the keys to each topic in one transaction, which is aborted.

        Raises:
            KafkaException: We may not, or there was no answer; the transaction is aborted by the broker if not
                by us.
        """
        producer = self._ready_producer()
        failures: list[KafkaError] = []
        producer.begin_transaction()
        for topic, key in product(topics, keys):
            producer.produce(
                topic,
                key=key,
                value=_VALUE,
                headers=_HEADERS,
                partition=0,
                on_delivery=lambda error, _: failures.append(error) if error is not None else None,
            )
        late = producer.flush(ANSWER_S)
        if failures:
            raise KafkaException(_reason(producer, failures[0]))
        producer.abort_transaction(ANSWER_S)
        if late:
            raise _unanswered("Produce")
        self._spare = producer

    def _ready_producer(self) -> Producer:
        """The spare one, or a new one: a producer whose transaction did not end well is not used again."""
        producer, self._spare = self._spare or self._make_producer(), None
        if producer is not self._initialised:
            producer.init_transactions(ANSWER_S)
            self._initialised = producer
        return producer

    def _make_producer(self) -> Producer:
        self._producers.append(Producer(self._producer_config, logger=_silent))
        return self._producers[-1]

    def blocks(self, partitions: Mapping[str, int]) -> dict[Partition, BlockedPartition]:
        """Those of the inputs' partitions that another producer's open transaction blocks.

        Raises:
            KafkaException: There was no answer for one of them.
        """
        return find_blocks(self._queries, _every(partitions))

    def backlog(self, partitions: Mapping[str, int]) -> Backlog:
        """What waits in the inputs' partitions, of which each topic has so many.

        Raises:
            KafkaException: There was no answer for one of them.
        """
        every = _every(partitions)
        committed = _checked(self._consumer.committed([TopicPartition(*one) for one in every], timeout=ANSWER_S))
        low, high = self._offsets_at(every, OFFSET_BEGINNING), self._offsets_at(every, OFFSET_END)
        reset = self._options.offset_reset
        timed = None if reset.time_ms is None else self._offsets_at(every, reset.time_ms)
        messages = 0
        unplaced = []
        for one in every:
            begin = start_offset(
                committed[one] if committed[one] >= 0 else None,
                low=low[one],
                high=high[one],
                timed=None if timed is None else timed[one],
                reset=reset,
            )
            if begin is None:
                unplaced.append(one)
            else:
                messages += high[one] - begin
        return Backlog(messages=messages, unplaced=unplaced)

    def _offsets_at(self, partitions: Sequence[Partition], time_ms: int) -> dict[Partition, int]:
        """All partitions in one request a broker; the beginning and the end (read_committed) are times as well."""
        asked = [TopicPartition(*one, time_ms) for one in partitions]
        return _checked(self._consumer.offsets_for_times(asked, timeout=ANSWER_S))


def _every(partitions: Mapping[str, int]) -> list[Partition]:
    return [Partition(topic, number) for topic, count in partitions.items() for number in range(count)]


def _checked(answers: Sequence[TopicPartition]) -> dict[Partition, int]:
    for answer in answers:
        if answer.error is not None:
            raise KafkaException(answer.error)
    return {Partition(answer.topic, answer.partition): answer.offset for answer in answers}


def _reason(producer: Producer, failure: KafkaError) -> KafkaError:
    """Why a delivery failed: the report may only say that the record was purged.

    The transaction knows, and tells when it is asked to commit; that can't succeed after a failed delivery.
    The abort then fails if the broker has never heard of this transaction, which is as good.
    """
    told = failure
    for call in (producer.commit_transaction, producer.abort_transaction):
        try:
            call(ANSWER_S)
        except KafkaException as error:
            if failure.code() == KafkaError._PURGE_QUEUE and told is failure:  # noqa: SLF001 - librdkafka's own
                told = error.args[0]
    return told


def _unanswered(request: str) -> KafkaException:
    return KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{request}: no answer within {ANSWER_S:.0f} s"))  # noqa: SLF001 - librdkafka's own
