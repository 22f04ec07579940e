import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest

from worker.moderation.cache import ENTRY_BYTES, ScoreCache
from worker.moderation.cached_scoring import score_batch
from worker.records import ConsumedRecord, Partition, PreparedMessage, PreparedRecord
from worker.scores import DeadLetterReason, Scores

POISON = DeadLetterReason(reason="model_failed", message="A sentence.")
SOURCE = ConsumedRecord(
    partition=Partition("chat", 0),
    assignment_epoch=1,
    previous_next_offset=0,
    offset=0,
    timestamp_ms=None,
    key=None,
    value=b"",
    headers=(),
)


def message(cache: ScoreCache, text: str, *, looked_up: bool = False) -> PreparedMessage:
    """Return a message: each letter is a token, an empty text is blank. With ``looked_up``, ask the cache first."""
    digest = cache.digest(text) if text else b""
    cached = cache.get_many([digest]).get(digest) if looked_up else None
    return PreparedMessage(
        message_id="",
        channel_id=None,
        user_id=None,
        sent_at=None,
        characters=len(text),
        text_digest=digest,
        tokens=[ord(letter) for letter in text] if cached is None else (),
        truncated=False,
        cached=cached,
    )


def put(cache: ScoreCache, *texts: str) -> None:
    cache.put_many([message(cache, text) for text in texts], [np.full(12, len(text), np.float32) for text in texts])


def holds(cache: ScoreCache, text: str) -> bool:
    return bool(cache.get_many([cache.digest(text)]))


class LetterScorer:
    """Scores a text by its letters; the letter x breaks it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def score(self, token_lists: Sequence[Sequence[int]]) -> list[Scores | DeadLetterReason]:
        texts = ["".join(map(chr, tokens)) for tokens in token_lists]
        self.asked += texts
        return [POISON if "x" in text else np.full(12, ord(text[0]) / 7, np.float32) for text in texts]


def scored(
    model: LetterScorer, cache: ScoreCache, *contents: PreparedMessage | DeadLetterReason | None
) -> list[bytes | DeadLetterReason | None]:
    results = score_batch(model, [PreparedRecord(source=SOURCE, content=content) for content in contents], cache)
    assert [result.record.content for result in results] == list(contents)
    return [one.scores.tobytes() if isinstance(one.scores, np.ndarray) else one.scores for one in results]


# What the cache holds


def test_cached_scores_equal_the_models_scores_bit_for_bit() -> None:
    cache = ScoreCache(bytes_max=100_000)
    scores = np.random.default_rng(1).random((3, 12), np.float32)
    messages = [message(cache, text) for text in ("a", "bb", "ccc")]
    cache.put_many(messages, list(scores))
    found = cache.get_many([cache.digest("bb"), cache.digest("d")])
    assert list(found) == [cache.digest("bb")]
    cached = found[cache.digest("bb")]
    assert (cached.scores.tobytes(), cached.tokens, cached.truncated) == (scores[1].tobytes(), 2, False)


def test_overwriting_the_batch_afterwards_does_not_change_the_cached_scores() -> None:
    cache = ScoreCache(bytes_max=100_000)
    scores = np.ones((1, 12), np.float32)
    cache.put_many([message(cache, "a")], list(scores))
    scores[:] = 0
    assert cache.get_many([cache.digest("a")])[cache.digest("a")].scores.tolist() == [1.0] * 12


def test_a_digest_differs_by_text_and_by_process() -> None:
    cache = ScoreCache(bytes_max=100_000)
    texts = ["a", "A", "a ", "á", "a\u0301", "\0", "a" * 10_000, "a" * 10_001]
    digests = [cache.digest(text) for text in texts]
    assert len({*digests}) == len(texts)
    assert {len(digest) for digest in digests} == {16}
    assert cache.digest("a") == digests[0]
    assert ScoreCache(bytes_max=0).digest("a") != digests[0]


# The bound on its memory


def test_a_full_cache_evicts_the_least_recent_text() -> None:
    cache = ScoreCache(bytes_max=3 * ENTRY_BYTES)
    put(cache, "a", "b", "c")
    assert holds(cache, "a")
    put(cache, "d")
    assert [holds(cache, text) for text in "abcd"] == [True, False, True, True]


@pytest.mark.parametrize("entries", [2_000, 10_923, 15_000])
def test_memory_stays_within_the_bound_while_the_cache_fills_and_when_it_is_full(entries: int) -> None:
    tracemalloc.start()
    cache = ScoreCache(bytes_max=entries * ENTRY_BYTES)
    for start in range(0, 2 * entries, 1000):
        put(cache, *(f"text {number}" for number in range(start, start + 1000)))
    lasting_bytes, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    a_batch_bytes = 1_000_000
    assert peak_bytes < entries * ENTRY_BYTES + a_batch_bytes
    assert 0.4 * entries * ENTRY_BYTES < lasting_bytes < entries * ENTRY_BYTES


@pytest.mark.parametrize("bytes_max", [0, ENTRY_BYTES - 1])
def test_a_cache_smaller_than_an_entry_holds_nothing(bytes_max: int) -> None:
    cache = ScoreCache(bytes_max=bytes_max)
    put(cache, "a")
    assert not holds(cache, "a")


# On the device's thread


def test_equal_texts_of_a_batch_are_scored_once_and_each_gets_the_scores() -> None:
    model, cache = LetterScorer(), ScoreCache(bytes_max=0)
    a, b, blank = (message(cache, text) for text in ("a", "b", ""))
    answers = scored(model, cache, a, b, blank, None, a, POISON, b, a)
    assert model.asked == ["a", "b"]
    assert answers[0] == answers[4] == answers[7] != answers[1] == answers[6] != None  # noqa: E711 - one chain
    assert answers[2] is answers[3] is answers[5] is None
    assert (cache.hits, cache.misses) == (3, 2)


def test_a_text_that_was_scored_after_it_was_prepared_is_not_scored_again() -> None:
    model, cache = LetterScorer(), ScoreCache(bytes_max=100_000)
    first, second = message(cache, "a"), message(cache, "a")
    assert scored(model, cache, first) == scored(model, cache, second)
    assert model.asked == ["a"]
    assert (cache.hits, cache.misses) == (1, 1)


def test_scores_that_the_preparer_found_are_used_even_after_eviction() -> None:
    model, cache = LetterScorer(), ScoreCache(bytes_max=ENTRY_BYTES)
    fresh = scored(model, cache, message(cache, "a"))
    found = message(cache, "a", looked_up=True)
    put(cache, "b")
    assert not holds(cache, "a")
    assert (found.tokens, found.token_count) == ((), 1)
    assert scored(model, cache, found) == fresh
    assert model.asked == ["a"]


def test_a_text_that_breaks_the_model_is_never_cached() -> None:
    model, cache = LetterScorer(), ScoreCache(bytes_max=100_000)
    bad, good = message(cache, "bax"), message(cache, "a")
    for _ in range(2):
        assert scored(model, cache, bad, good, bad)[::2] == [POISON, POISON]
    assert model.asked == ["bax", "a", "bax"]
    assert (cache.hits, cache.misses) == (3, 3)
