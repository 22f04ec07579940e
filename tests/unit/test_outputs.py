import json
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pytest
from msgspec.structs import replace

from schemas.labels import CATEGORY_SLUGS
from tests.shapes import plain
from worker.moderation.dead_letters import STUB_KEY_BYTES_MAX
from worker.moderation.outputs import OutputBuilder
from worker.moderation.policies import Policy
from worker.records import (
    ConsumedRecord,
    Headers,
    MessagePosition,
    OutputRecord,
    Partition,
    PreparedMessage,
    PreparedRecord,
    ScoredRecord,
    Topic,
)
from worker.scores import DeadLetterReason, Scores

NOW = "2026-01-31T09:30:00.250Z"
CONTENT_TYPE = ("content-type", b"application/json")
RECORD = ConsumedRecord(
    partition=Partition("chat", 3),
    assignment_epoch=1,
    previous_next_offset=42,
    offset=42,
    timestamp_ms=1_769_851_800_000,
    key=b"channel",
    value=b'{"text":"hello"}',
    headers=[],
)
MESSAGE = PreparedMessage(
    message_id="m",
    channel_id="c",
    user_id="u",
    sent_at=1.5,
    characters=5,
    text_digest=b"n",
    tokens=(1, 2),
    truncated=False,
)


def outputs(
    *,
    policy: Policy | None = None,
    alert_text: Literal["none", "full"] = "none",
    record_bytes_max: int = 1_000_000,
    revision: str = "r",
    header_names: Sequence[str] = (),
    cloudevents: bool = False,
) -> OutputBuilder:
    return OutputBuilder(
        model={"name": "toy", "revision": revision, "commit": None, "dtype": "float32"},
        policy=policy or Policy.of(alert_text=alert_text),
        read=plain(),
        record_bytes_max=record_bytes_max,
        worker_version="0.1.0",
        header_names=header_names,
        cloudevents=cloudevents,
    )


def scores(**by_slug: float) -> Scores:
    return np.array([by_slug.get(slug, 0.01) for slug in CATEGORY_SLUGS], np.float32)


CALM = scores()
FLAGGED = scores(hate=0.9, privacy=0.6, sexual_content=0.9)


def result(
    answer: Scores | DeadLetterReason | None,
    content: PreparedMessage | DeadLetterReason | None = MESSAGE,
    **changes: Any,
) -> ScoredRecord:
    source = replace(RECORD, **changes)
    return ScoredRecord(record=PreparedRecord(source=source, content=content), scores=answer)


def failed(reason: str = "not_json", **changes: Any) -> ScoredRecord:
    return result(None, DeadLetterReason(reason=reason, message="A sentence."), **changes)


def document(output: OutputRecord) -> Any:
    assert output.value is not None
    return json.loads(output.value)


def ours(output: OutputRecord) -> dict[str, str]:
    return {
        name.removeprefix("moderation."): (value or b"").decode()
        for name, value in output.headers
        if name.startswith("moderation.")
    }


def size_bytes(output: OutputRecord) -> int:
    headers_bytes = sum(len(name) + len(value or b"") for name, value in output.headers)
    return len(output.key or b"") + len(output.value or b"") + headers_bytes


def topics(built: Sequence[OutputRecord]) -> list[Topic]:
    return [output.topic for output in built]


def test_a_message_below_all_thresholds_gets_one_verdict_with_its_own_key() -> None:
    (verdict,) = outputs().build([result(CALM)], judged_at=NOW)
    assert (verdict.topic, verdict.source, verdict.key) == (Topic.VERDICT, RECORD, b"channel")
    assert document(verdict)["flagged"] is False
    assert list(document(verdict)["categories"].items()) == [(slug, False) for slug in CATEGORY_SLUGS]


def test_a_flagged_message_gets_a_verdict_and_an_alert() -> None:
    verdict, alert = outputs().build([result(FLAGGED)], judged_at=NOW)
    assert topics([verdict, alert]) == [Topic.VERDICT, Topic.ALERT]
    assert alert.key == b"channel"
    body = document(verdict)
    assert body["flagged"] is True
    assert {slug for slug, flag in body["categories"].items() if flag} == {"hate", "privacy", "sexual_content"}
    assert (body["max_score"], body["top_category"]) == (0.9, "hate")
    assert document(alert)["verdict_id"] == body["verdict_id"] != document(alert)["alert_id"]


def test_an_alert_lists_the_highest_score_first_and_equal_scores_in_the_cards_order() -> None:
    policy = Policy.of(0.5, {"privacy": 0.25})
    _, alert = outputs(policy=policy).build([result(FLAGGED)], judged_at=NOW)
    assert document(alert)["categories"] == [
        {"category": "hate", "score": 0.9, "threshold": 0.5},
        {"category": "sexual_content", "score": 0.9, "threshold": 0.5},
        {"category": "privacy", "score": 0.6, "threshold": 0.25},
    ]


def test_published_scores_and_thresholds_reproduce_the_published_flags() -> None:
    close = np.float32(0.3)
    answer = np.array([np.nextafter(close, np.float32(to)) for to in (0, 1)] * 6, np.float32)
    verdict, _ = outputs(policy=Policy.of(0.3)).build([result(answer)], judged_at=NOW)
    body = document(verdict)
    threshold = np.float32(body["policy"]["threshold"])
    again = {slug: bool(np.float32(score) > threshold) for slug, score in body["category_scores"].items()}
    assert again == body["categories"]


def test_a_blank_text_gets_scores_of_zero_and_no_top_category() -> None:
    blank = replace(MESSAGE, tokens=())
    (verdict,) = outputs(policy=Policy.of(0)).build([result(None, blank)], judged_at=NOW)
    body = document(verdict)
    assert (body["flagged"], body["max_score"], body["top_category"]) == (False, 0.0, None)
    assert set(body["category_scores"].values()) == {0.0}
    assert body["input"]["tokens"] == 0


def test_a_message_that_was_not_scored_gets_no_verdict() -> None:
    with pytest.raises(AssertionError):
        outputs().build([result(None)], judged_at=NOW)


def test_a_tombstone_has_no_output() -> None:
    assert outputs().build([result(None, None, value=None)], judged_at=NOW) == []


def test_outputs_have_the_order_of_the_results() -> None:
    batch = [
        result(FLAGGED, offset=1),
        failed(offset=2),
        result(None, None, offset=3),
        result(CALM, offset=4),
        result(DeadLetterReason(reason="model_failed", message="A sentence."), offset=5),
    ]
    built = outputs().build(batch, judged_at=NOW)
    assert [(output.source.offset, output.topic) for output in built] == [
        (1, Topic.VERDICT),
        (1, Topic.ALERT),
        (2, Topic.DEAD_LETTER),
        (4, Topic.VERDICT),
        (5, Topic.DEAD_LETTER),
    ]
    assert document(built[0])["category_scores"]["hate"] == 0.9
    assert document(built[3])["category_scores"]["hate"] == 0.01


def test_no_results_give_no_outputs() -> None:
    assert outputs().build([], judged_at=NOW) == []


def test_a_replay_has_the_same_identifiers_and_another_model_or_policy_has_others() -> None:
    def ids(made: OutputBuilder, judged_at: str) -> list[str]:
        verdict, alert = made.build([result(FLAGGED)], judged_at=judged_at)
        return [document(verdict)["verdict_id"], document(alert)["alert_id"]]

    replay = outputs(policy=Policy.of(0.5, version="another name"))
    assert ids(outputs(), NOW) == ids(replay, "2027-01-01T00:00:00.000Z")
    others = [outputs(revision="s"), outputs(policy=Policy.of(0.4))]
    assert len({name for made in [outputs(), *others] for name in ids(made, NOW)}) == 6


HEADERS: Headers = [
    ("trace", b"1"),
    ("Content-Type", b"text/plain"),
    ("moderation.error.reason", b"forged"),
    ("trace", b"\xff"),
    ("content-type", None),
    ("moderation.x", None),
    ("moderationx", None),
    ("MODERATION.Error.Reason", b"forged"),
    ("", b"unnamed"),
    ("", None),
    ("trace", b"1"),
    ("traceparent", b"no context"),
]
PARENT = ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
OTHER_HEADERS: Headers = [
    ("ce_id", b"1"),
    ("content-encoding", b"gzip"),
    ("__TypeId__", b"com.example.Chat"),
    ("tenant", b"a"),
    ("Tenant", b"b"),
    PARENT,
    ("tracestate", b"a=1"),
    ("tenant", None),
]


def test_only_a_valid_trace_context_is_copied_from_the_inputs_headers() -> None:
    built = outputs().build([result(FLAGGED, headers=HEADERS)], judged_at=NOW)
    assert [list(output.headers) for output in built] == [[CONTENT_TYPE]] * 2
    built = outputs().build([result(FLAGGED, headers=OTHER_HEADERS)], judged_at=NOW)
    assert [list(output.headers) for output in built] == [[PARENT, ("tracestate", b"a=1"), CONTENT_TYPE]] * 2


def test_named_headers_are_copied_in_order_including_duplicates() -> None:
    built = outputs(header_names=("tenant", "absent")).build(
        [result(FLAGGED, headers=OTHER_HEADERS)], judged_at=NOW
    )
    expected = [("tenant", b"a"), ("tenant", None), PARENT, ("tracestate", b"a=1"), CONTENT_TYPE]
    assert [list(output.headers) for output in built] == [expected] * 2


def test_a_cloud_event_in_binary_mode_has_its_attributes_as_headers() -> None:
    verdict, alert = outputs(cloudevents=True).build([result(FLAGGED, headers=OTHER_HEADERS)], judged_at=NOW)
    for output, kind in ((verdict, "verdict"), (alert, "alert")):
        headers = [name for name, _ in output.headers]
        assert len(headers) == len(set(headers))
        assert dict(output.headers) == {
            "traceparent": PARENT[1],
            "tracestate": b"a=1",
            "content-type": b"application/json",
            "ce_specversion": b"1.0",
            "ce_id": document(output)[f"{kind}_id"].encode(),
            "ce_source": b"urn:moderation-worker:chat",
            "ce_type": f"moderation.{kind}.v1".encode(),
            "ce_time": NOW.encode(),
            "ce_subject": b"chat:3:42",
        }
    (letter,) = outputs(cloudevents=True).build([failed()], judged_at=NOW)
    assert not any(name.startswith("ce_") for name, _ in letter.headers)


@pytest.mark.parametrize("cloudevents", [False, True])
def test_every_header_counts_for_the_limit(*, cloudevents: bool) -> None:
    item = result(CALM, headers=[("tenant", b"x" * 100), PARENT])
    settings: dict[str, Any] = {"header_names": ("tenant",), "cloudevents": cloudevents}
    (verdict,) = outputs(**settings).build([item], judged_at=NOW)
    for less, topic in ((0, Topic.VERDICT), (1, Topic.DEAD_LETTER)):
        made = outputs(**settings, record_bytes_max=size_bytes(verdict) - less)
        assert topics(made.build([item], judged_at=NOW)) == [topic]


def test_a_dead_letter_is_the_original_to_the_byte_with_our_headers_after_its_own() -> None:
    value = b"\xff not json"
    (letter,) = outputs().build([failed(value=value, headers=HEADERS)], judged_at=NOW)
    assert (letter.topic, letter.key, letter.value) == (Topic.DEAD_LETTER, b"channel", value)
    own = [HEADERS[place] for place in (0, 1, 3, 4, 6, 8, 9, 10, 11)]
    assert list(letter.headers) == [
        *own,
        ("moderation.error.reason", b"not_json"),
        ("moderation.error.message", b"A sentence."),
        ("moderation.source.topic", b"chat"),
        ("moderation.source.partition", b"3"),
        ("moderation.source.offset", b"42"),
        ("moderation.source.timestamp_ms", b"1769851800000"),
        ("moderation.worker", b"0.1.0"),
    ]


def test_a_message_without_a_timestamp_has_outputs_without_a_timestamp() -> None:
    verdict, letter = outputs().build([result(CALM, timestamp_ms=None), failed(timestamp_ms=None)], judged_at=NOW)
    assert document(verdict)["source"]["timestamp_ms"] is None
    assert "source.timestamp_ms" not in ours(letter)


def test_a_long_error_message_is_cut() -> None:
    fault = DeadLetterReason(reason="model_failed", message="x" * 1000)
    (letter,) = outputs().build([result(fault)], judged_at=NOW)
    assert len(ours(letter)["error.message"]) == 500


def test_an_output_at_the_size_limit_is_published_and_one_byte_more_is_a_dead_letter() -> None:
    item = result(CALM, headers=[("é", b"1")])
    (verdict,) = outputs(header_names=["é"]).build([item], judged_at=NOW)
    bytes_max = size_bytes(verdict) + 1  # the accented letter has two bytes
    fits = outputs(header_names=["é"], record_bytes_max=bytes_max)
    assert topics(fits.build([item], judged_at=NOW)) == [Topic.VERDICT]
    tight = outputs(header_names=["é"], record_bytes_max=bytes_max - 1)
    (letter,) = tight.build([item], judged_at=NOW)
    assert ours(letter)["error.reason"] == "output_too_large"
    assert (letter.key, letter.value) == (RECORD.key, RECORD.value)


def test_a_too_large_alert_makes_one_dead_letter_without_a_verdict() -> None:
    # Twelve flagged categories make an alert larger than its verdict.
    item = result(np.full(12, 0.87654321, np.float32))
    verdict, alert = outputs().build([item], judged_at=NOW)
    assert size_bytes(alert) > size_bytes(verdict)
    built = outputs(record_bytes_max=size_bytes(alert) - 1).build([item], judged_at=NOW)
    assert topics(built) == [Topic.DEAD_LETTER]


@pytest.mark.parametrize(
    ("value", "header", "key", "truncated"),
    [
        (500, 100, 100, None),
        (5000, 100, 100, "value"),
        (100, 5000, 100, "value,headers"),
        (100, 100, 5000, "value,headers,key"),
    ],
)
def test_a_dead_letter_leaves_out_only_the_parts_that_do_not_fit(
    value: int, header: int, key: int, truncated: str | None
) -> None:
    item = failed(value=b"v" * value, headers=[("h", b"h" * header)], key=b"k" * key)
    (letter,) = outputs(record_bytes_max=1200).build([item], judged_at=NOW)
    assert size_bytes(letter) <= 1200
    assert ours(letter).get("error.truncated") == truncated
    missing = (truncated or "").split(",")
    assert letter.value == (None if "value" in missing else item.record.source.value)
    assert [pair for pair in letter.headers if pair[0] == "h"] == (
        [] if "headers" in missing else item.record.source.headers
    )
    assert letter.key == (None if "key" in missing else item.record.source.key)
    assert ours(letter)["error.reason"] == "not_json"
    assert ours(letter)["source.offset"] == "42"


def test_a_message_whose_output_a_broker_rejected_for_its_size_becomes_a_stub() -> None:
    refused = result(FLAGGED, offset=1, headers=[("h", b"h")])
    other_partition = result(CALM, offset=1, partition=Partition("chat", 4))
    built = outputs().build(
        [refused, other_partition], judged_at=NOW, rejected={(Partition("chat", 3), 1, None): "output_too_large"}
    )
    assert topics(built) == [Topic.DEAD_LETTER, Topic.VERDICT]
    letter = built[0]
    assert (letter.value, letter.key) == (None, b"channel")
    assert "h" not in dict(letter.headers)
    assert ours(letter)["error.reason"] == "output_too_large"
    assert ours(letter)["error.truncated"] == "value,headers"


def test_a_message_whose_output_a_broker_rejected_for_another_reason_is_kept_whole() -> None:
    rejected: dict[MessagePosition, str] = {(Partition("chat", 3), 42, None): "output_refused"}
    (letter,) = outputs().build([result(CALM)], judged_at=NOW, rejected=rejected)
    assert ours(letter)["error.reason"] == "output_refused"
    assert (letter.value, letter.key) == (RECORD.value, RECORD.key)


def test_a_stub_leaves_out_the_key_only_when_it_is_long() -> None:
    rejected: dict[MessagePosition, str] = {(Partition("chat", 3), 42, None): "output_too_large"}
    long, short = (
        outputs().build([result(CALM, key=b"k" * size)], judged_at=NOW, rejected=rejected)[0]
        for size in (STUB_KEY_BYTES_MAX + 1, STUB_KEY_BYTES_MAX)
    )
    assert (long.key, ours(long)["error.truncated"]) == (None, "value,headers,key")
    assert (short.key, ours(short)["error.truncated"]) == (b"k" * 1024, "value,headers")


def test_a_rejected_dead_letter_keeps_its_own_reason() -> None:
    (letter,) = outputs().build(
        [failed()], judged_at=NOW, rejected={(Partition("chat", 3), 42, None): "output_refused"}
    )
    assert ours(letter)["error.reason"] == "not_json"


def test_an_alert_carries_the_text_only_if_the_settings_say_so() -> None:
    item = result(FLAGGED, value=rb'{"text":"hello \ud83d"}')
    _, bare = outputs().build([item], judged_at=NOW)
    verdict, full = outputs(alert_text="full").build([item], judged_at=NOW)
    assert "text" not in document(bare)
    assert document(full) == {**document(bare), "text": "hello \ufffd"}
    assert "text" not in document(verdict)


def test_an_alert_is_published_without_a_text_that_does_not_fit() -> None:
    text = "x" * 5000
    item = result(FLAGGED, value=json.dumps({"text": text}).encode())
    _, whole = outputs(alert_text="full").build([item], judged_at=NOW)
    fits = outputs(alert_text="full", record_bytes_max=size_bytes(whole))
    assert document(fits.build([item], judged_at=NOW)[1])["text"] == text
    tight = outputs(alert_text="full", record_bytes_max=size_bytes(whole) - 1)
    _, bare = tight.build([item], judged_at=NOW)
    assert bare.topic is Topic.ALERT
    assert "text" not in document(bare)


def test_a_json_line_is_a_verdict_without_a_source_or_an_error() -> None:
    verdict, error = outputs().json_lines([result(CALM), failed()], judged_at=NOW)
    body = json.loads(verdict)
    assert (body["verdict_id"], body["source"], body["message_id"]) == (None, None, "m")
    assert error == b'{"error":{"reason":"not_json","message":"A sentence."}}'
    assert b"\n" not in verdict
