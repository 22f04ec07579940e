import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import pytest
from confluent_kafka import Producer

from worker.commands.ledger import ObservedInput, ObservedOutput, audit
from worker.commands.ledger_reader import read_topics
from worker.errors import KafkaFatalError
from worker.records import Partition, Topic

pytestmark = pytest.mark.kafka

VERDICT = b'{"flagged": %s, "source": {"topic": "%s", "partition": 0, "offset": %d}}'


class Names(Protocol):
    input: str
    verdicts: str
    alerts: str
    dead_letters: str


class World:
    """Four topics of one partition, and producers for them."""

    def __init__(self, servers: str, names: Names) -> None:
        self.client: dict[str, Any] = {"bootstrap.servers": servers, "log_level": 0}
        self.names = names
        self.outputs = {
            Topic.VERDICT: names.verdicts,
            Topic.ALERT: names.alerts,
            Topic.DEAD_LETTER: names.dead_letters,
        }

    def send(self, *values: bytes | None) -> None:
        producer = Producer(self.client)
        for value in values:
            producer.produce(self.names.input, value, partition=0)
        assert producer.flush(30) == 0

    @contextmanager
    def transaction(self, name: str) -> Iterator[Producer]:
        producer = Producer({**self.client, "transactional.id": f"{self.names.input}.{name}"})
        producer.init_transactions(30)
        producer.begin_transaction()
        yield producer
        assert producer.flush(30) == 0

    def verdict(self, producer: Producer, offset: int, *, flagged: bool = False) -> None:
        flag = b"true" if flagged else b"false"
        producer.produce(self.names.verdicts, VERDICT % (flag, self.names.input.encode(), offset), partition=0)

    def read(self, *, silence_ms_max: int = 30_000) -> tuple[list[ObservedInput], list[ObservedOutput]]:
        return read_topics(
            self.client, inputs=[self.names.input], outputs=self.outputs, silence_ms_max=silence_ms_max
        )


@pytest.fixture
def world(bootstrap_servers: str, fresh_topics: Callable[..., Names]) -> World:
    return World(bootstrap_servers, fresh_topics())


def test_every_kind_of_record_is_recognised(world: World) -> None:
    world.send(b"one", None, b"three", b"four")
    source = Partition(world.names.input, 0)
    with world.transaction("a") as producer:
        world.verdict(producer, 0, flagged=True)
        world.verdict(producer, 3)
        where = b'{"source": {"topic": "%s", "partition": 0, "offset": 0}}' % world.names.input.encode()
        producer.produce(world.names.alerts, where, partition=0)
        headers = {"topic": world.names.input, "partition": "0", "offset": "2"}
        named: list[tuple[str, str | bytes | None]]
        named = [(f"moderation.source.{name}", value.encode()) for name, value in headers.items()]
        producer.produce(world.names.dead_letters, b"three", partition=0, headers=named)
    producer.commit_transaction(30)
    inputs, outputs = world.read()
    assert inputs == [ObservedInput(partition=source, offset=at, tombstone=at == 1) for at in range(4)]
    assert {(seen.topic, seen.source, seen.flagged) for seen in outputs} == {
        (Topic.VERDICT, (source, 0), True),
        (Topic.VERDICT, (source, 3), False),
        (Topic.ALERT, (source, 0), False),
        (Topic.DEAD_LETTER, (source, 2), False),
    }
    assert audit(inputs, outputs).clean


def test_aborted_records_are_not_read_even_at_the_end_of_the_log(world: World) -> None:
    world.send(b"one")
    with world.transaction("a") as producer:
        world.verdict(producer, 0)
    producer.abort_transaction(30)
    producer.begin_transaction()
    world.verdict(producer, 0)
    producer.commit_transaction(30)
    producer.begin_transaction()
    world.verdict(producer, 0)
    assert producer.flush(30) == 0
    producer.abort_transaction(30)
    assert str(audit(*world.read())) == "in 1, verdicts 1, dead letters 0, lost 0, doubled 0"


def test_reading_waits_for_an_open_transaction_because_records_behind_it_are_not_lost(world: World) -> None:
    world.send(b"one", b"two")
    with world.transaction("a") as slow:
        world.verdict(slow, 0)
    with world.transaction("b") as quick:
        world.verdict(quick, 1)
    quick.commit_transaction(30)
    with pytest.raises(KafkaFatalError, match=r"still open on test-.*verdicts\[0\]"):
        world.read(silence_ms_max=0)
    ending = threading.Timer(0.5, slow.commit_transaction, [30])
    ending.start()
    assert audit(*world.read()).clean
    ending.join()


@pytest.mark.parametrize(
    "value", [None, b"", b"no json", b"[]", b'{"source": null}', b'{"source": {"topic": "x"}}']
)
def test_a_record_of_another_program_counts_as_foreign(world: World, value: bytes | None) -> None:
    with world.transaction("a") as producer:
        for name in world.outputs.values():
            producer.produce(name, value, partition=0)
    producer.commit_transaction(30)
    assert audit(*world.read()).foreign == 3


def test_a_missing_topic_is_named(world: World) -> None:
    with pytest.raises(KafkaFatalError, match="no-such-topic"):
        read_topics(world.client, inputs=["no-such-topic"], outputs=world.outputs)
