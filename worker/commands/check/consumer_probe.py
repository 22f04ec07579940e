"""Questions that a consumer asks, each with an answer within 30 s. None changes anything or joins the group.

Nobody needs a permission to describe anything, so each permission is proved by an attempt:

- READ on an input: a fetch at the end of a partition. The broker answers "end of partition".
- READ on the group: an offset commit for a partition that cannot exist. The broker checks the permission on the
  group first, then the topic, and only then finds that the partition does not exist, so it stores nothing.
  OffsetFetch needs less than READ, so it would prove less.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from worker.commands.check.broker_errors import MISSING
from worker.kafka.login import Login
from worker.kafka.metadata import NoMetadataError, wait_for_metadata
from worker.kafka.offset_reset import start_offset
from worker.kafka.session_options import SessionOptions
from worker.records import Partition

ANSWER_S = 30.0
"""Several answers on a link that takes 3 s for each: find the coordinator, connect to it, ask it."""
POLL_S = 0.1
NO_PARTITION = 2**31 - 1

_ENDS = frozenset({KafkaError._PARTITION_EOF})  # noqa: SLF001 - librdkafka's own codes begin so

# The calls return librdkafka's errors, and the items show them.
silent = logging.getLogger("worker.commands.check.librdkafka")
silent.setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits to be judged.

    Attributes:
        messages: Number of offsets between the group's offsets and the last stable offsets. Transaction markers and
            offsets that compaction removed count too.
        unplaced: Partitions without an offset to start from, at which the worker would stop.
    """

    messages: int
    unplaced: Sequence[Partition]


class ConsumerProbe:
    """A consumer with the worker's properties, which joins no group.

    It is never closed, because closing could wait for a broker that does not answer. The process ends instead.

    Raises:
        KafkaException: librdkafka rejects a property.
    """

    def __init__(self, options: SessionOptions) -> None:
        self._options = options
        self._errors: list[KafkaError] = []
        self._commit_answers: list[KafkaError | None] = []
        config = {name: value for name, value in options.consumer_config.items() if name != "group.instance.id"}
        config |= {
            "allow.auto.create.topics": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 100,
            "error_cb": self._errors.append,
            "on_commit": lambda error, _: self._commit_answers.append(error),
        }
        self._consumer = Consumer(config, logger=silent)

    def brokers(self) -> int:
        """Return the number of brokers.

        Raises:
            KafkaException: No broker answered, or a broker rejected the login.
        """
        login, topic = Login.of(self._options.consumer_config), self._options.input_topics[0]
        try:
            return len(wait_for_metadata(self._consumer, self._errors, login, topic=topic).brokers)
        except NoMetadataError as error:
            raise KafkaException(error.error) from error

    def partitions(self, topic: str) -> int:
        """Return the number of partitions of a topic.

        Raises:
            KafkaException: The topic does not exist, or the brokers hide it, or no broker answered.
        """
        found = self._consumer.list_topics(topic, timeout=ANSWER_S).topics[topic]
        if found.error is not None:
            raise KafkaException(found.error)
        return len(found.partitions)

    def fetch(self, topic: str) -> None:
        """Fetch at the end of a partition.

        Raises:
            KafkaException: The permission is missing, or no broker answered.
        """
        self.partitions(topic)  # without this question, a fetch from a hidden topic would wait until the deadline
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
        raise unanswered("Fetch")

    def _poll(self, timeout_s: float) -> Message | None:
        """Return the next message or event, if one arrives, and keep its error."""
        message = self._consumer.poll(timeout_s)
        if message is not None and (error := message.error()) is not None:
            self._errors.append(error)
        return message

    def commit_nothing(self) -> None:
        """Prove that this user may commit the group's offsets, and commit none.

        Raises:
            KafkaException: The permission is missing, or no broker answered.
        """
        self._commit_answers.clear()
        self._consumer.commit(offsets=[TopicPartition(self._options.input_topics[0], NO_PARTITION, 0)])
        deadline = time.monotonic() + ANSWER_S
        while time.monotonic() < deadline:
            self._poll(POLL_S)
            # Without any permission on the group the commit gets no answer: the search for the coordinator has
            # failed. librdkafka reports that only once, perhaps during a poll before this method was called.
            for error in self._errors:
                if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                    raise KafkaException(error)
            for answer in self._commit_answers:
                if answer is None or answer.code() in (*MISSING, KafkaError.TOPIC_AUTHORIZATION_FAILED):
                    return  # the broker had already accepted the permission on the group
                raise KafkaException(answer)
        raise unanswered("OffsetCommit")

    def backlog(self, partitions: Mapping[str, int]) -> Backlog:
        """Return what waits in the input, given the number of partitions of each topic.

        Raises:
            KafkaException: No broker answered for one of the partitions.
        """
        every = partitions_of(partitions)
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
        """Return the offsets at a time; the beginning and the last stable offset are times too.

        librdkafka sends one request to each broker, for all its partitions.
        """
        asked = [TopicPartition(*one, time_ms) for one in partitions]
        return _checked(self._consumer.offsets_for_times(asked, timeout=ANSWER_S))


def partitions_of(counts: Mapping[str, int]) -> list[Partition]:
    """Return all partitions, given the number of partitions of each topic."""
    return [Partition(topic, number) for topic, count in counts.items() for number in range(count)]


def unanswered(request: str) -> KafkaException:
    """Return the error for a request that got no answer in time."""
    return KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{request}: no answer within {ANSWER_S:.0f} s"))  # noqa: SLF001 - librdkafka's own


def _checked(answers: Sequence[TopicPartition]) -> dict[Partition, int]:
    for answer in answers:
        if answer.error is not None:
            raise KafkaException(answer.error)
    return {Partition(answer.topic, answer.partition): answer.offset for answer in answers}
