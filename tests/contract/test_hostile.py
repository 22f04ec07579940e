"""Hostile messages on a real Kafka: the worker keeps running, answers each, and its memory is bounded."""

import ctypes
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import orjson
import pytest
from confluent_kafka import Message, Producer, cimpl
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from schemas.chat import ChatMessage
from tests.damaged_events import documented, mutated
from tests.hostile import HUGE_PIECES, MEGABYTE, Case, cases, huge
from tests.kafka_env import KAFKA_S_MAX, KafkaEnv, chat, headers_of
from tests.worker_process import Start, WorkerProcess
from worker.moderation.shapes import compile_shape, load_shape
from worker.records import Headers, Topic
from worker.scores import DeadLetterReason

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

TAKES_ALL = {
    "max.message.bytes": str(20 * MEGABYTE),
    "message.timestamp.after.max.ms": str(2**63 - 1),
    "retention.ms": "-1",  # records with an old timestamp would be deleted soon
}
ANY_SHARE = {"DEAD_LETTER__INPUT_SHARE_MAX": "1", "DEAD_LETTER__MODEL_SHARE_MAX": "1"}


@pytest.fixture
def scene(bootstrap_servers: str) -> KafkaEnv:
    made = KafkaEnv(bootstrap_servers, "demo", inputs=(2,), partitions=2)
    [topic] = made.inputs
    # Created with these settings: a later change would take effect after a delay.
    admin = AdminClient(made.client)
    admin.create_topics([NewTopic(topic, 2, config=TAKES_ALL)])[topic].result(KAFKA_S_MAX)
    made.create()
    return made


def hostile() -> Iterator[Case]:
    """Give messages of all kinds, then messages with a large value, key or headers."""
    yield from cases("on Kafka", 400)
    plain = chat("hello")
    large: Iterable[tuple[bytes, Headers, bytes | None]] = chain(
        ((huge(piece), [], None) for piece in 3 * HUGE_PIECES),
        ((plain, [("", b"")] * 300_000, None) for _ in range(20)),
        ((plain, [("x" * MEGABYTE, None), ("y", b"\0" * MEGABYTE)], None) for _ in range(20)),
        ((plain, [], bytes(MEGABYTE)) for _ in range(20)),
    )
    for value, headers, key in large:
        yield Case(kind="large", typed=False, key=key, value=value, headers=headers, timestamp_ms=None)


def memory_bytes(worker: WorkerProcess, name: str) -> int:
    status = Path(f"/proc/{worker.pid}/status").read_text()
    [kilobytes] = re.findall(rf"{name}:\s+(\d+) kB", status)
    return int(kilobytes) * 1024


def test_a_worker_answers_every_hostile_message_within_bounded_memory(scene: KafkaEnv, start: Start) -> None:
    [topic] = scene.inputs
    producer = Producer({**scene.client, "message.max.bytes": 20 * MEGABYTE})
    sent: dict[tuple[int | None, int | None], Case] = {}
    for number, case in enumerate(hostile()):

        def note(error: object, message: Message, case: Case = case) -> None:
            assert error is None
            sent[message.partition(), message.offset()] = case

        producer.produce(
            topic,
            case.value,
            case.key,
            partition=number % 2,
            headers=list(case.headers),
            timestamp=case.timestamp_ms or 0,  # 0 is now
            on_delivery=note,
        )
    assert producer.flush(60) == 0
    worker = start(scene.environ(**ANY_SHARE))
    worker.wait_for("reading from")
    before_bytes = memory_bytes(worker, "VmRSS")
    scene.wait_until_caught_up(worker)
    grown_bytes = memory_bytes(worker, "VmHWM") - before_bytes
    worker.drain()
    ledger = scene.ledger()
    assert ledger.clean, ledger
    assert grown_bytes < 300 * MEGABYTE  # about 400 MB were sent
    for message in scene.read(Topic.VERDICT):
        source = orjson.loads(message.value() or b"")["source"]
        assert sent.pop((source["partition"], source["offset"])).key == message.key()
    for message in scene.read(Topic.DEAD_LETTER):
        headers = dict(headers_of(message))
        place = (int(headers[f"moderation.source.{name}"] or b"") for name in ("partition", "offset"))
        case = sent.pop(tuple(place))  # type: ignore[arg-type] # a pair
        assert not case.typed
        if "moderation.error.truncated" not in headers:
            assert message.value() == case.value
    assert {case.value for case in sent.values()} <= {None}


@pytest.mark.parametrize("name", ["discord", "slack"])
def test_a_worker_answers_every_damaged_event_of_a_platform(name: str, scene: KafkaEnv, start_stub: Start) -> None:
    events = [json.dumps(event).encode() for event in documented(name)]
    for number in range(400):
        chance = random.Random(f"{name}:{number}")  # noqa: S311 - the same every time
        events += [mutated(name, number, chance)]
    scene.send([*events, None])
    worker = start_stub(scene.environ(INPUT__SHAPE=name, **ANY_SHARE))
    scene.wait_until_caught_up(worker)
    worker.drain()
    read = compile_shape(load_shape(name))
    expected: Counter[tuple[type, bytes]] = Counter()
    for event in events:
        reading = read(event, ())
        for one in reading if isinstance(reading, tuple) else (reading,):
            expected[type(one), event] += 1
    verdicts = [orjson.loads(message.value() or b"") for message in scene.read(Topic.VERDICT)]
    letters = [message.value() for message in scene.read(Topic.DEAD_LETTER)]
    assert len(verdicts) == sum(count for (kind, _), count in expected.items() if kind is ChatMessage)
    assert len({verdict["verdict_id"] for verdict in verdicts}) == len(verdicts)
    assert Counter(letters) == Counter(
        {event: count for (kind, event), count in expected.items() if kind is DeadLetterReason}
    )


def test_unreadable_headers_stop_neither_the_message_nor_the_worker(scene: KafkaEnv, start_stub: Start) -> None:
    [topic] = scene.inputs
    scene.send([chat("one of many")] * 100)  # after many calls the interpreter uses specialised instructions
    for value in (chat("hello"), b"not JSON"):
        send_with_header(scene.client["bootstrap.servers"], topic, value, b"caf\xe9")  # Latin-1
    scene.send([chat("the next one")])
    worker = start_stub(scene.environ(**ANY_SHARE))
    scene.wait_until_caught_up(worker)
    worker.drain()
    ledger = scene.ledger()
    assert ledger.clean, ledger
    assert (ledger.verdicts, ledger.dead_letters) == (102, 1)
    [letter] = scene.read(Topic.DEAD_LETTER)
    assert letter.value() == b"not JSON"


def send_with_header(servers: str, topic: str, value: bytes, name: bytes) -> None:
    """Use librdkafka directly: confluent-kafka accepts only text as a header name; other clients accept bytes."""
    rdkafka, why = ctypes.CDLL(cimpl.__file__), ctypes.create_string_buffer(512)
    for make in (rdkafka.rd_kafka_conf_new, rdkafka.rd_kafka_new):
        make.restype = ctypes.c_void_p
    config = ctypes.c_void_p(rdkafka.rd_kafka_conf_new())
    assert rdkafka.rd_kafka_conf_set(config, b"bootstrap.servers", servers.encode(), why, len(why)) == 0, why.value
    producer = ctypes.c_void_p(rdkafka.rd_kafka_new(0, config, why, ctypes.c_size_t(len(why))))
    # A number (RD_KAFKA_VTYPE) before each argument tells its kind.
    to = (1, topic.encode(), 3, 0)
    body = (4, value, ctypes.c_size_t(len(value)), 7, 2)  # copied
    header = (9, name, b"1", ctypes.c_ssize_t(1))
    assert rdkafka.rd_kafka_producev(producer, *to, *body, *header, 0) == 0
    assert rdkafka.rd_kafka_flush(producer, KAFKA_S_MAX * 1000) == 0
    rdkafka.rd_kafka_destroy(producer)
