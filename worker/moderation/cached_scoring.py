"""Score a batch through the cache: each text once, and only if the cache does not hold its scores."""

from collections.abc import Sequence
from typing import Protocol

from worker.moderation.cache import ScoreCache
from worker.records import DeadLetterReason, PreparedMessage, PreparedRecord, ScoredRecord, Scores


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
    messages = [
        content
        for record in batch
        if isinstance(content := record.content, PreparedMessage) and content.text_digest
    ]
    uncached = {message.text_digest: message for message in messages if message.cached is None}
    found = cache.get_many(uncached)
    to_score = (
        [message for digest, message in uncached.items() if digest not in found] if found else [*uncached.values()]
    )
    answers = scorer.score([message.tokens for message in to_score]) if to_score else ()
    cache.put_many(to_score, answers)
    cache.hits += len(messages) - len(to_score)
    cache.misses += len(to_score)
    scores: dict[bytes, Scores | DeadLetterReason] = {
        message.text_digest: message.cached.scores for message in messages if message.cached is not None
    }
    scores.update((digest, cached.scores) for digest, cached in found.items())
    scores.update(zip([message.text_digest for message in to_score], answers, strict=True))
    return [ScoredRecord(record, scores.get(record.text_digest)) for record in batch]
