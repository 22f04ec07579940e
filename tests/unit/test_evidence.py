"""A text of several parts: its scores are the highest of its parts, and the verdict says which part gave them."""

from collections.abc import Sequence

import numpy as np
import orjson
import pytest

from schemas.labels import CATEGORY_SLUGS
from worker.moderation.cache import ScoreCache
from worker.moderation.cached_scoring import score_batch
from worker.moderation.outputs import OutputBuilder
from worker.moderation.policies import Policy
from worker.moderation.preprocessing import prepare
from worker.moderation.shapes import compile_shape, load_shape
from worker.moderation.text_rows import TextRows, TokenizedText
from worker.records import ConsumedRecord, Partition, Topic
from worker.scores import DeadLetterReason, Passage, Scores

READ = compile_shape(load_shape("plain"))
PASSAGES = [Passage("raw", 0, 9), Passage("raw", 7, 15), Passage("plain", 0, 15)]
BROKEN = DeadLetterReason(reason="model_failed", message="It broke.")


class LettersModel:
    """Scores a row by its only token: category ``token % 12`` gets ``token / 100``; token 0 breaks the model."""

    rows = 0

    def score(self, token_lists: Sequence[Sequence[int]]) -> list[Scores | DeadLetterReason]:
        self.rows += len(token_lists)
        return [self._scores(token) for (token,) in token_lists]

    def _scores(self, token: int) -> Scores | DeadLetterReason:
        if not token:
            return BROKEN
        scores = np.full(len(CATEGORY_SLUGS), 0.01, np.float32)
        scores[token % 12] = token / 100
        return scores


def encode(*rows: int, truncated: bool = False) -> "list[TokenizedText]":
    [first, *others] = ([row] for row in rows)
    passages = PASSAGES[: len(rows)] if others else ()
    return [TextRows(first, truncated=truncated, further_rows=others, passages=passages)]


def source(offset: int = 0) -> ConsumedRecord:
    value = b'{"text":"fifteen letters"}'
    return ConsumedRecord(Partition("chat", 0), 1, offset, offset, 5, None, value, ())


def judged(
    rows: "list[TokenizedText]",
    cache: ScoreCache,
    model: LettersModel | None = None,
    *,
    truncated_alerts: bool = False,
) -> dict[Topic, dict[str, object]]:
    prepared = prepare([source()], read=READ, encode=lambda _: rows, cache=cache)
    results = score_batch(model or LettersModel(), prepared, cache)
    outputs = OutputBuilder(
        model={"name": "m", "revision": "r", "commit": None, "dtype": "float32"},
        policy=Policy.of(0.5),
        read=READ,
        record_bytes_max=100_000,
        worker_version="0",
        truncated_alerts=truncated_alerts,
    ).build(results, judged_at="2026-01-31T09:30:00.250Z")
    return {
        one.topic: orjson.loads(one.value or b"") if one.topic is not Topic.DEAD_LETTER else {} for one in outputs
    }


def test_the_scores_of_a_text_are_the_highest_of_its_parts() -> None:
    verdict = judged(encode(60, 73, 84), ScoreCache(bytes_max=0))[Topic.VERDICT]
    scores = dict.fromkeys(CATEGORY_SLUGS, 0.01) | {CATEGORY_SLUGS[0]: 0.84, CATEGORY_SLUGS[1]: 0.73}
    assert verdict["category_scores"] == scores
    assert verdict["input"] == {
        "characters": 15,
        "tokens": 3,
        "truncated": False,
        "windows": 3,
        "views": ["raw", "plain"],
    }


def test_a_flagged_verdict_and_its_alert_say_which_part_gave_each_score() -> None:
    documents = judged(encode(60, 73, 14), ScoreCache(bytes_max=0))
    evidence = [
        {"category": CATEGORY_SLUGS[0], "view": "raw", "start": 0, "end": 9},
        {"category": CATEGORY_SLUGS[1], "view": "raw", "start": 7, "end": 15},
    ]
    assert documents[Topic.VERDICT]["evidence"] == documents[Topic.ALERT]["evidence"] == evidence


def test_a_verdict_on_windows_of_the_raw_view_names_no_views() -> None:
    verdict = judged(encode(20, 30), ScoreCache(bytes_max=0))[Topic.VERDICT]
    assert verdict["input"] == {"characters": 15, "tokens": 2, "truncated": False, "windows": 2}
    assert "evidence" not in verdict


@pytest.mark.parametrize("rows", [(60, 73, 84), (10, 20), (60,), (10,)])
def test_a_cached_text_gets_the_same_verdict(rows: tuple[int, ...]) -> None:
    cache, model = ScoreCache(bytes_max=10_000), LettersModel()
    first = judged(encode(*rows), cache, model)
    assert judged(encode(*rows), cache, model) == first
    assert model.rows == len(rows)


def test_a_part_that_breaks_the_model_makes_the_message_a_dead_letter() -> None:
    assert judged(encode(60, 0), ScoreCache(bytes_max=0)).keys() == {Topic.DEAD_LETTER}


def test_a_text_that_is_not_scored_as_a_whole_alerts_only_if_that_is_wanted() -> None:
    rows = encode(10, truncated=True)
    assert judged(rows, ScoreCache(bytes_max=0)).keys() == {Topic.VERDICT}
    documents = judged(rows, ScoreCache(bytes_max=0), truncated_alerts=True)
    assert documents[Topic.VERDICT]["flagged"] is False
    assert (documents[Topic.ALERT]["categories"], documents[Topic.ALERT]["truncated"]) == ([], True)


def test_the_cache_keeps_its_bound_with_evidence() -> None:
    cache = ScoreCache(bytes_max=448 * 4)
    for token in range(1, 9):
        prepared = prepare(
            [ConsumedRecord(Partition("chat", 0), 1, token, token, 5, None, b'{"text":"%d"}' % token, ())],
            read=READ,
            encode=lambda _: encode(60, 73),
            cache=cache,
        )
        score_batch(LettersModel(), prepared, cache)
    assert sum(bool(cache.get_many([cache.digest(str(token))])) for token in range(1, 9)) == 2
