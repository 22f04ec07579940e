"""What is seen while the faults go on: a read_committed reader that never stops, and the group's offsets."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, TopicPartition

from worker.commands.ledger import audit
from worker.commands.ledger_reader import observed_output
from worker.commands.prove.kafka_names import KafkaNames
from worker.kafka.clients import slice_s
from worker.records import Partition, Topic

if TYPE_CHECKING:
    from worker.commands.ledger import ObservedInput, ObservedOutput

CONSUME_WAIT_S = 0.02
CHUNK_RECORDS = 5000
ASK_EVERY_MS = 500
ASK_S_MAX = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """The longest time in which nothing of a partition was judged, while there was always something to judge."""

    partition: Partition
    began_ms: int
    lasted_ms: int


class Reading:
    """The concurrent reader."""

    def __init__(self, reader: Consumer, names: KafkaNames) -> None:
        self.seen: list[ObservedOutput] = []
        self.answers = 0
        self._reader = reader
        self._names = names
        self._latest_ms: dict[Partition, int] = {}
        self.pauses: dict[Partition, Pause] = {}

    def read(self, now_ms: int) -> None:
        """Takes in what has been committed; waits for a moment at most."""
        for message in self._reader.consume(CHUNK_RECORDS, CONSUME_WAIT_S):
            if message.error() is not None:
                continue  # the end of a partition, for now; a broker that went away comes back
            seen = observed_output(message, self._names.kind(message))
            self.seen.append(seen)
            if seen.topic is not Topic.ALERT:
                self.answers += 1
                if seen.source is not None:
                    self._note(seen.source[0], now_ms)

    def begin_anew(self, now_ms: int) -> None:
        """Counts no pause that began before: there was something that nobody could read."""
        self._latest_ms = dict.fromkeys(self._latest_ms, now_ms)

    def _note(self, partition: Partition, now_ms: int) -> None:
        began_ms = self._latest_ms.get(partition, now_ms)
        lasted_ms = now_ms - began_ms
        if partition not in self.pauses or lasted_ms > self.pauses[partition].lasted_ms:
            self.pauses[partition] = Pause(partition=partition, began_ms=began_ms, lasted_ms=lasted_ms)
        self._latest_ms[partition] = now_ms


class CommittedOffsets:
    """Samples of what the group has committed: within a log it may never go back, and never to a log that is gone.

    A worker commits the id of its topic with each offset, as commit metadata.

    By a consumer that joins nothing, on a thread of its own: the admin client's list_consumer_group_offsets crashes
    the process when the broker goes away (confluent-kafka 2.16.1).
    """

    def __init__(self, client: Mapping[str, Any], group: str, partitions: Sequence[Partition]) -> None:
        self.samples = 0
        self.latest: dict[Partition, int] = {}
        self.went_back: list[str] = []
        self._consumer = Consumer({"log_level": 0, **client, "group.id": group, "enable.auto.commit": False})
        self._log_ids: dict[Partition, str | None] = {}
        self._gone: set[tuple[Partition, str | None]] = set()
        self._asks = [TopicPartition(*partition) for partition in partitions]
        self._thread = ThreadPoolExecutor(1, "offsets")
        self._asked: Future[list[TopicPartition]] | None = None
        self._asked_ms = -ASK_EVERY_MS
        self._failed = 0  # questions in a row that had no answer

    def sample(self, now_ms: int) -> None:
        """Keeps one question under way; never waits."""
        if self._asked is not None and self._asked.done():
            self._failed = 0 if self._asked.exception() is None else self._failed + 1
            if self._asked.exception() is None:
                self._take(self._asked.result(), now_ms)
            self._asked = None
        if self._asked is None and now_ms - self._asked_ms >= ASK_EVERY_MS:
            self._asked_ms = now_ms
            timeout_s = slice_s(self._failed + 1, ASK_S_MAX)  # a link may be slow, and a broker may be away
            self._asked = self._thread.submit(self._consumer.committed, self._asks, timeout=timeout_s)

    def close(self) -> None:
        """Asks no more."""
        self._thread.shutdown()
        self._consumer.close()

    def _take(self, found: Sequence[TopicPartition], now_ms: int) -> None:
        self.samples += 1
        for at in found:
            if at.error is not None or at.offset < 0:
                continue
            partition = Partition(at.topic, at.partition)
            before = self._before(partition, at.metadata)
            if at.offset < before or (partition, at.metadata) in self._gone:
                self.went_back.append(f"{partition} from {before} to {at.offset} at {now_ms} ms")
            self.latest[partition] = at.offset

    def _before(self, partition: Partition, log_id: str | None) -> int:
        """The latest offset in the same log."""
        known = self._log_ids.setdefault(partition, log_id)
        if log_id == known:
            return self.latest.get(partition, 0)
        self._gone.add((partition, known))
        self._log_ids[partition] = log_id
        return 0


class Accounts:
    """One ledger for each log that the input topic has been.

    Outputs name the partition and the offset of their input, and not its log. So whatever has not been accounted
    for with an earlier log belongs to the one that is closed.
    """

    def __init__(self) -> None:
        self.ledger = audit([], [])
        self._accounted: set[ObservedOutput] = set()

    def close_log(self, inputs: "Sequence[ObservedInput]", outputs: "Sequence[ObservedOutput]") -> None:
        """Adds the ledger of a log to which nothing is added any more, and of which nothing is left to judge."""
        new = [seen for seen in outputs if seen not in self._accounted]
        self._accounted.update(new)
        self.ledger += audit(inputs, new)


def rebalances(logs: Sequence[str], began_s: float) -> list[int]:
    """When workers were given partitions, by their logs.

    Args:
        logs: What each process said.
        began_s: When the proof began, in seconds of the epoch.

    Returns:
        Milliseconds since then, in order.
    """
    lines = [line for log in logs for line in log.splitlines() if " reading from: " in line and "@" in line]
    times = [datetime.fromisoformat(line.partition(" ")[0]).timestamp() for line in lines]
    return sorted(round((time_s - began_s) * 1000) for time_s in times)
