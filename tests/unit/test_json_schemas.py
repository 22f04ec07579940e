"""Compare schemas/v1 with what the code reads and writes."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jsonschema import Draft202012Validator
from msgspec.structs import replace

from schemas import dead_letter, verdict
from schemas.chat import ChatMessage
from schemas.labels import CATEGORY_SLUGS
from tests.shapes import plain
from worker.moderation.outputs import OutputBuilder
from worker.moderation.policies import Policy
from worker.records import (
    ConsumedRecord,
    OutputRecord,
    Partition,
    PreparedMessage,
    PreparedRecord,
    ScoredRecord,
    Topic,
)
from worker.scores import DeadLetterReason, Scores

ROOT = Path(__file__).parents[2]
NOW = "2026-01-31T09:30:00.250Z"
RECORD = ConsumedRecord(
    partition=Partition("chat.messages", 3),
    assignment_epoch=1,
    previous_next_offset=42,
    offset=42,
    timestamp_ms=1_769_851_800_000,
    key=b"channel",
    value=b'{"text":"hello"}',
    headers=[("trace", b"1")],
)
NOT_JSON = DeadLetterReason(reason="not_json", message="The value is not JSON.")
MESSAGE = PreparedMessage(
    message_id="m-1",
    channel_id="c",
    user_id=None,
    sent_at=1.5,
    characters=5,
    text_digest=b"n",
    tokens=(1, 2),
    truncated=False,
)
OUTPUTS = OutputBuilder(
    model={"name": "toy", "revision": "abc", "commit": None, "dtype": "float32"},
    policy=Policy.of(0.5, {"privacy": 0.3}, alert_text="full"),
    read=plain(),
    record_bytes_max=1_000_000,
    worker_version="0.1.0",
)


def schema(name: str) -> Any:
    return json.loads((ROOT / f"schemas/v1/{name}.schema.json").read_bytes())


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(schema(name))


VALIDATORS = {name: validator(name) for name in ("message", "verdict", "alert", "dead-letter")}


def built(
    content: PreparedMessage | DeadLetterReason, scores: Scores | None, source: ConsumedRecord = RECORD
) -> list[OutputRecord]:
    return OUTPUTS.build(
        [ScoredRecord(record=PreparedRecord(source=source, content=content), scores=scores)], judged_at=NOW
    )


def headers(output: OutputRecord) -> dict[str, str | None]:
    return {name: None if value is None else value.decode() for name, value in output.headers}


def flagged_scores() -> Scores:
    scores = np.zeros(12, np.float32)
    scores[[5, 8]] = 0.30000004, 0.75
    return scores


def emitted() -> dict[str, Any]:
    """Return a document of each kind that the worker writes."""
    found, alert = built(MESSAGE, flagged_scores())
    (letter,) = built(NOT_JSON, None)
    return {
        "verdict": json.loads(found.value or b""),
        "alert": json.loads(alert.value or b""),
        "dead-letter": headers(letter),
    }


@pytest.mark.parametrize("name", VALIDATORS)
def test_each_schema_is_a_valid_json_schema(name: str) -> None:
    Draft202012Validator.check_schema(schema(name))


def test_the_bytes_of_a_verdict_and_its_alert() -> None:
    found, alert = built(MESSAGE, flagged_scores())
    assert found.value == (
        b'{"schema":"verdict/1","verdict_id":"850b5fd012d78ee1185b6b1ee1fa9019","message_id":"m-1","channel_id":"c",'
        b'"user_id":null,"sent_at":1.5,"flagged":true,"categories":{"violent_crimes":false,'
        b'"non_violent_crimes":false,"sex_related_crimes":false,"child_sexual_exploitation":false,'
        b'"specialized_advice":false,"privacy":true,"intellectual_property":false,'
        b'"indiscriminate_weapons":false,"hate":true,"suicide_and_self_harm":false,"sexual_content":false,'
        b'"jailbreak_prompts":false},"category_scores":{"violent_crimes":0.0,"non_violent_crimes":0.0,'
        b'"sex_related_crimes":0.0,"child_sexual_exploitation":0.0,"specialized_advice":0.0,'
        b'"privacy":0.30000004,"intellectual_property":0.0,"indiscriminate_weapons":0.0,"hate":0.75,'
        b'"suicide_and_self_harm":0.0,"sexual_content":0.0,"jailbreak_prompts":0.0},"max_score":0.75,'
        b'"top_category":"hate","model":{"name":"toy","revision":"abc","commit":null,"dtype":"float32"},'
        b'"policy":{"version":"619142f05cf61aa6","threshold":0.5,"thresholds":{"privacy":0.3}},'
        b'"input":{"characters":5,"tokens":2,"truncated":false},"source":{"topic":"chat.messages",'
        b'"partition":3,"offset":42,"timestamp_ms":1769851800000},"judged_at":"2026-01-31T09:30:00.250Z"}'
    )
    assert alert.value == (
        b'{"schema":"alert/1","alert_id":"9f17f76f9f107ce9f90a27e6ef9c3b39","verdict_id":"850b5fd012d78ee1185b6b1ee1fa9019","message_id":"m-1",'
        b'"channel_id":"c","user_id":null,"sent_at":1.5,"categories":[{"category":"hate","score":0.75,'
        b'"threshold":0.5},{"category":"privacy","score":0.30000004,"threshold":0.3}],"max_score":0.75,'
        b'"top_category":"hate","model":{"name":"toy","revision":"abc","commit":null,"dtype":"float32"},'
        b'"policy":{"version":"619142f05cf61aa6","threshold":0.5,"thresholds":{"privacy":0.3}},'
        b'"source":{"topic":"chat.messages","partition":3,"offset":42,"timestamp_ms":1769851800000},'
        b'"judged_at":"2026-01-31T09:30:00.250Z","text":"hello"}'
    )


def test_the_bytes_of_a_verdict_on_a_message_without_characters_whose_fields_could_not_be_read() -> None:
    message = replace(MESSAGE, sent_at=None, characters=0, tokens=(), ignored=("channel_id", "sent_at"))
    (found,) = built(message, None)
    tail = b'"judged_at":"2026-01-31T09:30:00.250Z","outcome":"no_text","ignored":["channel_id","sent_at"]}'
    assert (found.value or b"").endswith(tail)
    VALIDATORS["verdict"].validate(json.loads(found.value or b""))
    (blank,) = built(replace(MESSAGE, tokens=()), None)
    assert (blank.value or b"").endswith(b'"judged_at":"2026-01-31T09:30:00.250Z","outcome":"blank"}')


def test_the_bytes_of_a_dead_letter() -> None:
    (letter,) = built(NOT_JSON, None)
    assert (letter.key, letter.value) == (b"channel", b'{"text":"hello"}')
    assert list(letter.headers) == [
        ("trace", b"1"),
        ("moderation.error.reason", b"not_json"),
        ("moderation.error.message", b"The value is not JSON."),
        ("moderation.source.topic", b"chat.messages"),
        ("moderation.source.partition", b"3"),
        ("moderation.source.offset", b"42"),
        ("moderation.source.timestamp_ms", b"1769851800000"),
        ("moderation.worker", b"0.1.0"),
    ]


IDS = st.none() | st.text(max_size=5)
MESSAGES = st.builds(
    PreparedMessage,
    message_id=st.text(max_size=5),
    channel_id=IDS,
    user_id=IDS,
    sent_at=IDS | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False),
    characters=st.integers(0, 10**6),
    text_digest=st.just(b"n"),
    tokens=st.lists(st.integers(0, 9), max_size=3),
    truncated=st.booleans(),
    ignored=st.lists(st.sampled_from(["message_id", "channel_id", "user_id", "sent_at"]), unique=True),
)
ROWS = arrays(np.float32, 12, elements=st.floats(0, 1, width=32))
SOURCES = st.builds(
    ConsumedRecord,
    partition=st.builds(Partition, st.just("chat"), st.integers(0, 99)),
    assignment_epoch=st.just(1),
    previous_next_offset=st.just(0),
    offset=st.integers(0, 2**63 - 2),
    timestamp_ms=st.none() | st.integers(0, 2**63 - 1),
    key=st.none() | st.binary(max_size=3),
    value=st.just(b'{"text":"hello"}'),
    headers=st.lists(st.tuples(st.sampled_from(["h", "moderation.h", "content-type"]), st.just(b"1"))),
)


@given(message=MESSAGES, scores=ROWS, source=SOURCES)
def test_what_the_worker_writes_is_valid_by_the_schemas(
    message: PreparedMessage, scores: Scores, source: ConsumedRecord
) -> None:
    for output in built(message, scores if message.tokens else None, source):
        VALIDATORS[output.topic.value].validate(json.loads(output.value or b""))


@given(reason=st.sampled_from(list(dead_letter.REASONS)), bytes_max=st.integers(0, 1000), source=SOURCES)
def test_a_dead_letter_of_any_size_and_reason_is_valid_by_the_schema(
    reason: str, bytes_max: int, source: ConsumedRecord
) -> None:
    small = OutputBuilder(
        model={"name": "toy", "revision": "abc", "commit": None, "dtype": "float32"},
        policy=Policy.of(),
        read=plain(),
        record_bytes_max=bytes_max,
        worker_version="0.1.0",
    )
    record = PreparedRecord(source=source, content=DeadLetterReason(reason=reason, message="A sentence."))
    (letter,) = small.build([ScoredRecord(record=record, scores=None)], judged_at=NOW)
    assert letter.topic is Topic.DEAD_LETTER
    VALIDATORS["dead-letter"].validate(headers(letter))


def objects(document: Any) -> Iterator[dict[str, Any]]:
    """Yield every object in a document, including the document."""
    if isinstance(document, dict):
        yield document
        for inner in list(document.values()):
            yield from objects(inner)
    elif isinstance(document, list):
        for inner in document:
            yield from objects(inner)


def strict(name: str) -> Any:
    """Return a document whose fields are all required, except an alert's text."""
    document = emitted()[name]
    document["policy"]["thresholds"] = {}
    return document


OPTIONAL_FIELDS = {"text", "outcome", "ignored"}


@pytest.mark.parametrize("name", ["verdict", "alert"])
def test_outputs_may_have_more_fields_but_not_fewer_at_any_depth(name: str) -> None:
    check = VALIDATORS[name]
    for place, fields in enumerate(objects(strict(name))):
        extra = strict(name)
        list(objects(extra))[place]["surprise"] = 1
        assert check.is_valid(extra) == ("surprise" not in fields and not is_thresholds(fields, name))
        for field in fields:
            short = strict(name)
            del list(objects(short))[place][field]
            assert check.is_valid(short) == (field in OPTIONAL_FIELDS), field


def is_thresholds(fields: dict[str, Any], name: str) -> bool:
    """Return whether this object is ``policy.thresholds``: it may hold only categories."""
    return bool(fields == strict(name)["policy"]["thresholds"])


@pytest.mark.parametrize("name", ["verdict", "alert"])
def test_every_field_that_the_worker_writes_is_documented(name: str) -> None:
    closed = schema(name)
    for part in objects(closed):
        if "properties" in part and "type" in part:
            part["additionalProperties"] = False
    Draft202012Validator(closed).validate(emitted()[name])


ABSENT_WHEN_EMPTY = {
    "outcome",
    "ignored",
    "truncated",
    "evidence",
    "tenant_id",
    "roles",
    "language",
    "edited",
    "repeat",
}
"""The fields of a verdict and of an alert that are absent when they say nothing."""
OF_A_POLICY_FILE = {"level", "rule", "exempt", "allowed", "shadow"}
"""The fields of a verdict and of an alert that only a policy file gives."""


@pytest.mark.parametrize(("name", "kind"), [("verdict", verdict.Verdict), ("alert", verdict.Alert)])
def test_fields_have_the_same_order_in_schema_type_and_bytes(name: str, kind: Any) -> None:
    properties = schema(name)["properties"]
    assert list(properties) == list(kind.__annotations__)
    assert [field for field in properties if field not in ABSENT_WHEN_EMPTY | OF_A_POLICY_FILE] == list(
        emitted()[name]
    )
    assert list(schema(name)["required"]) == [field for field in properties if field in kind.__required_keys__]


def test_the_categories_of_the_schemas_are_the_cards() -> None:
    assert schema("verdict")["$defs"]["slug"]["enum"] == list(CATEGORY_SLUGS)
    for field in ("categories", "category_scores"):
        assert list(schema("verdict")["properties"][field]["properties"]) == list(CATEGORY_SLUGS)
    assert schema("alert")["$defs"] == schema("verdict")["$defs"]


def test_every_reason_that_the_code_gives_is_documented() -> None:
    documented = schema("dead-letter")["properties"]["moderation.error.reason"]["oneOf"]
    assert {row["const"]: row["description"] for row in documented} == dead_letter.REASONS
    sources = [*(ROOT / "worker").rglob("*.py"), *(ROOT / "schemas").rglob("*.py")]
    given_reasons = {
        reason
        for path in sources
        for reason in re.findall(r'(?:\breason=|\bUndecodable\(\s*|_wrong_type\(\s*)"(\w+)"', path.read_text())
    }
    assert given_reasons <= dead_letter.REASONS.keys()
    assert given_reasons >= dead_letter.INPUT_REASONS.keys()


OPTIONAL = {"moderation.source.timestamp_ms", "trace"}


def test_a_dead_letter_needs_its_headers_and_may_have_more() -> None:
    letter = emitted()["dead-letter"]
    check = VALIDATORS["dead-letter"]
    assert check.is_valid({**letter, "another": "1"})
    assert check.is_valid({**letter, "moderation.another": "1"})
    assert not check.is_valid({**letter, "moderation.error.reason": "another"})
    for name in letter:
        short = {key: value for key, value in letter.items() if key != name}
        assert check.is_valid(short) == (name in OPTIONAL), name


def is_fractional(number: float) -> bool:
    """Return whether a number has a fraction. JSON Schema cannot tell 1.0, which is not an id, from 1."""
    return not number.is_integer()


NUMBERS = st.integers(-(2**65), 2**65) | st.floats(allow_nan=False, allow_infinity=False).filter(is_fractional)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
FIELDS = st.sampled_from(["message_id", "channel_id", "user_id", "text", "sent_at", "another"])
LIKELY = st.fixed_dictionaries({"text": st.text(max_size=5)}, optional={"user_id": VALUES, "sent_at": VALUES})


@given(document=VALUES | LIKELY | st.dictionaries(FIELDS, VALUES))
@example(document={"text": "", "user_id": -(2**63) - 1})
@example(document={"text": "", "user_id": -(2**63)})
@example(document={"text": "", "user_id": 2**64 - 1})
@example(document={"text": "", "user_id": 2**64})
def test_the_input_schema_accepts_exactly_the_values_whose_every_field_the_worker_reads(document: Any) -> None:
    found = plain()(json.dumps(document).encode(), ())
    whole = isinstance(found, ChatMessage) and not found.ignored
    assert VALIDATORS["message"].is_valid(document) == whole
