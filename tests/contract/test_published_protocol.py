"""`evaluate` decides as DuoGuard's published evaluation, with each architecture, on made-up files of the sets."""

from pathlib import Path

import pytest

from tests.published_protocol import PARITY_SETTINGS, PublishedProtocol, disagreements, make_protocol_model
from tests.small_models import SENTENCES
from worker import wiring
from worker.commands.evaluate.published_sets import SetFormat, read_labelled_texts
from worker.commands.evaluate.text_scoring import TextScorer
from worker.settings import Need, load_settings

SETS = Path(__file__).parents[1] / "published_sets"
FILES: tuple[tuple[str, SetFormat], ...] = (
    ("xstest.csv", "xstest"),
    ("openai.json", "openai"),
    ("toxicchat.json", "toxicchat"),
    ("beavertails.jsonl", "beavertails"),
    ("rtp-lx.json", "rtp-lx"),
    ("xsafety.json", "xsafety"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["demo", "qwen2", "llama"])
def test_evaluate_decides_as_the_published_evaluation(tmp_path: Path, name: str) -> None:
    folder = make_protocol_model(tmp_path, name)
    texts = [one.text for file, kind in FILES for one in read_labelled_texts(SETS / file, kind)]
    # A special token that a user typed is plain text for the worker, and a command in the published evaluation.
    texts += [text for text in SENTENCES if "<|" not in text]
    texts += [f"{texts[0]} {'again ' * 2500}"]  # longer than 2,048 tokens
    settings = load_settings({"WORKER_MODEL__PATH": str(folder), **PARITY_SETTINGS}, {Need.MODEL}).settings
    model = wiring.open_classifier(settings, lambda _: None)
    found = TextScorer(settings, model).score(texts, None, lambda _: None)
    published = PublishedProtocol(folder)
    scores = [published.score(text) for text in texts]
    highest = found.scores.max(axis=1)
    assert disagreements(scores, highest) == []
    assert max(abs(one - other) for one, other in zip(scores, highest.tolist(), strict=True)) < 5e-2
    if name != "demo":
        assert 0 < sum(score > 0.5 for score in scores) < len(scores)
