"""A record that is a JSON array has outputs for each of its elements, and a skipped record has none."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pytest
from msgspec.structs import replace

from tests.shapes import plain
from tests.unit.test_preprocessing import consumed, letters
from worker.commands.ledger import ObservedInput, ObservedOutput, audit
from worker.kafka.ownership import Ownership
from worker.kafka.transaction import Event
from worker.moderation.cache import ScoreCache
from worker.moderation.outputs import LETTERS_WITH_VALUE_MAX, OutputBuilder
from worker.moderation.policies import Policy
from worker.moderation.preprocessing import prepare
from worker.moderation.shapes import compile_shape
from worker.moderation.shapes.files import parse_shape
from worker.records import (
    ConsumedRecord,
    OutputRecord,
    Partition,
    PreparedMessage,
    PreparedRecord,
    ScoredRecord,
    Skipped,
    Topic,
)

READ = compile_shape(
    parse_shape(
        "schema: shape/1\ntext: [/text]\nno_text: dead_letter\nwhere: [{at: /t, not_in: [typing]}]\n", "x.yaml"
    )
)
ARRAY = b'[{"text":"a"},{"t":"typing"},{"text":1},{"text":"bad"}]'
FLAGGED, CALM = np.full(12, 0.75, np.float32), np.zeros(12, np.float32)


def prepared(*values: bytes | None) -> list[PreparedRecord]:
    chunk = [consumed(offset, value) for offset, value in enumerate(values)]
    return prepare(chunk, read=READ, encode=letters, cache=ScoreCache(bytes_max=0))


def scored(record: PreparedRecord) -> ScoredRecord:
    content = record.content
    if not isinstance(content, PreparedMessage) or not content.token_count:
        return ScoredRecord(record=record, scores=None)
    return ScoredRecord(record=record, scores=FLAGGED if content.characters == len("bad") else CALM)


def built(results: Sequence[ScoredRecord], rejected: Any = None) -> list[OutputRecord]:
    outputs = OutputBuilder(
        model={"name": "toy", "revision": "r", "commit": None, "dtype": "float32"},
        policy=Policy.of(0.5, alert_text="full"),
        read=READ,
        record_bytes_max=1_000_000,
        worker_version="0.1.0",
    )
    return outputs.build(results, judged_at="2026-01-31T09:30:00.250Z", rejected=rejected or {})


def test_each_element_is_prepared_with_its_number_and_the_last_one_ends_the_record() -> None:
    records = prepared(b'{"text":"x"}', ARRAY, b'{"text":"y"}')
    assert [(one.source.offset, one.item, one.is_last) for one in records] == [
        (0, None, True),
        (1, 0, False),
        (1, 1, False),
        (1, 2, False),
        (1, 3, True),
        (2, None, True),
    ]
    assert [one.content.message_id for one in records if isinstance(one.content, PreparedMessage)] == [
        "chat:3:0",
        "chat:3:1#0",
        "chat:3:1#3",
        "chat:3:2",
    ]


def test_a_record_counts_the_outputs_that_it_owes() -> None:
    records = prepared(b'{"text":"x"}', ARRAY, b'{"t":"typing"}', b"[]", b'[{"t":"typing"}]', b"[3]", b"{}")
    owed = {one.source.offset: one.source.messages for one in records}
    assert owed == {0: 1, 1: 3, 2: 0, 3: 0, 4: 0, 5: 1, 6: 1}


def test_each_element_has_its_own_verdict_alert_or_dead_letter() -> None:
    outputs = built([scored(one) for one in prepared(ARRAY)])
    assert [(one.topic, one.item) for one in outputs] == [
        (Topic.VERDICT, 0),
        (Topic.DEAD_LETTER, 2),
        (Topic.VERDICT, 3),
        (Topic.ALERT, 3),
    ]
    first, letter, last, alert = outputs
    documents = [orjson.loads(one.value or b"") for one in (first, last, alert)]
    assert [one["source"]["item"] for one in documents] == [0, 3, 3]
    assert len({documents[0]["verdict_id"], documents[1]["verdict_id"]}) == 2
    assert documents[2]["text"] == "bad"
    assert letter.value == ARRAY
    assert dict(letter.headers)["moderation.source.item"] == b"2"


def test_a_broker_rejects_one_element_and_the_others_keep_their_verdicts() -> None:
    rejected = {(Partition("chat", 3), 0, 0): "output_refused"}
    outputs = built([scored(one) for one in prepared(ARRAY)], rejected)
    assert [(one.topic, one.item) for one in outputs][:2] == [(Topic.DEAD_LETTER, 0), (Topic.DEAD_LETTER, 2)]


def test_the_dead_letters_of_a_large_array_do_not_multiply_its_value() -> None:
    value = orjson.dumps([{}] * 100)
    letters_of_array = built([scored(one) for one in prepared(value)])
    assert len(letters_of_array) == 100
    assert sum(one.value == value for one in letters_of_array) == LETTERS_WITH_VALUE_MAX
    without = [dict(one.headers) for one in letters_of_array if one.value is None]
    assert {one["moderation.error.truncated"] for one in without} == {b"value"}


def test_an_array_with_too_many_elements_is_one_dead_letter() -> None:
    [record] = prepared(orjson.dumps([{"text": "a"}] * 10_001))
    [letter] = built([scored(record)])
    assert (letter.topic, letter.item, letter.metric_values) == (Topic.DEAD_LETTER, None, ("too_large",))


@pytest.fixture
def owned() -> Ownership:
    found = Ownership()
    found.place({Partition("chat", 3): 0})
    return found


def delivered(owned: Ownership, value: bytes) -> tuple[list[ConsumedRecord], list[OutputRecord]]:
    position = owned.position(Partition("chat", 3))
    assert position is not None
    source = position.deliver(0, None, None, value, ())
    records = prepare([source], read=READ, encode=letters, cache=ScoreCache(bytes_max=0))
    return [source], built([scored(one) for one in records])


def test_an_array_is_committed_only_with_one_output_for_each_element(owned: Ownership) -> None:
    records, outputs = delivered(owned, ARRAY)
    assert owned.refusal(records, outputs) is None
    answers = [one for one in outputs if one.topic is not Topic.ALERT]
    for number, one in enumerate(answers):
        assert owned.refusal(records, answers[:number] + answers[number + 1 :]) is Event.MISSING_OUTPUT
        assert owned.refusal(records, [*answers, one]) is Event.MISSING_OUTPUT
    twice = [answers[0], *(replace(one, item=answers[0].item) for one in answers[1:])]
    assert owned.refusal(records, twice) is Event.MISSING_OUTPUT


def test_a_skipped_record_is_committed_only_without_an_output(owned: Ownership) -> None:
    records, outputs = delivered(owned, b'{"t":"typing"}')
    assert outputs == []
    assert owned.refusal(records, []) is None
    _, [other] = delivered_again(records)
    assert owned.refusal(records, [other]) is Event.MISSING_OUTPUT


def delivered_again(records: Sequence[ConsumedRecord]) -> tuple[Sequence[ConsumedRecord], list[OutputRecord]]:
    source = replace(records[0], value=b'{"text":"a"}', messages=1)
    [record] = prepare([source], read=READ, encode=letters, cache=ScoreCache(bytes_max=0))
    return [source], built([scored(record)])


def test_a_skipped_record_has_a_line_for_programs() -> None:
    [record] = prepared(b'{"t":"typing"}')
    assert isinstance(record.content, Skipped)
    outputs = OutputBuilder(
        model={"name": "toy", "revision": "r", "commit": None, "dtype": "float32"},
        policy=Policy.of(0.5, alert_text="full"),
        read=plain(),
        record_bytes_max=1_000_000,
        worker_version="0.1.0",
    )
    [line] = outputs.json_lines([scored(record)], judged_at="2026-01-31T09:30:00.250Z")
    assert orjson.loads(line) == {"skipped": {"reason": "The value at /t is typing."}}


def observed(item: int | None, offset: int, topic: Topic = Topic.VERDICT) -> ObservedOutput:
    return ObservedOutput(topic=topic, source=(Partition("chat", 0), 0), partition=0, offset=offset, item=item)


def test_the_ledger_finds_a_lost_a_doubled_and_a_misplaced_element() -> None:
    inputs = [ObservedInput(partition=Partition("chat", 0), offset=0, items=[0, 2])]
    right = [observed(0, 0), observed(2, 1)]
    assert audit(inputs, right).clean
    assert audit(inputs, right[:1]).lost == 1
    assert audit(inputs, [*right, observed(2, 2)]).doubled == 1
    assert audit(inputs, [*right, observed(1, 2)]).doubled == 1  # the element 1 is skipped
    assert audit(inputs, [observed(2, 0), observed(0, 1)]).out_of_order == 1
    assert audit(inputs, right[:1]).examples == ("lost: chat[0] 0#2",)
