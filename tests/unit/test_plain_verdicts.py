"""A verdict from the template has the bytes of the verdict that is encoded from a dictionary."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, get_type_hints

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import verdict
from schemas.chat import MessageContext
from schemas.labels import CATEGORY_SLUGS
from tests.shapes import plain
from worker.moderation.outputs import TOGETHER, OutputBuilder
from worker.moderation.policies import Policy, parse_policy
from worker.records import (
    CachedScores,
    ConsumedRecord,
    OutputRecord,
    Partition,
    PreparedMessage,
    PreparedRecord,
    ScoredRecord,
    Topic,
)
from worker.scores import Evidence, Passage

NOW = "2026-01-31T09:30:00.250Z"
SCORES = st.lists(st.floats(0, 1, width=32), min_size=12, max_size=12).map(lambda row: np.array(row, np.float32))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('%\0"\\b\u2028'), max_size=12)
CACHED = st.builds(CachedScores, scores=SCORES, tokens=st.integers(1, 512), truncated=st.booleans())
EVIDENCE = st.builds(
    Evidence,
    windows=st.integers(2, 18),
    views=st.sampled_from([["raw"], ["plain"], ["raw", "plain"]]),
    passages=st.just([Passage("plain", 0, 5)] * 12),
)
KNOWN = {
    "message_id": TEXTS,
    "sent_at": st.none()
    | TEXTS
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False),
    "tokens": st.lists(st.integers(0, 9), min_size=1, max_size=3),
    "characters": st.integers(1, 2**40),
    "cached": st.none() | CACHED,
    "is_unscored": st.just(value=False),
    "further_rows": st.just(()),
    "passages": st.just(()),
    "ignored": st.just(()) | st.just(("user_id",)),
}
HINTS = get_type_hints(PreparedMessage)
MESSAGES = st.builds(
    PreparedMessage,
    **{name: KNOWN.get(name, st.from_type(HINTS[name])) for name in PreparedMessage.__struct_fields__},
)
"""Messages with any value in every field, also in fields that come later."""


@st.composite
def results(draw: st.DrawFn) -> ScoredRecord:
    source = ConsumedRecord(
        partition=Partition(draw(st.sampled_from(["chat", "50%", "\u00e9"])), draw(st.integers(0, 1))),
        assignment_epoch=1,
        previous_next_offset=0,
        offset=draw(st.integers(0, 2**63 - 1)),
        timestamp_ms=draw(st.none() | st.integers(-(2**40), 2**50)),
        key=draw(st.none() | st.binary(max_size=5)),
        value=b'{"text":"hello"}',
        headers=draw(st.sampled_from([[], [("trace", b"1")]])),
    )
    record = PreparedRecord(source=source, content=draw(MESSAGES), item=draw(st.none() | st.integers(0, 9)))
    scores = draw(SCORES) * np.float32(draw(st.sampled_from([0.4, 1.0])))
    return ScoredRecord(record=record, scores=scores, evidence=draw(st.none() | EVIDENCE))


def of_settings(name: str) -> Policy:
    return Policy.of(0.5, {"hate": 0.25}, version=f"100 % {name}")


def of_file(_: str) -> Policy:
    return Policy.of_file(
        parse_policy(
            b"""
schema: policy/1
version: "50 % off"
levels: [review, remove]
thresholds: {default: {review: 0.5, remove: 0.9}, privacy: off}
rules:
  - {name: percent, when: {topic: ["50%"]}, thresholds: {default: {review: 0.4}}}
  - {name: users, when: {user_id: "*"}, thresholds: {hate: {review: 0.3, remove: 0.6}}}
exempt: [{name: "%b", when: {edited: true}}, {name: channels, when: {channel_id: "*", language: "*"}}]
allow: [{name: hello, when: {tenant_id: "*"}, texts: [hello]}]
shadow: [{name: strict, thresholds: {default: {review: 0.3}}}, {name: lax, thresholds: {hate: off}}]
alerts: {level: remove}
""",
            "policy.yaml",
        )
    )


def builder_of(name: str, policy: Policy, *, in_general: bool, truncated_alerts: bool = False) -> OutputBuilder:
    """Return a builder. Verdicts with the attributes of a CloudEvent are built from a dictionary."""
    return OutputBuilder(
        model={"name": f"{name}%b", "revision": "r%d", "commit": None, "dtype": "float32"},
        policy=policy,
        read=plain(),
        record_bytes_max=1_000_000,
        worker_version="0.1.0",
        cloudevents=in_general,
        truncated_alerts=truncated_alerts,
    )


def built(scored: Sequence[ScoredRecord], name: str, policy: Policy, *, in_general: bool) -> list[OutputRecord]:
    return builder_of(name, policy, in_general=in_general).build(scored, judged_at=NOW)


def compared(output: OutputRecord) -> tuple[object, ...]:
    labels = None if output.labels is None else asdict(output.labels)
    return output.topic, output.source, output.key, output.value, output.metric_values, labels


@pytest.mark.parametrize("policy", [of_settings, of_file])
@given(scored=st.lists(results(), max_size=6), name=TEXTS)
def test_both_ways_write_the_same_bytes(
    policy: Callable[[str], Policy], scored: list[ScoredRecord], name: str
) -> None:
    one, other = (built(scored, name, policy(name), in_general=in_general) for in_general in (False, True))
    assert [*map(compared, one)] == [*map(compared, other)]


@pytest.mark.parametrize("truncated_alerts", [False, True])
@given(scored=st.lists(results(), max_size=6))
def test_a_verdict_without_kafka_has_every_field_of_the_published_one(
    scored: list[ScoredRecord], *, truncated_alerts: bool
) -> None:
    """Only what names the input is missing."""
    builder = builder_of("", of_file(""), in_general=False, truncated_alerts=truncated_alerts)
    outputs = builder.build(scored, judged_at=NOW)
    published = [orjson.loads(one.value or b"") for one in outputs if one.topic is Topic.VERDICT]
    printed = [*map(orjson.loads, builder.json_lines(scored, judged_at=NOW))]
    assert printed == [one | {"verdict_id": None, "source": None} for one in published]


GOLDEN = (
    b'{"schema":"verdict/1","verdict_id":"VERDICT_ID","message_id":"m\xc3\xa9 \\"1\\"","channel_id":null,'
    b'"user_id":"u","sent_at":1.5,"flagged":FLAGGED,"categories":{CATEGORIES},"category_scores":{SCORES},'
    b'"max_score":MAX,"top_category":"hate",'
    b'"model":{"name":"toy%b","revision":"r%d","commit":null,"dtype":"float32"},'
    b'"policy":{"version":"100 % toy","threshold":0.5,"thresholds":{"hate":0.25}},'
    b'"input":{"characters":5,"tokens":2,"truncated":false},'
    b'"source":{"topic":"chat","partition":3,"offset":42,"timestamp_ms":1769851800000},'
    b'"judged_at":"2026-01-31T09:30:00.250Z"}'
)


def golden(scores: Any, *, flagged: bool) -> bytes:
    """Return the document that readers have got since the first version."""
    policy = Policy.of(0.5, {"hate": 0.25})
    source: verdict.SourceJson = {"topic": "chat", "partition": 3, "offset": 42, "timestamp_ms": 1_769_851_800_000}
    identity = verdict.identify("verdict/1", judge=("r%d", "float32", policy.fingerprint), source=source)
    changes = {
        b"VERDICT_ID": identity,
        b"FLAGGED": str(flagged).lower(),
        b"CATEGORIES": ",".join(f'"{s}":{str(flagged and s == "hate").lower()}' for s in CATEGORY_SLUGS),
        b"SCORES": ",".join(f'"{slug}":{score}' for slug, score in zip(CATEGORY_SLUGS, scores, strict=True)),
        b"MAX": str(scores.max()),
    }
    document = GOLDEN
    for place, text in changes.items():
        document = document.replace(place, text.encode())
    return document


def test_a_verdict_has_the_same_bytes_in_every_release() -> None:
    source = ConsumedRecord(
        partition=Partition("chat", 3),
        assignment_epoch=1,
        previous_next_offset=42,
        offset=42,
        timestamp_ms=1_769_851_800_000,
        key=b"channel",
        value=b'{"text":"hello"}',
        headers=[],
    )
    message = PreparedMessage(
        message_id='m\u00e9 "1"',
        channel_id=None,
        user_id="u",
        sent_at=1.5,
        characters=5,
        text_digest=b"n",
        tokens=(1, 2),
        truncated=False,
    )
    for hate in (0.125, 0.875):
        scores = np.array([hate if slug == "hate" else 0.0625 for slug in CATEGORY_SLUGS], np.float32)
        record = ScoredRecord(record=PreparedRecord(source=source, content=message), scores=scores)
        for in_general in (False, True):
            output = built([record], "toy", of_settings("toy"), in_general=in_general)[0]
            assert (output.topic, output.value) == (Topic.VERDICT, golden(scores, flagged=hate > 0.5))


def scored_at(
    offset: int, context: MessageContext | None = None, *, user_id: str | None = None, score: float = 0
) -> ScoredRecord:
    source = ConsumedRecord(Partition("chat", 0), 1, offset, offset, 5, None, b'{"text":"hello"}', ())
    message = PreparedMessage("m", None, user_id, None, 5, b"d", [1, 2], False, None, (), context)  # noqa: FBT003
    return ScoredRecord(PreparedRecord(source, message), np.full(12, score, np.float32))


def test_an_exempt_message_does_not_exempt_the_next_ones_of_its_partition() -> None:
    messages = [scored_at(0, MessageContext(edited=True)), scored_at(1)]
    exempt, other = built(messages, "", of_file(""), in_general=False)
    assert (exempt.value or b"").count(b'"exempt":') == 1
    assert b'"exempt":' not in (other.value or b"")


def test_each_message_of_a_large_transaction_gets_its_own_verdict() -> None:
    messages = [
        scored_at(offset, user_id=None if offset % 3 else f"user-{offset}", score=offset % 7 / 10)
        for offset in range(2 * TOGETHER + 1)
    ]
    one, other = (built(messages, "", of_file(""), in_general=in_general) for in_general in (False, True))
    assert [*map(compared, one)] == [*map(compared, other)]
    assert len({output.value for output in one if output.topic is Topic.VERDICT}) == len(messages)


def test_a_verdict_has_the_time_at_which_it_was_judged() -> None:
    builder = builder_of("", of_settings(""), in_general=False)
    times = [NOW, "2026-01-31T09:30:00.251Z"]
    values = [builder.build([scored_at(offset)], judged_at=time)[0].value for offset, time in enumerate(times)]
    assert [orjson.loads(value or b"")["judged_at"] for value in values] == times
