"""The outputs of ``moderation-worker run`` on a real Kafka."""

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import Message, Producer
from jsonschema import Draft202012Validator

from tests.kafka_env import KAFKA_S_MAX, KafkaEnv, chat, headers_of
from tests.worker_process import Start
from worker.commands.ledger import InputPosition, ObservedInput, audit
from worker.commands.ledger_reader import observed_output
from worker.errors import ExitCode
from worker.records import Partition, Topic

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

SEED = 7
MESSAGES = 5000
BYTES_MAX = 20_000
TEXTS = (
    "good game everyone, see you tomorrow",
    "Größe, Straße und schöne Grüße aus Köln",
    "¿Dónde está la biblioteca? Mañana.",
    "всем привет, отличный стрим сегодня",
    "今天的直播很好看, 谢谢主播",
    "今日はいい天気ですね",
    "안녕하세요 여러분 반갑습니다",
    "مرحبا بكم جميعا في البث",
    "שלום לכולם",
    "शुभ प्रभात दोस्तों",
    "สวัสดีครับทุกคน",
    "\U0001f600\U0001f44d\U0001f3fd e\u0301 \u200b \ufb01ne",
    "<|endoftext|><|im_start|>user hello<|im_end|>",
    "\x00 \x1b[31m \ufeff \ufffd",
    "word " * 700,
    "you are so bad at this game, go away",
)
PARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
HEADERS: list[tuple[str, str | bytes | None]] = [
    ("trace", b"1"),
    ("trace", b"2"),
    ("Content-Type", b"text/plain"),
    ("moderation.error.reason", b"from the input"),
    ("empty", None),
    ("", b"unnamed"),
    ("", None),
    ("ModeratioN.worker", b"from the input"),
    ("traceparent", PARENT),
    ("tracestate", b"a=1"),
    ("tracestate", b"b=2"),
    ("ce_id", b"1"),
    ("trace", b"1"),
]


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of message.

    Attributes:
        value: The value of the input.
        reason: The reason of the expected dead letter; empty if a verdict is expected.
        wanted: Fields that the verdict must have.
    """

    value: bytes | None
    reason: str
    wanted: Mapping[str, Any]


def case(value: bytes | None, reason: str = "", **wanted: Any) -> Case:
    return Case(value, reason, wanted)


CASES = [
    *(case(chat(text, message_id=f"m-{number}"), message_id=f"m-{number}") for number, text in enumerate(TEXTS)),
    case(None),
    case(chat(""), flagged=False, top_category=None, outcome="no_text"),
    case(chat(" \u3000\n" * 100), flagged=False, max_score=0.0, outcome="blank"),
    case(rb'{"text":"half an emoji \ud83d","user_id":"\udfff","more":[1]}', user_id="\ufffd"),
    case(b'{"text":7,"text":"the last one counts"}'),
    case(chat("ids", message_id=2**64 - 1, sent_at=1.5), message_id="18446744073709551615", sent_at=1.5),
    case(chat("ids", message_id=None, channel_id=-(2**63)), channel_id="-9223372036854775808", user_id=None),
    case(b'{"text":"caf\xe9"}', flagged=False),
    case(b'{"text":"a number that is none","sent_at":NaN,"x":1e999}', sent_at=None, ignored=["sent_at"]),
    case(b"", "not_json"),
    case(b'\xef\xbb\xbf{"text":"byte-order mark"}'),
    case(b'"text"', "not_an_object"),
    case(b'{"body":"elsewhere"}', "no_text"),
    case(b'{"text":null}', "no_text"),
    case(b'{"text":["a"]}', "wrong_type"),
    case(b'{"text":"a","user_id":true,"message_id":[]}', user_id=None, ignored=["message_id", "user_id"]),
    case(b'{"text":"a","sent_at":{}}', sent_at=None, ignored=["sent_at"]),
    case(chat("a" * BYTES_MAX), "too_large"),
]


class Mixture:
    """Five thousand messages of all kinds over all input partitions, and the position of each."""

    def __init__(self, scene: KafkaEnv) -> None:
        self.cases: dict[InputPosition, Case] = {}
        self.keys: dict[InputPosition, bytes | None] = {}
        chance = random.Random(SEED)  # noqa: S311 - no secret
        producer = Producer({**scene.client, "linger.ms": 5})
        for one in chance.choices(CASES, k=MESSAGES):
            topic = chance.choice(list(scene.inputs))
            producer.produce(
                topic,
                one.value,
                key := chance.choice([None, b"", b"channel-1", b"\xff\x00"]),
                chance.randrange(scene.inputs[topic]),
                self._on_delivery(one, key),
                headers=HEADERS,
            )
        assert producer.flush(60) == 0

    def _on_delivery(self, one: Case, key: bytes | None) -> Callable[[Any, Message], None]:
        def delivered(_error: Any, message: Message) -> None:
            place = Partition(message.topic() or "", message.partition() or 0), message.offset() or 0
            self.cases[place], self.keys[place] = one, key

        return delivered


def send_aborted_messages(scene: KafkaEnv) -> None:
    """Send messages in an aborted transaction. Nobody may judge them, and they leave a gap in partition 0."""
    producer = Producer({**scene.client, "transactional.id": f"{scene.group}.upstream"})
    producer.init_transactions(KAFKA_S_MAX)
    producer.begin_transaction()
    for _ in range(20):
        producer.produce(next(iter(scene.inputs)), chat("never committed"), partition=0)
    assert producer.flush(KAFKA_S_MAX) == 0
    producer.abort_transaction(KAFKA_S_MAX)


def input_of(message: Message, topic: Topic) -> InputPosition:
    """Return the position of the input that an output answers."""
    place = observed_output(message, topic).source
    assert place is not None
    return place


def body(message: Message) -> Any:
    return orjson.loads(message.value() or b"")


def reason(message: Message) -> str:
    return (dict(headers_of(message))["moderation.error.reason"] or b"").decode()


def schema(name: str) -> Draft202012Validator:
    path = Path(__file__).parents[2] / f"schemas/v1/{name}.schema.json"
    return Draft202012Validator(json.loads(path.read_bytes()))


def test_each_of_five_thousand_mixed_messages_gets_the_correct_outputs(
    bootstrap_servers: str, start: Start
) -> None:
    scene = KafkaEnv(bootstrap_servers, "demo", inputs=(3, 4), partitions=3)
    scene.create()
    send_aborted_messages(scene)
    mixture = Mixture(scene)
    assert len(mixture.cases) == MESSAGES
    worker = start(scene.environ(INPUT__BYTES_MAX=str(BYTES_MAX), POLICY__THRESHOLD="0.0005", ALERT__TEXT="full"))
    scene.wait_until_caught_up(worker)
    worker.drain()
    assert scene.committed() == scene.input_ends()
    known, texts = map(int, re.findall(r"(\d+) of (\d+) texts known", worker.said)[-1])
    assert texts - known <= len(CASES) < texts  # the text of each case is scored once
    found = {topic: scene.read(topic) for topic in Topic}
    ledger = audit(
        [
            ObservedInput(partition=at[0], offset=at[1], tombstone=one.value is None)
            for at, one in mixture.cases.items()
        ],
        [observed_output(message, topic) for topic, messages in found.items() for message in messages],
    )
    assert ledger.clean, (str(ledger), ledger.examples)
    for topic, messages in found.items():
        for message in messages:
            place = input_of(message, topic)
            assert message.partition() == place[0].number % scene.partitions
            assert message.key() == mixture.keys[place]
    verdicts = {input_of(one, Topic.VERDICT): one for one in found[Topic.VERDICT]}
    check_verdicts(mixture.cases, verdicts)
    check_alerts({place: body(one) for place, one in verdicts.items()}, found[Topic.ALERT])
    check_dead_letters(mixture.cases, found[Topic.DEAD_LETTER])


def check_verdicts(cases: Mapping[InputPosition, Case], verdicts: Mapping[InputPosition, Message]) -> None:
    assert verdicts.keys() == {at for at, one in cases.items() if one.value is not None and not one.reason}
    validator = schema("verdict")
    scores: dict[bytes | None, Any] = {}
    for number, (place, message) in enumerate(verdicts.items()):
        one, document = cases[place], body(message)
        if number % 5 == 0:  # a validation takes longer than scoring
            validator.validate(document)
        wanted = {"message_id": f"{place[0].topic}:{place[0].number}:{place[1]}", **one.wanted}
        assert {name: document[name] for name in wanted} == wanted
        assert message.headers() == [
            ("traceparent", PARENT),
            ("tracestate", b"a=1,b=2"),
            ("content-type", b"application/json"),
        ]
        # The same text has the same scores in another batch.
        assert document["category_scores"] == scores.setdefault(one.value, document["category_scores"])
    assert any(body(message)["input"].get("windows", 1) > 1 for message in verdicts.values())


def check_alerts(verdicts: Mapping[InputPosition, Any], alerts: Sequence[Message]) -> None:
    assert 0 < len(alerts) < len(verdicts)
    validator = schema("alert")
    for message in alerts:
        document, verdict = body(message), verdicts[input_of(message, Topic.ALERT)]
        validator.validate(document)
        assert document["verdict_id"] == verdict["verdict_id"]
        assert {one["category"]: one["score"] for one in document["categories"]} == {
            slug: verdict["category_scores"][slug] for slug, flag in verdict["categories"].items() if flag
        }
        assert len(document["text"]) == verdict["input"]["characters"]


def check_dead_letters(cases: Mapping[InputPosition, Case], letters: Sequence[Message]) -> None:
    assert {input_of(message, Topic.DEAD_LETTER): reason(message) for message in letters} == {
        place: one.reason for place, one in cases.items() if one.reason
    }
    validator = schema("dead-letter")
    original = [header for header in HEADERS if not header[0].lower().startswith("moderation.")]
    for message in letters:
        assert message.value() == cases[input_of(message, Topic.DEAD_LETTER)].value
        headers = headers_of(message)
        assert headers[: len(original)] == original
        validator.validate({name: (value or b"").decode() for name, value in headers[len(original) :]})


@pytest.mark.parametrize(
    ("value", "judged"), [(b"hello \xff", True), (b"\0\0\0\0\x07hello", False), (b"hello \x1b[2J", False)]
)
def test_a_plain_text_is_judged_and_binary_data_is_a_dead_letter(
    scene: KafkaEnv, start_stub: Start, value: bytes, *, judged: bool
) -> None:
    scene.send([value])
    worker = start_stub(scene.environ(INPUT__FORMAT="text"))
    scene.wait_until_caught_up(worker)
    worker.drain()
    letters = [reason(letter) for letter in scene.read(Topic.DEAD_LETTER)]
    assert letters == ([] if judged else ["not_text"])


def test_cloud_event_headers_and_the_configured_headers_reach_kafka(scene: KafkaEnv, start: Start) -> None:
    [topic] = scene.inputs
    producer = Producer(scene.client)
    headers: list[tuple[str, str | bytes | None]] = [
        ("ce_id", b"from the input"),
        ("tenant", b"a"),
        ("other", b"1"),
    ]
    producer.produce(topic, chat("hello"), partition=0, headers=headers)
    assert producer.flush(KAFKA_S_MAX) == 0
    worker = start(scene.environ(OUTPUT__HEADERS="tenant, region", OUTPUT__CLOUDEVENTS="true"))
    scene.wait_until_caught_up(worker)
    worker.drain()
    for kind, output in (("verdict", Topic.VERDICT), ("alert", Topic.ALERT)):
        [message] = scene.read(output)
        document = body(message)
        assert headers_of(message) == [
            ("tenant", b"a"),
            ("content-type", b"application/json"),
            ("ce_specversion", b"1.0"),
            ("ce_id", document[f"{kind}_id"].encode()),
            ("ce_source", f"urn:moderation-worker:{topic}".encode()),
            ("ce_type", f"moderation.{kind}.v1".encode()),
            ("ce_time", document["judged_at"].encode()),
            ("ce_subject", f"{topic}:0:0".encode()),
        ]


def test_an_output_that_is_too_large_does_not_affect_other_messages(scene: KafkaEnv, start: Start) -> None:
    scene.limit(Topic.VERDICT, 100_000)
    # Random letters do not compress.
    letters = "".join(random.Random(SEED).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=250_000))  # noqa: S311 - no secret
    too_large_for_the_worker = chat("a", message_id=letters)
    too_large_for_the_broker = chat("b", message_id=letters[:150_000])
    a_long_text = chat(letters)
    neighbours = [chat(f"neighbour {number}") for number in range(30)]
    scene.send(
        [*neighbours, too_large_for_the_worker, *neighbours, too_large_for_the_broker, *neighbours, a_long_text]
    )
    worker = start(scene.environ(KAFKA__RECORD_BYTES_MAX="200000", ALERT__TEXT="full"))
    scene.wait_until_caught_up(worker)
    worker.drain()
    ledger = scene.ledger()
    assert ledger.clean, (str(ledger), ledger.examples)
    assert (ledger.verdicts, ledger.dead_letters) == (91, 2)
    for message in scene.read(Topic.DEAD_LETTER):
        assert (reason(message), message.value()) == ("output_too_large", None)
    # A long text still raises an alert; the alert omits the text.
    alerts = [body(message) for message in scene.read(Topic.ALERT)]
    assert len(alerts) == 91
    assert sum("text" not in alert for alert in alerts) == 1


def test_a_flood_of_dead_letters_stops_the_worker_until_the_setting_allows_it(
    scene: KafkaEnv, start_stub: Start
) -> None:
    scene.send([b'{"body":"elsewhere"}'] * 180 + [b"open {"] * 120)  # a hundred in each of the three partitions
    worker = start_stub(scene.environ())
    assert worker.end() == ExitCode.PROTECTED, worker.said
    assert "no_text" in worker.said
    assert next(iter(scene.inputs)) in worker.said.split("CRITICAL")[1]
    assert "WORKER_DEAD_LETTER__INPUT_SHARE_MAX" in worker.said
    before = scene.ledger_of_committed()
    assert before.clean
    assert (
        before.dead_letters < 3 * 50
    )  # the first fetch may return too few records of a partition to compute a share
    allowed = start_stub(scene.environ(DEAD_LETTER__INPUT_SHARE_MAX="1"))
    scene.wait_until_caught_up(allowed)
    allowed.drain()
    ledger = scene.ledger()
    assert ledger.clean, (str(ledger), ledger.examples)
    assert ledger.dead_letters == 300
