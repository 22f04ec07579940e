"""What is observed during the faults: the outputs, the group's committed offsets, and samples for the timeline."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, Message, TopicPartition

from worker.commands.ledger import ObservedInput, ObservedOutput, audit
from worker.commands.ledger_reader import observed_output
from worker.commands.prove.kafka_names import KafkaNames
from worker.kafka.commit_metadata import decode_metadata
from worker.kafka.offset_queries import OffsetQueries
from worker.records import Partition, Topic

if TYPE_CHECKING:
    from concurrent.futures import Future

CONSUME_WAIT_S = 0.02
CHUNK_RECORDS = 5000
QUERY_EVERY_MS = 500
OLD_ANSWERS_MS_MAX = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionPause:
    """The longest time without a verdict or dead letter of a partition that always had messages to judge."""

    partition: Partition
    began_ms: int
    lasted_ms: int


class OutputObserver:
    """A read_committed reader of the outputs that runs all the time.

    Attributes:
        outputs: All records so far.
        counts: Their number by kind of topic.
        pauses: The longest pause of each input partition.
    """

    def __init__(self, reader: Consumer, names: KafkaNames) -> None:
        self.outputs: list[ObservedOutput] = []
        self.counts: Counter[Topic] = Counter()
        self.pauses: dict[Partition, PartitionPause] = {}
        self._reader = reader
        self._names = names
        self._latest_ms: dict[Partition, int] = {}

    @property
    def judged(self) -> int:
        """Number of verdicts and dead letters so far."""
        return self.counts[Topic.VERDICT] + self.counts[Topic.DEAD_LETTER]

    def read(self, now_ms: int) -> Sequence[tuple[Message, ObservedOutput]]:
        """Read the newly committed records; wait at most 20 ms for one."""
        found = []
        for message in self._reader.consume(CHUNK_RECORDS, CONSUME_WAIT_S):
            if message.error() is not None:
                continue  # the present end of a partition, or a broker that is down and will be back
            output = observed_output(message, self._names.topic_named(message.topic()))
            found.append((message, output))
            self.counts[output.topic] += 1
            if output.topic is not Topic.ALERT and output.source is not None:
                self._measure_pause(output.source[0], now_ms)
        self.outputs.extend(output for _, output in found)
        return found

    def restart_pauses(self, now_ms: int) -> None:
        """Measure pauses from now on only: before, nobody could read the messages that were to be judged."""
        self._latest_ms = dict.fromkeys(self._latest_ms, now_ms)

    def _measure_pause(self, partition: Partition, now_ms: int) -> None:
        began_ms = self._latest_ms.get(partition, now_ms)
        lasted_ms = now_ms - began_ms
        if partition not in self.pauses or lasted_ms > self.pauses[partition].lasted_ms:
            self.pauses[partition] = PartitionPause(partition=partition, began_ms=began_ms, lasted_ms=lasted_ms)
        self._latest_ms[partition] = now_ms


class CommittedOffsets:
    """Samples of the group's committed offsets. They must never go back within a log, nor return to a deleted log.

    A log is the content of a topic from its creation to its deletion. A worker commits the topic's id with each
    offset, as commit metadata: so a sample tells the log of each offset.

    A coordinator that has just been started may answer with old offsets for a moment (``StartConfirmation`` says
    why). So an offset that went back counts when it stays back for ``OLD_ANSWERS_MS_MAX``. If workers judged
    messages again and were done sooner, the ledger has the doubled verdicts.

    Attributes:
        samples: How many answers have come.
        latest: The newest committed offset of each partition.
        regressions: A line for each committed offset that went back and stayed back.
        counting: The partitions with an open window of alerts, by the newest sample.
    """

    def __init__(self, client: Mapping[str, Any], group: str, partitions: Sequence[Partition]) -> None:
        self.samples = 0
        self.latest: dict[Partition, int] = {}
        self.regressions: list[str] = []
        self.counting: set[Partition] = set()
        self._queries = OffsetQueries(client, group_id=group)
        self._partitions = partitions
        self._log_ids: dict[Partition, str | None] = {}
        self._deleted_logs: set[tuple[Partition, str | None]] = set()
        self._back_since_ms: dict[Partition, int] = {}
        self._answer: Future[list[TopicPartition]] | None = None
        self._asked_ms = -QUERY_EVERY_MS

    def sample(self, now_ms: int) -> None:
        """Take the answer if it is there, and ask again every half second; never wait."""
        if self._answer is not None and self._answer.done():
            if self._answer.exception() is None:
                self.take(self._answer.result(), now_ms)
            else:
                self._back_since_ms.clear()  # the broker may be down: what comes after that is another moment
            self._answer = None
        if self._answer is None and now_ms - self._asked_ms >= QUERY_EVERY_MS:
            self._asked_ms = now_ms
            self._answer = self._queries.committed(self._partitions)

    def close(self) -> None:
        """Close the clients."""
        self._queries.close()

    def take(self, found: Sequence[TopicPartition], now_ms: int) -> None:
        """Take an answer of the coordinator."""
        self.samples += 1
        for at in found:
            if at.error is not None or at.offset < 0:
                continue
            partition = Partition(at.topic, at.partition)
            metadata = decode_metadata(at.metadata)
            if self._is_back(partition, at.offset, metadata.topic_id):
                self._note_back(partition, at.offset, metadata.topic_id, now_ms)
                continue
            self._back_since_ms.pop(partition, None)
            (self.counting.add if metadata.state else self.counting.discard)(partition)
            known = self._log_ids.setdefault(partition, metadata.topic_id)
            if metadata.topic_id != known:
                self._deleted_logs.add((partition, known))
                self._log_ids[partition] = metadata.topic_id
            self.latest[partition] = at.offset

    def _is_back(self, partition: Partition, offset: int, log_id: str | None) -> bool:
        """Return whether the offset is before the newest one of the same log, or belongs to a deleted log."""
        if partition not in self.latest:
            return False
        is_same_log = self._log_ids[partition] == log_id
        return (partition, log_id) in self._deleted_logs or (is_same_log and offset < self.latest[partition])

    def _note_back(self, partition: Partition, offset: int, log_id: str | None, now_ms: int) -> None:
        since_ms = self._back_since_ms.setdefault(partition, now_ms)
        if now_ms - since_ms < OLD_ANSWERS_MS_MAX:
            return
        self.regressions.append(
            f"{partition} from {self.latest[partition]} (topic id {self._log_ids[partition] or 'unknown'}) to "
            f"{offset} (topic id {log_id or 'unknown'}) since {since_ms} ms"
        )
        self.latest[partition], self._log_ids[partition] = offset, log_id
        self._deleted_logs.discard((partition, log_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The state of the experiment at a moment.

    Attributes:
        at_ms: Milliseconds since the first message.
        owed: Messages that Kafka has, without tombstones.
        judged: Verdicts and dead letters that a read_committed reader has read.
        workers: Workers that run and are not stopped.
    """

    at_ms: int
    owed: int
    judged: int
    workers: int


class LedgerByLog:
    """One ledger for each log of the input topic, and their sum.

    Outputs name the partition and the offset of their input, but not its log. So an output belongs to the log that
    ends, unless an earlier ledger has it.

    Attributes:
        ledger: The sum so far.
    """

    def __init__(self) -> None:
        self.ledger = audit([], [])
        self._audited: set[ObservedOutput] = set()

    def close_log(self, inputs: Sequence[ObservedInput], outputs: Sequence[ObservedOutput]) -> None:
        """Add the ledger of a log that gets no more messages and whose messages are all judged."""
        new = [output for output in outputs if output not in self._audited]
        self._audited.update(new)
        self.ledger += audit(inputs, new)


def assignment_times_ms(logs: Sequence[str], began_s: float) -> list[int]:
    """Return when workers were given partitions, as their logs say.

    Args:
        logs: The log of each process.
        began_s: The begin of the experiment, in seconds of the epoch.

    Returns:
        Milliseconds since the begin, in order.
    """
    lines = [line for log in logs for line in log.splitlines() if " reading from: " in line and "@" in line]
    times = [datetime.fromisoformat(line.partition(" ")[0]).timestamp() for line in lines]
    return sorted(round((time_s - began_s) * 1000) for time_s in times)
