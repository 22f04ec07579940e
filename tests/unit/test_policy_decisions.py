"""What a policy file decides about messages: verdicts, alerts, and what metrics count."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.chat import ChatMessage, MessageContext
from schemas.labels import CATEGORY_SLUGS
from tests.shapes import plain
from worker.moderation.outputs import OutputBuilder
from worker.moderation.policies import (
    MessageFields,
    Policy,
    effective_thresholds,
    parse_policy,
    resolve_all,
    unscored_by,
)
from worker.records import (
    ConsumedRecord,
    OutputRecord,
    Partition,
    PreparedMessage,
    PreparedRecord,
    ScoredRecord,
    Skipped,
)
from worker.reported import CandidateLabels, ShadowOutcome

NOW = "2026-01-31T09:30:00.250Z"
FILE = """
schema: policy/1
version: spring-2027
levels: [review, remove]
thresholds:
  default: {review: 0.5, remove: 0.9}
  hate: {review: 0.4, remove: 0.85}
  specialized_advice: off
rules:
  - name: kids
    when: {channel_id: ["kids-*"], tenant_id: [acme]}
    thresholds: {sexual_content: {review: 0.1, remove: 0.3}}
exempt:
  - name: moderators
    when: {role: [moderator, bot]}
  - name: imports
    when: {user_id: importer}
    score: false
allow:
  - name: game
    when: {channel_id: ["game-*"]}
    texts: ["kill the boss"]
    categories: [violent_crimes]
  - name: anything
    texts: ["kill the boss", "hello"]
shadow:
  - name: stricter
    thresholds: {hate: {review: 0.3}}
"""


def policy(text: str = FILE) -> Policy:
    return Policy.of_file(parse_policy(text.encode(), "policy.yaml"))


def scored(
    scores: dict[str, float],
    *,
    text: str = "good evening",
    channel_id: str | None = "general",
    user_id: str | None = "u",
    context: MessageContext | None = None,
    is_unscored: bool = False,
) -> ScoredRecord:
    source = ConsumedRecord(
        partition=Partition("chat", 3),
        assignment_epoch=1,
        previous_next_offset=42,
        offset=42,
        timestamp_ms=1_769_851_800_000,
        key=b"channel",
        value=json.dumps({"text": text}).encode(),
        headers=[],
    )
    message = PreparedMessage(
        message_id="m",
        channel_id=channel_id,
        user_id=user_id,
        sent_at=None,
        characters=len(text),
        text_digest=b"" if is_unscored else b"n",
        tokens=() if is_unscored else (1, 2),
        truncated=False,
        context=context,
        is_unscored=is_unscored,
    )
    row = np.array([scores.get(slug, 0.0) for slug in CATEGORY_SLUGS], np.float32)
    return ScoredRecord(record=PreparedRecord(source, message), scores=None if is_unscored else row)


def outputs(*results: ScoredRecord, by: Policy | None = None) -> list[OutputRecord]:
    builder = OutputBuilder(
        model={"name": "toy", "revision": "r", "commit": None, "dtype": "float32"},
        policy=by or policy(),
        read=plain(),
        record_bytes_max=1_000_000,
        worker_version="0.1.0",
    )
    return builder.build(results, judged_at=NOW)


def documents(result: ScoredRecord, by: Policy | None = None) -> list[Any]:
    return [json.loads(output.value or b"") for output in outputs(result, by=by)]


@pytest.mark.parametrize(
    ("scores", "level"),
    [
        ({"hate": 0.4}, None),
        ({"hate": 0.41}, "review"),
        ({"hate": 0.86}, "remove"),
        ({"hate": 0.41, "privacy": 0.95}, "remove"),
        ({"specialized_advice": 1.0}, None),
        ({"sexual_content": 0.2}, None),
    ],
)
def test_a_verdict_has_the_highest_level_that_a_category_reaches(scores: dict[str, float], level: str) -> None:
    verdict, *alerts = documents(scored(scores))
    assert (verdict["level"], verdict["flagged"]) == (level, level is not None)
    assert [(alert["level"], alert["rule"]) for alert in alerts] == ([(level, None)] if level else [])


def test_the_published_thresholds_are_those_of_the_mildest_level_and_reproduce_the_flags() -> None:
    verdict, alert = documents(scored({"hate": 0.86, "privacy": 0.5, "specialized_advice": 0.9}))
    own = {"hate": 0.4, "specialized_advice": None}
    assert verdict["policy"] == {"version": "spring-2027", "rule": None, "threshold": 0.5, "thresholds": own}
    flags = {}
    for slug, score in verdict["category_scores"].items():
        threshold = own.get(slug, 0.5)
        flags[slug] = threshold is not None and score > threshold
    assert verdict["categories"] == flags
    assert alert["categories"] == [{"category": "hate", "score": 0.86, "threshold": 0.4}]
    assert alert["policy"] == verdict["policy"]


def test_the_first_rule_that_matches_sets_the_thresholds() -> None:
    kids = scored({"sexual_content": 0.2}, channel_id="kids-1", context=MessageContext(tenant_id="acme"))
    verdict, alert = documents(kids)
    assert verdict["policy"]["rule"] == alert["rule"] == "kids"
    assert verdict["policy"]["thresholds"]["sexual_content"] == 0.1
    [verdict] = documents(scored({"sexual_content": 0.2}, channel_id="kids-1"))
    assert verdict["policy"]["rule"] is None


def test_each_message_of_a_batch_is_compared_with_its_own_thresholds() -> None:
    acme = MessageContext(tenant_id="acme")
    batch = [scored({"sexual_content": score}, channel_id="kids-1", context=acme) for score in (0, 0.2, 0.05, 0.4)]
    batch[1:1] = [scored({"sexual_content": score}) for score in (0.2, 0.4, 0.6)]
    verdicts = [json.loads(output.value or b"") for output in outputs(*batch) if output.topic == "verdict"]
    levels = [None, None, None, "review", "review", None, "remove"]
    assert [verdict["level"] for verdict in verdicts] == levels


@pytest.mark.parametrize("score", [0.2, 0.95])
def test_an_exempt_message_is_scored_and_raises_no_alert(score: float) -> None:
    [verdict] = documents(scored({"hate": score}, context=MessageContext(roles=("moderator",))))
    assert verdict["exempt"] == "moderators"
    assert verdict["flagged"] is (score > 0.4)
    assert verdict["category_scores"]["hate"] == score
    assert "outcome" not in verdict


def test_a_message_that_is_not_scored_has_the_outcome_exempt() -> None:
    [verdict] = documents(scored({}, user_id="importer", is_unscored=True))
    assert (verdict["outcome"], verdict["exempt"], verdict["flagged"], verdict["level"]) == (
        "exempt",
        "imports",
        False,
        None,
    )
    assert (verdict["input"]["tokens"], verdict["top_category"]) == (0, None)


def test_a_message_that_was_not_scored_never_passes_as_clean_under_another_policy() -> None:
    with pytest.raises(AssertionError, match="unscored"):
        outputs(scored({}, user_id="importer", is_unscored=True), by=Policy.of())


@pytest.mark.parametrize(
    ("scores", "channel_id", "allowed"),
    [
        ({"violent_crimes": 0.95}, "game-1", "game"),
        ({"violent_crimes": 0.95, "hate": 0.45}, "game-1", "anything"),
        ({"violent_crimes": 0.95}, "general", "anything"),
        ({"violent_crimes": 0.2}, "game-1", None),
    ],
)
def test_the_first_entry_of_allowed_texts_that_changes_something_withholds_the_alert(
    scores: dict[str, float], channel_id: str, allowed: str | None
) -> None:
    [verdict] = documents(scored(scores, text="kill the boss", channel_id=channel_id))
    assert verdict.get("allowed") == allowed
    assert verdict["flagged"] is (allowed is not None)


def test_only_the_whole_text_is_an_allowed_one() -> None:
    verdict, _ = documents(scored({"violent_crimes": 0.95}, text="kill the boss!"))
    assert "allowed" not in verdict


def test_an_entry_of_allowed_texts_does_not_apply_to_a_message_that_raises_no_alert_anyway() -> None:
    [verdict] = documents(scored({"hate": 0.95}, context=MessageContext(roles=("bot",))))
    assert (verdict["exempt"], "allowed" in verdict) == ("moderators", False)


def test_a_message_below_the_level_of_alerts_is_flagged_and_raises_no_alert() -> None:
    by = policy(FILE + "alerts: {level: remove}\n")
    assert [one["schema"] for one in documents(scored({"privacy": 0.6}), by)] == ["verdict/1"]
    assert [one["schema"] for one in documents(scored({"privacy": 0.95}, text="a"), by)] == ["verdict/1", "alert/1"]


def test_alerts_have_the_text_if_the_policy_says_so() -> None:
    _, alert = documents(scored({"privacy": 0.6}, text="a secret"), policy(FILE + "alerts: {text: full}\n"))
    assert alert["text"] == "a secret"


def test_a_candidate_is_published_only_where_it_decides_differently() -> None:
    for score, shadow in (
        (0.2, None),
        (0.35, [{"name": "stricter", "flagged": True, "level": "review"}]),
        (0.45, None),
    ):
        verdict = documents(scored({"hate": score}, text="a"))[0]
        assert verdict.get("shadow") == shadow


@pytest.mark.parametrize(
    ("scores", "outcome", "agreed", "newly_flagged", "newly_passed"),
    [
        ({"hate": 0.2}, ShadowOutcome.AGREE, [], [], []),
        ({"hate": 0.35}, ShadowOutcome.NEWLY_FLAGGED, [], ["hate"], []),
        ({"hate": 0.45}, ShadowOutcome.AGREE, ["hate"], [], []),
        ({"hate": 0.35, "privacy": 0.6}, ShadowOutcome.NEWLY_PASSED, [], ["hate"], ["privacy"]),
    ],
)
def test_metrics_count_each_candidate_by_category(
    scores: dict[str, float],
    outcome: ShadowOutcome,
    agreed: list[str],
    newly_flagged: list[str],
    newly_passed: list[str],
) -> None:
    by = policy(FILE.replace("{hate: {review: 0.3}}", "{hate: {review: 0.3}, privacy: off}"))
    if outcome is ShadowOutcome.NEWLY_PASSED:
        scores, newly_flagged = {"privacy": 0.6}, []
    labels = outputs(scored(scores, text="a"), by=by)[0].labels
    assert labels is not None
    [candidate] = labels.candidates
    slugs = (tuple(one) for one in (agreed, newly_flagged, newly_passed))
    assert candidate == CandidateLabels("stricter", outcome, *slugs)


@pytest.mark.parametrize(
    ("score", "text", "roles"), [(0.35, "a", ("moderator",)), (0.35, "hello", ()), (0.95, "hello", ("bot",))]
)
def test_a_candidate_changes_nothing_for_exempt_messages_and_allowed_texts_so_metrics_count_that_it_agrees(
    score: float, text: str, roles: tuple[str, ...]
) -> None:
    by = policy(FILE.replace("{hate: {review: 0.3}}", "{hate: {review: 0.3, remove: 0.99}}"))
    labels = outputs(scored({"hate": score}, text=text, context=MessageContext(roles=roles)), by=by)[0].labels
    assert labels is not None
    assert labels.candidates == [CandidateLabels("stricter", ShadowOutcome.AGREE)]


@pytest.mark.parametrize(
    ("scores", "outcome", "newly_flagged"),
    [
        ({"hate": 0.35}, ShadowOutcome.NEWLY_FLAGGED, ("hate",)),
        ({"hate": 0.35, "violent_crimes": 0.95}, ShadowOutcome.AGREE, ("hate",)),
        ({"violent_crimes": 0.4}, ShadowOutcome.AGREE, ()),
    ],
)
def test_a_text_that_is_allowed_in_some_categories_counts_in_the_others(
    scores: dict[str, float], outcome: ShadowOutcome, newly_flagged: tuple[str, ...]
) -> None:
    allow = FILE.replace('texts: ["kill the boss", "hello"]', 'texts: ["hello"]')
    by = policy(allow.replace("{hate: {review: 0.3}}", "{hate: {review: 0.3}, violent_crimes: {review: 0.3}}"))
    labels = outputs(scored(scores, text="kill the boss", channel_id="game-1"), by=by)[0].labels
    assert labels is not None
    [candidate] = labels.candidates
    assert (candidate.outcome, candidate.newly_flagged) == (outcome, newly_flagged)


def test_the_id_of_a_verdict_depends_on_the_thresholds_and_not_on_names() -> None:
    def id_of(text: str, channel_id: str = "general") -> str:
        verdict = documents(scored({}, channel_id=channel_id), policy(text))[0]
        return str(verdict["verdict_id"])

    renamed = FILE.replace("spring-2027", "summer").replace("levels: [review, remove]", "levels: [a, b]")
    renamed = renamed.replace("review:", "a:").replace("remove:", "b:")
    assert id_of(FILE) == id_of(renamed)
    assert id_of(FILE) != id_of(FILE.replace("0.85", "0.84"))
    assert id_of(FILE) == id_of(FILE.replace("review: 0.1", "review: 0.2"))


def test_a_file_of_one_level_has_the_ids_of_the_same_thresholds_in_the_settings() -> None:
    by = policy("schema: policy/1\nlevels: [flag]\nthresholds: {default: {flag: 0.5}, hate: {flag: 0.4}}\n")
    assert by.fingerprint == Policy.of(0.5, {"hate": 0.4}).fingerprint


def test_without_a_file_nothing_is_added() -> None:
    verdict, alert = documents(scored({"hate": 0.9}), Policy.of())
    assert verdict.keys().isdisjoint({"level", "exempt", "allowed", "shadow"})
    assert list(verdict["policy"]) == ["version", "threshold", "thresholds"]
    assert alert.keys().isdisjoint({"level", "rule"})
    assert outputs(scored({"hate": 0.9}), by=Policy.of())[0].labels is None


NAMES = st.sampled_from(["kids-1", "game-2", "acme", "importer", "x"])


ROWS = st.lists(st.tuples(st.none() | NAMES, st.none() | NAMES, st.none() | NAMES, st.booleans()), max_size=30)
Row = tuple[str | None, str | None, str | None, bool]


def context(row: Row) -> MessageContext | None:
    return MessageContext(row[2], ("bot",) * row[3]) if row[2] or row[3] else None


@given(st.lists(ROWS, max_size=3))
def test_a_batch_is_resolved_as_its_messages_one_by_one(batches: list[list[Row]]) -> None:
    by = policy()
    for rows in batches:
        results = [scored({}, channel_id=row[0], user_id=row[1], context=context(row)) for row in rows]
        expected = [by.resolve(MessageFields("chat", *row[:3], ("bot",) * row[3])) for row in rows]
        assert [*map(id, resolve_all(by, results))] == [*map(id, expected)]


def test_two_policies_do_not_mix_what_they_say_about_a_channel_that_no_rule_names() -> None:
    text = """
schema: policy/1
version: VERSION
levels: [review]
thresholds: {default: {review: 0.5}}
rules: [{name: kids, when: {channel_id: [kids]}, thresholds: {default: {review: 0.2}}}]
"""
    for version in ("first", "second"):
        by = policy(text.replace("VERSION", version))
        found = by.resolve_each({"channel_id": ["general", "kids", None]}, 3)
        assert [(one.document["version"], one.rule) for one in found] == [
            (version, None),
            (version, "kids"),
            (version, None),
        ]


def test_a_record_without_a_message_is_resolved_by_its_topic_alone() -> None:
    by = policy(FILE.replace('{channel_id: ["kids-*"], tenant_id: [acme]}', "{topic: chat}"))
    record = scored({}).record
    skipped = PreparedRecord(record.source, Skipped(reason="a join"))
    found = resolve_all(by, [ScoredRecord(skipped, None), scored({}, user_id="importer")])
    assert [(one.rule, one.exempt) for one in found] == [("kids", None), ("kids", "imports")]


@given(
    ROWS,
    st.sampled_from(
        ["user_id: importer", "role: bot", "{role: bot, channel_id: kids-1}".strip("{}"), "topic: chat"]
    ),
)
def test_the_messages_that_are_not_scored_are_those_that_the_policy_resolves_so(rows: list[Row], when: str) -> None:
    by = policy(
        FILE.replace("{user_id: importer}", f"{{{when}}}").replace("role: [moderator, bot]", "role: moderator")
    )
    find = unscored_by(by)
    assert find is not None
    source = scored({}).record.source
    readings = [
        Skipped(reason="a join"),
        *(ChatMessage("hi", None, *row[:2], context=context(row)) for row in rows),
    ]
    expected = [
        number
        for number, row in enumerate(rows, 1)
        if not by.resolve(MessageFields("chat", *row[:3], ("bot",) * row[3])).is_scored
    ]
    assert [*find([source] * len(readings), readings)] == expected


def test_a_policy_that_scores_all_messages_looks_at_none() -> None:
    assert unscored_by(Policy.of()) is None
    assert unscored_by(policy(FILE.replace("score: false", "score: true"))) is None


@given(st.lists(st.floats(0, 1, width=32), min_size=12, max_size=12), st.sampled_from([None, 0]))
def test_levels_as_arrays_are_the_levels_one_by_one(row: list[float], rule: int | None) -> None:
    source = parse_policy(FILE.encode(), "policy.yaml")
    by, scores = Policy.of_file(source), np.array([row], np.float32)
    fields = MessageFields() if rule is None else MessageFields(channel_id="kids-1", tenant_id="acme")
    decisions = by.decide(scores, [by.resolve(fields)])
    for candidate, flags, levels in (
        (None, decisions.flags, decisions.levels),
        (0, decisions.shadow_flags[0], decisions.shadow_levels[0]),
    ):
        thresholds = effective_thresholds(source.file, rule=rule, candidate=candidate)
        reached = [
            [
                value is not None and score > np.float32(value)
                for slug, score in zip(CATEGORY_SLUGS, scores[0], strict=True)
                for value in [thresholds[slug][level].value]
            ]
            for level in source.file.levels
        ]
        assert flags[0].tolist() == reached[0]
        assert levels[0] == max((index for index, flags in enumerate(reached) if any(flags)), default=-1)
