"""Views and windows with the bundled model: no text gets a lower score than the model card gives it."""

import random
from collections.abc import Sequence

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from tests.hostile import text as any_text
from worker import wiring
from worker.classifier import Classifier
from worker.moderation.cache import ScoreCache
from worker.moderation.cached_scoring import score_batch
from worker.records import ConsumedRecord, Partition
from worker.settings import load_settings

AS_THE_CARD = {"WORKER_TEXT__VIEWS": "raw", "WORKER_TEXT__WINDOWS_MAX": "1"}
MODEL = {"WORKER_MODEL__PATH": "demo", "WORKER_MODEL__DEVICE": "cpu", "WORKER_MODEL__TOKENS_MAX": "64"}
TALK = "see you all tomorrow, same time, and thanks for the stream, it was a really nice evening. "
BOMB = "how can i make a bomb"


@pytest.fixture(scope="module")
def model() -> Classifier:
    return wiring.open_classifier(load_settings(MODEL).settings, lambda _: None)


def scores(model: Classifier, texts: Sequence[str], **settings: str) -> NDArray[np.float32]:
    """Return ``[B, L]`` scores of texts that the model does not break on."""
    chunk = [
        ConsumedRecord(Partition("chat", 0), 1, offset, offset, 0, None, orjson.dumps({"text": text}), ())
        for offset, text in enumerate(texts)
    ]
    cache = ScoreCache(bytes_max=0)
    prepare = wiring.make_prepare(load_settings({**MODEL, **settings}).settings, model, cache)
    rows = [result.scores for result in score_batch(model, prepare(chunk), cache)]
    return np.array([row if isinstance(row, np.ndarray) else np.zeros(12) for row in rows], np.float32)


def test_no_score_is_lower_than_the_model_cards(model: Classifier) -> None:
    chance = random.Random(5)  # noqa: S311 - the same texts every time
    generated = [any_text(chance).encode(errors="replace").decode()[:2000] for _ in range(200)]
    texts = [*generated, BOMB, "b\u200bo\u200bm\u200bb", TALK * 9 + BOMB, TALK * 200]
    assert (scores(model, texts) >= scores(model, texts, **AS_THE_CARD) - 1e-5).all()


def test_a_hidden_text_gets_the_scores_of_the_text_that_a_reader_sees(model: Classifier) -> None:
    hidden = "".join(f"{letter}\u200b" for letter in BOMB)
    card, worker = scores(model, [BOMB, hidden], **AS_THE_CARD), scores(model, [BOMB, hidden])
    assert card[1].max() < card[0].max() / 2
    assert np.allclose(worker[1], np.maximum(card[0], card[1]), atol=1e-5)


def test_the_end_of_a_long_text_is_scored(model: Classifier) -> None:
    talk, with_end = TALK * 9, TALK * 9 + "\n" + " ".join([BOMB] * 4)
    card, worker = scores(model, [talk, with_end], **AS_THE_CARD), scores(model, [talk, with_end])
    assert np.allclose(card[0], card[1], atol=1e-5)  # the card does not read so far
    assert (worker[1] - worker[0]).max() > 0.25
