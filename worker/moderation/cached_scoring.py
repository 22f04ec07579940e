"""Score a batch through the cache: each text once, and only if the cache does not hold its scores.

A text has several parts when it is long, or when a reader sees something else than was received. Its score is the
highest of its parts, for each category. So no text gets a lower score than its first part, which is what the model
card scores.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import islice
from typing import Protocol, cast

import numpy as np

from worker.moderation.cache import ScoreCache
from worker.records import PreparedMessage, PreparedRecord, ScoredRecord
from worker.scores import DeadLetterReason, Evidence, Scores


class Scorer(Protocol):
    """The model."""

    def score(self, token_lists: Sequence[Sequence[int]]) -> Sequence[Scores | DeadLetterReason]:
        """Return ``[B][L]`` probabilities of ``B`` texts, in order.

        A text that breaks the model gets the reason of its dead letter in place of probabilities.

        Args:
            token_lists: The token ids of each text; no text has zero tokens.
        """


def score_batch(scorer: Scorer, batch: Sequence[PreparedRecord], cache: ScoreCache) -> list[ScoredRecord]:
    """Return each record of a batch with its scores, in order; runs in the device's thread.

    The cache is asked again, because the scores of a text can have arrived since the text was prepared. Equal texts
    of the batch share one row of the model's batch.
    """
    contents = [record.content for record in batch]
    messages = [content for content in contents if isinstance(content, PreparedMessage) and content.text_digest]
    uncached = {message.text_digest: message for message in messages if message.cached is None}
    found = cache.get_many(uncached)
    to_score = (
        [message for digest, message in uncached.items() if digest not in found] if found else [*uncached.values()]
    )
    answers, evidence = _scored(scorer, to_score)
    cache.put_many(to_score, answers, evidence)
    cache.hits += len(messages) - len(to_score)
    cache.misses += len(to_score)
    known = [(message.text_digest, message.cached) for message in messages if message.cached is not None]
    scores: dict[bytes, Scores | DeadLetterReason] = {}
    for digest, cached in (*known, *found.items()):
        scores[digest] = cached.scores
        if cached.evidence is not None:
            evidence[digest] = cached.evidence
    scores.update(zip([message.text_digest for message in to_score], answers, strict=True))
    digests = [content.text_digest if isinstance(content, PreparedMessage) else b"" for content in contents]
    if not evidence:
        return [*map(ScoredRecord, batch, map(scores.get, digests))]
    return [*map(ScoredRecord, batch, map(scores.get, digests), map(evidence.get, digests))]


def _scored(
    scorer: Scorer, messages: Sequence[PreparedMessage]
) -> tuple[Sequence[Scores | DeadLetterReason], dict[bytes, Evidence]]:
    """Return the scores of each message, and by text digest the evidence of those with several parts."""
    rows = [message.tokens for message in messages]
    several = [(index, message) for index, message in enumerate(messages) if message.further_rows]
    if not several:
        return (scorer.score(rows) if rows else ()), {}
    rows += [row for _, message in several for row in message.further_rows]
    scored = scorer.score(rows)
    answers, further = [*scored[: len(messages)]], iter(scored[len(messages) :])
    evidence = {}
    by_parts: dict[int, list[tuple[int, PreparedMessage, list[Scores]]]] = defaultdict(list)
    for index, message in several:
        parts = [answers[index], *islice(further, len(message.further_rows))]
        failed = [part for part in parts if isinstance(part, DeadLetterReason)]
        if failed:
            answers[index] = failed[0]
        else:
            by_parts[len(parts)].append((index, message, cast("list[Scores]", parts)))
    for number, texts in by_parts.items():
        # One matrix for all texts with as many parts: most of numpy's costs are those of a call.
        matrix = np.concatenate([part for _, _, parts in texts for part in parts]).reshape(len(texts), number, -1)
        highest, places = matrix.max(axis=1), matrix.argmax(axis=1).tolist()
        for (index, message, _), scores, of_text in zip(texts, highest, places, strict=True):
            answers[index] = scores
            passages = message.passages
            views = list(dict.fromkeys([passage.view for passage in passages]))
            evidence[message.text_digest] = Evidence(number, views, [*map(passages.__getitem__, of_text)])
    return answers, evidence
