"""From scored records to alerts, counts and summaries: keys, dead letters, times, the clock."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from schemas.labels import CATEGORY_SLUGS
from tests.shapes import plain
from worker.moderation.alert_windows import decode_state
from worker.moderation.coalesced_alerts import AlertWindowClock
from worker.moderation.coalescing import KeyDigest
from worker.moderation.output_judge import OutputJudge
from worker.moderation.outputs import OutputBuilder
from worker.moderation.policies import Policy, parse_policy
from worker.records import (
    ConsumedRecord,
    Judged,
    MessagePosition,
    Partition,
    PreparedMessage,
    PreparedRecord,
    ScoredRecord,
    Topic,
)

NOW = "2026-01-31T09:30:00.250Z"
CHAT = Partition("chat", 0)
START_MS = 1_769_851_800_000
SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "v1" / "alert.schema.json").read_text())


@dataclass
class Committed:
    """The committed states of the partitions."""

    states: dict[Partition, str] = field(default_factory=dict)
    state_characters_max: int = 3000
    idle: bool = True
    rejected: dict[MessagePosition, str] = field(default_factory=dict)

    def is_idle(self, _partition: Partition) -> bool:
        return self.idle


def builder(
    by: str = "channel_id, text", *, coalesce: bool = True, record_bytes_max: int = 1_000_000
) -> OutputBuilder:
    rule = f"{{by: [{by}], window_s: 60}}" if coalesce else "null"
    policy = f"""
schema: policy/1
levels: [review, remove]
thresholds:
  default: {{review: 0.5, remove: 0.9}}
exempt:
  - {{name: moderators, when: {{role: moderator}}}}
alerts: {{coalesce: {rule}}}
"""
    return OutputBuilder(
        model={"name": "toy", "revision": "r", "commit": None, "dtype": "float32"},
        policy=Policy.of_file(parse_policy(policy.encode(), "policy.yaml")),
        read=plain(),
        record_bytes_max=record_bytes_max,
        worker_version="0.1.0",
        key_digest=KeyDigest(b"chat"),
    )


def scored(
    offset: int,
    *,
    after_s: float | None = 0,
    text: str = "raid",
    channel: str | None = "c-1",
    partition: Partition = CHAT,
    item: int | None = None,
    **by_slug: float,
) -> ScoredRecord:
    """Return a message that is flagged as hate, unless scores are given."""
    time_ms = None if after_s is None else START_MS + round(after_s * 1000)
    value = json.dumps({"text": text}).encode() if item is None else json.dumps([{"text": text}] * 3).encode()
    source = ConsumedRecord(partition, 1, offset, offset, time_ms, b"key", value, ())
    message = PreparedMessage(f"m-{offset}", channel, None, None, len(text), b"n", (1, 2), truncated=False)
    by_slug = by_slug or {"hate": 0.6}
    scores = np.array([by_slug.get(slug, 0.01) for slug in CATEGORY_SLUGS], np.float32)
    return ScoredRecord(PreparedRecord(source, message, item), scores)


def judge(
    outputs: OutputBuilder,
    committed: Committed,
    results: Sequence[ScoredRecord],
    rejected: Mapping[MessagePosition, str] | None = None,
) -> Judged:
    """Judge a transaction, and commit its states."""
    judged = outputs.judge(results, judged_at=NOW, rejected=rejected or {}, committed=committed)
    committed.states = {one: state for one, state in {**committed.states, **judged.states}.items() if state}
    return judged


def alerts(judged: Judged) -> list[dict[str, Any]]:
    found = [json.loads(output.value or b"") for output in judged.outputs if output.topic is Topic.ALERT]
    for alert in found:
        Draft202012Validator(SCHEMA).validate(alert)
    return found


def summaries(judged: Judged) -> list[dict[str, Any]]:
    return [alert for alert in alerts(judged) if "repeat" in alert]


def test_a_raid_is_one_alert_and_one_summary_when_its_window_has_ended() -> None:
    outputs, committed = builder(), Committed()
    first = judge(outputs, committed, [scored(offset, after_s=offset) for offset in range(10)])
    (alert,) = alerts(first)
    assert (first.counted, alert["source"]["offset"]) == (9, 0)
    second = judge(
        outputs, committed, [scored(10, after_s=20, text="hi", hate=0.1), scored(11, after_s=60, text="ho")]
    )
    (_, summary) = alerts(second)
    assert summary["repeat"] == {
        "of": alert["alert_id"],
        "count": 9,
        "first_offset": 1,
        "last_offset": 9,
        "from": "2026-01-31T09:30:01.000Z",
        "to": "2026-01-31T09:30:09.000Z",
    }
    assert summary["source"] == {
        "topic": "chat",
        "partition": 0,
        "offset": 9,
        "timestamp_ms": START_MS + 9000,
    }
    assert summary["categories"] == alert["categories"]
    assert (summary["level"], summary["rule"], summary["message_id"]) == ("review", None, "chat:0:9")
    last = [json.loads(one.value or b"") for one in first.outputs if one.topic is Topic.VERDICT][-1]
    assert summary["verdict_id"] == last["verdict_id"]
    assert summary["alert_id"] != alert["alert_id"]


@pytest.mark.parametrize("sizes", [[4], [1, 3], [2, 2], [3, 1], [1, 1, 1, 1]])
def test_a_message_after_the_window_alerts_however_the_messages_are_cut_into_transactions(sizes: list[int]) -> None:
    outputs, committed = builder(), Committed()
    messages = [scored(0), scored(1, after_s=59), scored(2, after_s=60), scored(3, after_s=61)]
    judged = []
    for size in sizes:
        judged.append(judge(outputs, committed, messages[:size]))
        del messages[:size]
    raised = [alert["source"]["offset"] for one in judged for alert in alerts(one) if "repeat" not in alert]
    assert raised == [0, 2]
    (summary,) = [summary for one in judged for summary in summaries(one)]
    assert (summary["repeat"]["count"], summary["repeat"]["last_offset"]) == (1, 1)


def test_every_verdict_is_complete_also_if_its_message_is_only_counted() -> None:
    judged = judge(builder(), Committed(), [scored(offset) for offset in range(3)])
    verdicts = [json.loads(one.value or b"") for one in judged.outputs if one.topic is Topic.VERDICT]
    assert [one["flagged"] for one in verdicts] == [True] * 3


def test_messages_with_other_values_of_the_key_alert_by_themselves() -> None:
    others = [
        scored(0),
        scored(1, text="other"),
        scored(2, channel="c-2"),
        scored(3, channel=None),
        scored(4, partition=Partition("chat", 1)),
    ]
    assert len(alerts(judge(builder(), Committed(), others))) == 5


def test_a_message_with_another_set_of_categories_alerts_if_the_key_has_the_category() -> None:
    messages = [
        scored(0),
        scored(1, hate=0.6, violent_crimes=0.6),
        scored(2, violent_crimes=0.7, hate=0.7),
        scored(3),
    ]
    judged = judge(builder("category"), Committed(), messages)
    assert [one["source"]["offset"] for one in alerts(judged)] == [0, 1]
    assert judged.counted == 2


def test_messages_that_lack_every_field_of_the_key_all_alert() -> None:
    assert len(alerts(judge(builder("user_id"), Committed(), [scored(0), scored(1)]))) == 2


def test_the_summary_has_the_highest_level_and_the_highest_score_of_each_category() -> None:
    outputs, committed = builder("channel_id"), Committed()
    messages = [scored(0), scored(1, hate=0.95), scored(2, hate=0.6, privacy=0.7), scored(3, after_s=60, hate=0.1)]
    (summary,) = summaries(judge(outputs, committed, messages))
    assert summary["level"] == "remove"
    assert [(one["category"], one["score"]) for one in summary["categories"]] == [("hate", 0.95), ("privacy", 0.7)]
    assert (summary["max_score"], summary["top_category"]) == (0.95, "hate")


def test_the_elements_of_an_array_are_counted_one_by_one() -> None:
    outputs, committed = builder(), Committed()
    judge(outputs, committed, [scored(0, item=0), scored(0, item=1), scored(0, item=2)])
    (summary,) = summaries(judge(outputs, committed, [scored(1, after_s=60, hate=0.1)]))
    assert (summary["repeat"]["count"], summary["source"]["item"]) == (2, 2)


def test_an_aborted_transaction_leaves_no_trace() -> None:
    outputs, committed = builder(), Committed()
    judge(outputs, committed, [scored(0)])
    before = dict(committed.states)
    aborted = outputs.judge([scored(1), scored(2)], judged_at=NOW, rejected={}, committed=committed)
    assert aborted.counted == 2
    assert committed.states == before
    assert judge(outputs, committed, [scored(1), scored(2)]).states == aborted.states


def test_a_message_whose_output_a_broker_rejects_is_a_dead_letter_and_is_not_counted() -> None:
    outputs, committed = builder(), Committed()
    judged = judge(outputs, committed, [scored(0), scored(1), scored(2)], {(CHAT, 1, None): "output_too_large"})
    assert judged.counted == 1
    assert [one.topic for one in judged.outputs] == [Topic.VERDICT, Topic.ALERT, Topic.DEAD_LETTER, Topic.VERDICT]


def test_a_message_whose_outputs_are_too_large_neither_opens_a_window_nor_is_counted() -> None:
    outputs, committed = builder(record_bytes_max=1500), Committed()
    long = "x" * 1200
    messages = [scored(0, channel=long), scored(1, channel=long)]
    judged = judge(outputs, committed, messages)
    assert [one.topic for one in judged.outputs] == [Topic.DEAD_LETTER, Topic.DEAD_LETTER]
    assert (judged.counted, committed.states) == (0, {})


def test_a_broken_message_ends_a_window_by_its_time() -> None:
    outputs, committed = builder(), Committed()
    judge(outputs, committed, [scored(0), scored(1)])
    tombstone = ConsumedRecord(CHAT, 1, 2, 2, START_MS + 60_000, None, None, ())
    assert len(summaries(judge(outputs, committed, [ScoredRecord(PreparedRecord(tombstone, None), None)]))) == 1
    assert committed.states == {}


def test_windows_that_are_left_end_also_when_the_policy_coalesces_no_more() -> None:
    committed = Committed()
    judge(builder(), committed, [scored(0), scored(1)])
    off = builder(coalesce=False)
    judged = judge(off, committed, [scored(2, after_s=1), scored(3, after_s=60)])
    assert [one["source"]["offset"] for one in alerts(judged)] == [2, 3, 1]
    assert committed.states == {}
    assert judge(off, committed, [scored(4)]).states == {}


def test_without_coalescing_nothing_changes() -> None:
    outputs, results = builder(coalesce=False), [scored(0), scored(1)]
    judged = outputs.judge(results, judged_at=NOW, rejected={}, committed=Committed())
    built = outputs.build(results, judged_at=NOW)
    assert [(one.topic, one.value) for one in judged.outputs] == [(one.topic, one.value) for one in built]
    assert (judged.states, judged.counted) == ({}, 0)


@pytest.mark.parametrize("after_s", [None, 10**13])
def test_a_time_that_is_missing_or_beyond_the_calendar_is_null(after_s: float | None) -> None:
    outputs, committed = builder(), Committed()
    judge(outputs, committed, [scored(0, after_s=None), scored(1, after_s=after_s)])
    clock = AlertWindowClock()
    clock.ended(0, committed)
    changed = clock.ended(60_000, committed)
    ended = [(one, window) for one, windows in changed.items() for window in windows.take_ended()]
    (summary,) = outputs.summaries(ended, judged_at=NOW)
    assert json.loads(summary.value or b"")["repeat"]["to"] is None


def test_a_state_that_cannot_be_read_is_reported_and_replaced(caplog: pytest.LogCaptureFixture) -> None:
    committed = Committed({CHAT: "9,of-a-later-release"})
    judge(builder(), committed, [scored(0)])
    assert "cannot be read" in caplog.text
    assert len(decode_state(committed.states[CHAT])) == 1


# ---- the clock -----------------------------------------------------------------------------------------------


def test_the_clock_ends_a_window_of_an_idle_partition_after_its_length() -> None:
    outputs, committed, clock = builder(), Committed(), AlertWindowClock()
    judge(outputs, committed, [scored(0), scored(1)])
    assert clock.ended(1000, committed) == {}
    assert clock.ended(60_000, committed) == {}
    (windows,) = clock.ended(61_000, committed).values()
    assert len(windows.take_ended()) == 1
    assert windows.encode() == ""


def test_a_message_after_a_window_that_the_clock_ended_opens_another_window() -> None:
    outputs, committed, clock = builder(), Committed(), AlertWindowClock()
    judge(outputs, committed, [scored(0), scored(1)])
    clock.ended(0, committed)
    changed = clock.ended(60_000, committed)
    committed.states = {one: state for one, windows in changed.items() if (state := windows.encode())}
    late = judge(outputs, committed, [scored(2, after_s=2), scored(3, after_s=3)])
    assert [one["source"]["offset"] for one in alerts(late)] == [2]
    assert late.counted == 1


def test_the_clock_ends_no_window_of_a_partition_with_messages_to_read() -> None:
    committed, clock = Committed(idle=False), AlertWindowClock()
    judge(builder(), committed, [scored(0), scored(1)])
    assert clock.ended(0, committed) == clock.ended(10**6, committed) == {}


def test_the_clock_alone_ends_a_window_whose_first_message_has_no_time() -> None:
    committed, clock = Committed(idle=False), AlertWindowClock()
    judge(builder(), committed, [scored(0, after_s=None), scored(1, after_s=10**6)])
    assert clock.ended(0, committed) == {}
    assert len(clock.ended(60_000, committed)) == 1


def test_a_state_that_no_longer_fits_is_shortened_without_waiting() -> None:
    committed, clock = Committed(), AlertWindowClock()
    judge(builder(), committed, [scored(0), scored(1), scored(2, text="other")])
    committed.state_characters_max = 60
    (windows,) = clock.ended(0, committed).values()
    assert [one.counted.count for one in windows.take_ended() if one.counted] == [1]
    assert len(windows.encode()) <= 60


def test_verdicts_alerts_and_summaries_have_the_time_that_the_judge_is_handed() -> None:
    committed, times = Committed(), iter([NOW, "2026-01-31T09:31:00.000Z", "2026-01-31T09:32:00.000Z"])
    judge_ = OutputJudge(builder(), lambda: next(times))
    judged = judge_([scored(0), scored(1)], committed)
    committed.states = dict(judged.states)
    assert {json.loads(one.value or b"")["judged_at"] for one in judged.outputs} == {NOW}
    assert judge_.end_alert_windows(0, committed).outputs == []
    (summary,) = judge_.end_alert_windows(60_000, committed).outputs
    assert json.loads(summary.value or b"")["judged_at"] == "2026-01-31T09:32:00.000Z"
