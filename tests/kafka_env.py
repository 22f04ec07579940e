"""The topics and the consumer group of one test, and their contents."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count, islice
from typing import Any, TypeVar, cast

import orjson
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined] # exported at run time
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
)

from tests.meanwhile import meanwhile
from tests.worker_process import LOOK_AGAIN_S, WorkerProcess, eventually
from worker.commands.ledger import Ledger, audit
from worker.commands.ledger_reader import read_topics
from worker.kafka.topic_reader import open_reader, read_to_end
from worker.kafka.topics import TopicSpec, create_topics
from worker.records import Partition, Topic

KAFKA_S_MAX = 10
STARTING = {
    "COORDINATOR_LOAD_IN_PROGRESS",
    "COORDINATOR_NOT_AVAILABLE",
    "NOT_COORDINATOR",
    "NOT_LEADER_FOR_PARTITION",
}
Answer = TypeVar("Answer")


class KafkaEnv:
    """One consumer group, its topics, and the settings of its workers.

    Attributes:
        client: librdkafka's properties with which a client connects.
        inputs: Number of partitions of each input topic, by name.
        outputs: Names of the output topics.
        partitions: Number of partitions of each output topic.
        group: The consumer group's id. The transactional ids begin with it too.
    """

    def __init__(
        self,
        servers: str,
        model: str,
        *,
        inputs: Sequence[int] = (3,),
        partitions: int = 3,
        login: Mapping[str, str] = {},
    ) -> None:
        prefix = f"test-{uuid.uuid4().hex[:12]}"
        self.client: dict[str, Any] = {"bootstrap.servers": servers, "log_level": 0, **login}
        self.inputs = {f"{prefix}.messages-{number}": count for number, count in enumerate(inputs)}
        self.outputs = {topic: f"{prefix}.{topic.value.replace(' ', '-')}s" for topic in Topic}
        self.partitions = partitions
        self.group = prefix
        self._servers = servers
        self._model = model
        self._admin = AdminClient(self.client)
        self._producer = Producer(self.client)

    def create(self, *, without: Sequence[str] = ()) -> None:
        """Create all topics except those in ``without``."""
        counts = {**self.inputs, **dict.fromkeys(self.outputs.values(), self.partitions)}
        specs = [TopicSpec(name=name, partitions=count) for name, count in counts.items() if name not in without]
        create_topics(self.client, specs)

    def spread(self, nodes: Sequence[int]) -> None:
        """Create the first input topic with one partition on each of these nodes, without further replicas."""
        topic = next(iter(self.inputs))
        new = NewTopic(topic, num_partitions=len(nodes), replica_assignment=[[node] for node in nodes])
        self._admin.create_topics([new])[topic].result(KAFKA_S_MAX)

    def limit(self, topic: Topic, bytes_max: int) -> None:
        """Set ``max.message.bytes`` of an output topic."""
        self.configure(topic, "max.message.bytes", str(bytes_max))

    def configure(self, topic: Topic, name: str, value: str) -> None:
        """Change a setting of an output topic. The change takes effect a little later."""
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        of = ConfigResource(ConfigResource.Type.TOPIC, self.outputs[topic], incremental_configs=[entry])
        self._admin.incremental_alter_configs([of])[of].result(KAFKA_S_MAX)

    def environ(self, name: str = "a", **changes: str) -> dict[str, str]:
        """Return the environment of a worker of this name. ``changes`` are variables without ``WORKER_``."""
        variables = {
            "KAFKA__BOOTSTRAP_SERVERS": self._servers,
            "KAFKA__GROUP_ID": self.group,
            "KAFKA__TRANSACTIONAL_ID": f"{self.group}.{name}",
            "KAFKA__INPUT_TOPICS": ",".join(self.inputs),
            "KAFKA__VERDICT_TOPIC": self.outputs[Topic.VERDICT],
            "KAFKA__ALERT_TOPIC": self.outputs[Topic.ALERT],
            "KAFKA__DEAD_LETTER_TOPIC": self.outputs[Topic.DEAD_LETTER],
            "MODEL__PATH": self._model,
            "MODEL__DEVICE": "cpu",
            "MODEL__THREADS": "1",
            "POLICY__THRESHOLD": "0",  # an alert for every text that is not blank
            **changes,
        }
        return {f"WORKER_{variable}": value for variable, value in variables.items()}

    def send(self, values: Sequence[bytes | None]) -> None:
        """Send values to the first input topic, to its partitions in turn."""
        topic, partitions = next(iter(self.inputs.items()))
        for number, value in enumerate(values):
            self._producer.produce(topic, value, partition=number % partitions)
        assert self._producer.flush(KAFKA_S_MAX) == 0

    def send_to(self, partition: int, values: Sequence[bytes | None]) -> None:
        """Send values to one partition of the first input topic."""
        for value in values:
            self._producer.produce(next(iter(self.inputs)), value, partition=partition)
        assert self._producer.flush(KAFKA_S_MAX) == 0

    @contextmanager
    def stream(self, *, text: str = "message", per_second: int = 500) -> Iterator[None]:
        """Send messages to the first input topic until the end of the block."""
        numbers = count()  # all messages differ, because equal texts are scored once

        def feed() -> None:
            self.send([chat(f"{text} {number}") for number in islice(numbers, per_second // 50)])

        with meanwhile(feed, every_s=0.02):
            yield

    def committed(self) -> dict[Partition, int]:
        """Return the group's committed offsets. Partitions without one are missing.

        A consumer asks: the module worker.kafka.offset_queries says why the admin client must not.
        """
        config = {**self.client, "group.id": self.group, "isolation.level": "read_uncommitted"}
        reader = Consumer({**config, "enable.auto.commit": False})
        try:
            metadata = reader.list_topics(timeout=KAFKA_S_MAX).topics
            topics = [topic for topic in self.inputs if topic in metadata]
            asked = [TopicPartition(topic, at) for topic in topics for at in metadata[topic].partitions]
            answer = answered(lambda: reader.committed(asked, timeout=KAFKA_S_MAX))
        finally:
            reader.close()
        return {Partition(at.topic, at.partition): at.offset for at in answer if at.offset >= 0}

    def set_offset(self, offset: int, metadata: str = "") -> None:
        """Commit an offset for the first input partition, as ``kafka-consumer-groups.sh`` does."""
        at = TopicPartition(next(iter(self.inputs)), 0, offset, metadata)
        asked = ConsumerGroupTopicPartitions(self.group, [at])

        def done() -> bool:
            answer = self._admin.alter_consumer_group_offsets([asked])[self.group].result(KAFKA_S_MAX)
            return all(one.error is None for one in answer.topic_partitions)

        eventually(done, lambda: self.group, seconds_max=KAFKA_S_MAX)  # the coordinator may still be loading

    def begin_transaction(self, name: str, offset: int) -> Producer:
        """Begin a transaction that contains an offset of the first input partition. The producer is no member."""
        producer = Producer(
            {**self.client, "transactional.id": f"{self.group}.{name}", "transaction.timeout.ms": 300_000}
        )
        producer.init_transactions(KAFKA_S_MAX)
        producer.begin_transaction()
        reader = Consumer({**self.client, "group.id": self.group})
        offsets = [TopicPartition(next(iter(self.inputs)), 0, offset)]
        producer.send_offsets_to_transaction(offsets, reader.consumer_group_metadata(), KAFKA_S_MAX)
        reader.close()
        return producer

    def input_ends(self) -> dict[Partition, int]:
        """Return the end offsets of the input partitions. Empty partitions are missing."""
        ends = self._ends(self.inputs, IsolationLevel.READ_COMMITTED)
        return {partition: end for partition, end in ends.items() if end}

    def readable(self) -> int:
        """Return the number of offsets in the output topics below their last stable offsets."""
        return sum(self._output_ends(IsolationLevel.READ_COMMITTED).values())

    def is_mid_transaction(self) -> bool:
        """Return whether an open transaction contains outputs."""
        readable = self._output_ends(IsolationLevel.READ_COMMITTED)
        return self._output_ends(IsolationLevel.READ_UNCOMMITTED) != readable

    def run_command(self, *arguments: str) -> tuple[int, str]:
        """Run a command with these topics. Return the exit code, and what it printed on both streams."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("WORKER_")}
        done = subprocess.run(
            [sys.executable, "-m", "worker", *arguments],
            env={**inherited, **self.environ()},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )
        return done.returncode, done.stdout

    def wait_until_caught_up(self, *running: WorkerProcess) -> None:
        """Return once the group has committed all inputs. Fail if a worker ends before."""

        def caught_up() -> bool:
            for worker in running:
                assert worker.exit_code is None, worker.said
            # A new group commits an offset for empty partitions too.
            return self.committed().items() >= self.input_ends().items()

        eventually(caught_up, lambda: f"{self.committed()} of {self.input_ends()}", seconds_max=180)

    def ledger(self) -> Ledger:
        """Return the ledger of all inputs and all outputs."""
        return audit(*read_topics(self.client, inputs=list(self.inputs), outputs=self.outputs))

    def ledger_of_committed(self) -> Ledger:
        """Return the ledger of all outputs and of the inputs below the committed offsets."""
        inputs, outputs = read_topics(self.client, inputs=list(self.inputs), outputs=self.outputs)
        committed = self.committed()
        return audit([given for given in inputs if given.offset < committed.get(given.partition, 0)], outputs)

    def read(self, *topics: Topic) -> list[Message]:
        """Return all records of these output topics at read_committed. Each partition's records are in order."""
        with open_reader(self.client, [self.outputs[topic] for topic in topics]) as reader:
            return list(read_to_end(reader, KAFKA_S_MAX * 1000))

    def _output_ends(self, level: IsolationLevel) -> dict[Partition, int]:
        return self._ends(dict.fromkeys(self.outputs.values(), self.partitions), level)

    def _ends(self, topics: Mapping[str, int], level: IsolationLevel) -> dict[Partition, int]:
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call] # not typed there
        asked = {TopicPartition(name, number): latest for name, count in topics.items() for number in range(count)}

        def ends() -> dict[Partition, int]:
            answers = self._admin.list_offsets(asked, isolation_level=level, request_timeout=KAFKA_S_MAX)
            return {Partition(at.topic, at.partition): answer.result().offset for at, answer in answers.items()}

        return answered(ends)


def answered(ask: Callable[[], Answer]) -> Answer:
    """Repeat a request to a broker that has just restarted, while its coordinators are loading."""
    deadline = time.monotonic() + KAFKA_S_MAX
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].name() not in STARTING or time.monotonic() > deadline:
                raise
            time.sleep(LOOK_AGAIN_S)


def group_ids(servers: str) -> set[str]:
    """Return the ids of all consumer groups.

    The function keeps the client in a variable until it has the answer. Python destroys a client without a variable
    immediately. The answer may then never come.
    """
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    listed = admin.list_consumer_groups(request_timeout=KAFKA_S_MAX).result()
    return {group.group_id for group in listed.valid or ()}


def headers_of(message: Message) -> list[tuple[str, bytes | None]]:
    """Return the headers in order. Values that Kafka delivered are bytes."""
    return cast("list[tuple[str, bytes | None]]", message.headers() or [])


def chat(text: str, **fields: object) -> bytes:
    """Return an input message."""
    return orjson.dumps({"text": text, **fields})
