"""A trial decides as a worker does: its counts are those of the verdicts and alerts that a worker would publish."""

import json
from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas.chat import MessageContext
from schemas.labels import CATEGORY_SLUGS
from tests.shapes import plain
from worker.commands.policy.trial_run import run_trial
from worker.moderation.outputs import OutputBuilder
from worker.moderation.policies import Policy, PolicySource, parse_policy
from worker.records import ConsumedRecord, Partition, PreparedMessage, PreparedRecord, ScoredRecord, Topic

SCORES = st.sampled_from([0.05, 0.3, 0.30000001, 0.5, 0.7, 0.95])
TEXTS = ["gg", "go", "kill the boss"]
HEAD = "schema: policy/1\nlevels: [review, remove]\nthresholds:\n  default: {review: 0.5, remove: 0.9}\n"
BEFORE = HEAD + "  hate: {review: 0.3}\nexempt: [{name: bots, when: {role: bot}}]\nalerts: {level: remove}\n"
AFTER = (
    HEAD
    + "  privacy: off\n"
    + "rules:\n"
    + '  - {name: kids, when: {channel_id: "kids-*", role: vip}, thresholds: {hate: {review: 0.1, remove: 0.3}}}\n'
    + "  - {name: edits, when: {edited: true}, thresholds: {default: {review: 0.4}}}\n"
    + "exempt: [{name: staff, when: {role: mod, language: d?}}]\n"
    + "allow: [{name: slang, when: {tenant_id: acme}, texts: [gg], categories: [violent_crimes, hate]}]\n"
    + "alerts: {level: remove}\n"
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.sampled_from(TEXTS),
            "channel_id": st.sampled_from([None, "general", "kids-1"]),
            "context": st.builds(
                MessageContext,
                tenant_id=st.sampled_from([None, "acme"]),
                roles=st.sampled_from([(), ("mod",), ("vip", "mod"), ("bot",)]),
                language=st.sampled_from([None, "de", "pt"]),
                edited=st.booleans(),
            ),
            "scores": st.lists(SCORES, min_size=len(CATEGORY_SLUGS), max_size=len(CATEGORY_SLUGS)),
        }
    ),
    max_size=12,
)


def source_of(text: str) -> PolicySource:
    return parse_policy(text.encode(), "policy.yaml")


def judged(messages: list[dict[str, Any]], policy: Policy) -> tuple[list[bytes], set[int]]:
    """Return the verdicts that a worker publishes, and the offsets of the messages that raise an alert."""
    builder = OutputBuilder(
        model={"name": "toy", "revision": "r", "commit": None, "dtype": "float32"},
        policy=policy,
        read=plain(),
        record_bytes_max=1_000_000,
        worker_version="0.1.0",
    )
    built = builder.build([scored(number, one) for number, one in enumerate(messages)], judged_at="2026-01-31")
    verdicts = [output.value or b"" for output in built if output.topic is Topic.VERDICT]
    return verdicts, {output.source.offset for output in built if output.topic is Topic.ALERT}


def scored(number: int, message: dict[str, Any]) -> ScoredRecord:
    record = ConsumedRecord(
        partition=Partition("chat", 0),
        assignment_epoch=1,
        previous_next_offset=number,
        offset=number,
        timestamp_ms=1_769_851_800_000,
        key=None,
        value=json.dumps({"text": message["text"]}).encode(),
        headers=[],
    )
    content = PreparedMessage(
        message_id=str(number),
        channel_id=message["channel_id"],
        user_id=None,
        sent_at=None,
        characters=len(message["text"]),
        text_digest=b"n",
        tokens=(1, 2),
        truncated=False,
        context=message["context"],
    )
    return ScoredRecord(
        record=PreparedRecord(source=record, content=content), scores=np.array(message["scores"], np.float32)
    )


@given(messages=MESSAGES)
def test_a_trial_finds_what_a_worker_with_the_tried_policy_would_publish(messages: list[dict[str, Any]]) -> None:
    before, alerted = judged(messages, Policy.of_file(source_of(BEFORE)))
    after, alerts = judged(messages, Policy.of_file(source_of(AFTER)))
    judge = source_of(BEFORE)
    found = run_trial(source_of(AFTER), "policy.yaml", iter([before]), examples=1, against=judge)
    pairs = [(json.loads(old), json.loads(new)) for old, new in zip(before, after, strict=True)]
    assert found.flagged.after == sum(new["flagged"] for _, new in pairs)
    assert found.flagged.newly_flagged == sum(new["flagged"] and not old["flagged"] for old, new in pairs)
    assert found.flagged.newly_passed == sum(old["flagged"] and not new["flagged"] for old, new in pairs)
    for row in found.categories:
        assert row.before == sum(old["categories"][row.category] for old, _ in pairs)
        assert row.after == sum(new["categories"][row.category] for _, new in pairs)
    levels = Counter((old["level"], new["level"]) for old, new in pairs)
    assert {(one.before, one.after): one.verdicts for one in found.levels} == levels
    rules = Counter(new["policy"]["rule"] for _, new in pairs)
    assert {one.rule: one.verdicts for one in found.rules} == rules
    assert found.alerts.before == len(alerted)
    assert found.alerts.raised <= len(alerts) <= found.alerts.raised + found.alerts.undecided
    assert found.alerts.newly_alerting <= len(alerts - alerted)
    assert found.alerts.newly_silenced <= len(alerted - alerts)
    if not found.alerts.undecided:
        assert found.alerts.newly_alerting == len(alerts - alerted)
        assert found.alerts.newly_silenced == len(alerted - alerts)
    assert found.alerts.exempt == sum("exempt" in new and new["flagged"] for _, new in pairs)
    assert found.verdicts.decided == len(messages)


@given(messages=MESSAGES)
def test_a_trial_of_the_policy_that_judged_changes_nothing(messages: list[dict[str, Any]]) -> None:
    source = source_of(BEFORE)
    verdicts, alerts = judged(messages, Policy.of_file(source))
    found = run_trial(source, "policy.yaml", iter([verdicts]), examples=1, against=source)
    assert (found.flagged.newly_flagged, found.flagged.newly_passed) == (0, 0)
    assert all(one.before == one.after for one in found.levels)
    assert found.alerts.raised == found.alerts.before == len(alerts)
    assert (found.alerts.newly_alerting, found.alerts.newly_silenced) == (0, 0)
    assert not any(one.examples_flagged or one.examples_passed for one in found.categories)
