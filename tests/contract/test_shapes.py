"""The documented events of all shapes through a real Kafka: judged text, ids, outcomes, skips and dead letters."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import orjson
import pytest
from confluent_kafka import Message, Producer

from tests.documented_events import FIELDS, DocumentedEvent, documented_events
from tests.in_process_worker import joined_worker
from tests.kafka_env import KafkaEnv
from worker.classifier import Classifier
from worker.commands.ledger import audit
from worker.commands.ledger_reader import observed_output, read_topics
from worker.kafka.headers import headers_of
from worker.moderation.shapes import compile_shape, load_envelope, load_shape
from worker.records import Topic

Place = tuple[int, int | None]
"""The offset of a record, and the number of an element."""


@pytest.mark.kafka
@pytest.mark.slow
def test_the_documented_events_of_all_shapes_are_judged_skipped_and_refused(
    bootstrap_servers: str, classifier: Classifier
) -> None:
    by_file = groupby(documented_events(), key=lambda event: (event.shape, event.envelope))
    for (shape, envelope), events in by_file:
        check(bootstrap_servers, classifier, shape, envelope, list(events))


def check(
    servers: str, classifier: Classifier, shape: str, envelope: str | None, events: Sequence[DocumentedEvent]
) -> None:
    """Send the events of a shape, and compare all outputs with what is expected."""
    scene = KafkaEnv(servers, "demo", inputs=(1,), partitions=1)
    scene.create()
    [topic] = scene.inputs
    producer = Producer(scene.client)
    for event in events:
        producer.produce(topic, event.value, partition=0, headers=[*event.headers])
    assert producer.flush(10) == 0
    settings = {"INPUT__SHAPE": shape, "ALERT__TEXT": "full"} | ({"INPUT__ENVELOPE": envelope} if envelope else {})
    with joined_worker(scene.environ(**settings), classifier) as worker:
        worker.turn_until_judged(len(events))
        skipped = worker.loop.totals.skipped
    assert scene.committed() == scene.input_ends()
    read = compile_shape(load_shape(shape), envelope=None if envelope is None else load_envelope(envelope))
    ledger = audit(*read_topics(scene.client, inputs=[topic], outputs=scene.outputs, read=read))
    assert ledger.clean, (shape, envelope, str(ledger), ledger.examples)
    expected = {(offset, item): one for offset, event in enumerate(events) for item, one in event.items}
    names = {offset: str(event) for offset, event in enumerate(events)}
    verdicts, alerts, letters = (by_place(scene.read(kind), kind) for kind in Topic)
    assert verdicts.keys() == {place for place, one in expected.items() if "text" in one}
    assert letters.keys() == {place for place, one in expected.items() if "dead_letter" in one}
    assert skipped == sum("skipped" in one for one in expected.values())
    for place, message in verdicts.items():
        alert = alerts.get(place)
        verdict = orjson.loads(message.value() or b"")
        check_verdict(expected[place], verdict, alert, own_id=id_of(topic, place), name=names[place[0]])
    for place, message in letters.items():
        check_letter(expected[place], message, events[place[0]], place, names[place[0]])


def by_place(messages: Sequence[Message], kind: Topic) -> dict[Place, Message]:
    """Return the outputs by the place of the message that they answer."""
    found = {}
    for message in messages:
        seen = observed_output(message, kind)
        assert seen.source is not None
        found[seen.source[1], seen.item] = message
    return found


def id_of(topic: str, place: Place) -> str:
    """Return the id of a message that has none."""
    offset, item = place
    return f"{topic}:0:{offset}" if item is None else f"{topic}:0:{offset}#{item}"


def check_verdict(
    one: dict[str, Any], verdict: dict[str, Any], alert: Message | None, *, own_id: str, name: str
) -> None:
    wanted = {field: one[field] for field in FIELDS if field in one} | {"message_id": one.get("message_id", own_id)}
    assert {field: verdict[field] for field in FIELDS if verdict.get(field) is not None} == wanted, name
    assert verdict.get("roles", []) == one.get("roles", []), name
    assert verdict.get("ignored", []) == one.get("ignored", []), name
    assert verdict["input"]["characters"] == len(one["text"]), name
    if alert is None:
        assert "outcome" in one, name  # the threshold is 0: every text that was scored raises an alert
    else:
        assert orjson.loads(alert.value() or b"")["text"] == one["text"], name


def check_letter(one: dict[str, Any], letter: Message, event: DocumentedEvent, place: Place, name: str) -> None:
    headers = dict(headers_of(letter) or ())
    assert (headers["moderation.error.reason"] or b"").decode() == one["dead_letter"], name
    assert one.get("pointer", "") in (headers["moderation.error.message"] or b"").decode(), name
    assert letter.value() == event.value, name
    item = place[1]
    assert headers.get("moderation.source.item") == (None if item is None else str(item).encode()), name
