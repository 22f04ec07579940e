"""Drift: the index of a known shift, chance alone, the window, and files that the worker refuses."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.labels import CATEGORY_SLUGS
from worker.commands.calibrate.drift_reference import drift_reference
from worker.commands.prove.stub_model import StubModel
from worker.errors import ConfigurationError
from worker.moderation.drift_reference import DriftReference, ReferenceModel, ReferenceText, read_reference
from worker.moderation.score_drift import HALF_LIFE, MESSAGES_MIN, ScoreDrift, stability_index
from worker.records import ConsumedRecord, Partition, PreparedRecord, ScoredRecord
from worker.scores import DeadLetterReason
from worker.settings import load_settings
from worker.wiring import open_drift_reference, reference_text, score_drift

LIMIT = 0.25
"""Of the alert rule ModerationScoresDrift."""
TEXT = ReferenceText(
    tokens_max=512,
    characters_max=65_536,
    views=["raw", "plain"],
    windows_max=9,
    window_overlap_tokens=64,
    markup="none",
)
MODEL = ReferenceModel(name="stub", revision=StubModel.identity.revision, dtype="float32")


def chat(generator: np.random.Generator, messages: int, harm: float = 0.1) -> NDArray[np.float32]:
    """Return scores of which a share is high, and the others are near 0, as in a chat."""
    shape = (messages, len(CATEGORY_SLUGS))
    is_harmful = generator.random(shape) < harm
    return np.where(is_harmful, generator.beta(5, 2, shape), generator.beta(0.3, 12, shape)).astype(np.float32)


def reference(scores: NDArray[np.float32]) -> DriftReference:
    return drift_reference(scores, MODEL, TEXT)


def result(scores: Any) -> ScoredRecord:
    source = ConsumedRecord(
        partition=Partition("chat", 0),
        assignment_epoch=1,
        previous_next_offset=0,
        offset=0,
        timestamp_ms=None,
        key=None,
        value=b"{}",
        headers=(),
    )
    return ScoredRecord(PreparedRecord(source, None), scores)


def test_a_shift_that_is_computed_by_hand_has_its_index() -> None:
    # Halves become a quarter and three quarters: -0.25 ln 0.5 + 0.25 ln 1.5 = 0.173287 + 0.101366.
    assert stability_index(np.array([50.0, 50]), np.array([250.0, 750])) == pytest.approx(0.274653, abs=1e-6)
    # An empty bin counts half a text: 0.1 of the texts become 0.0005 of the messages.
    # (0.0005 - 0.1) ln 0.005 + (1 - 0.9) ln (1 / 0.9) = 0.527183 + 0.010536.
    assert stability_index(np.array([10.0, 90]), np.array([0.0, 1000])) == pytest.approx(0.537719, abs=1e-6)
    assert stability_index(np.array([10.0, 90, 0]), np.array([100.0, 900, 0])) == pytest.approx(0, abs=1e-12)


def test_the_index_of_messages_is_that_of_their_bins() -> None:
    column = np.repeat(np.array([0.25, 0.75], np.float32), 500)
    drift = ScoreDrift(reference(np.tile(column[:, None], len(CATEGORY_SLUGS))))
    shifted = np.repeat(np.array([0.25, 0.75], np.float32), (250, 750))
    matrix = np.tile(column[:, None], len(CATEGORY_SLUGS))
    matrix[:, 3] = shifted
    drift.observe([result(row) for row in matrix])
    # The reference's last edge is its greatest score, so the bin above it is empty in both.
    assert drift.indexes[CATEGORY_SLUGS[3]] == pytest.approx(0.274653, abs=1e-3)
    assert drift.indexes[CATEGORY_SLUGS[4]] == pytest.approx(0, abs=1e-6)


def test_a_score_that_equals_an_edge_is_in_the_lower_bin_as_in_the_reference() -> None:
    scores = np.random.default_rng(1).choice(np.array([0.1, 0.2, 0.3, 0.7], np.float32), (2000, 12))
    drift = ScoreDrift(reference(scores))
    drift.add(scores)
    assert max(drift.indexes.values()) == pytest.approx(0, abs=1e-9)


def test_chance_alone_stays_below_the_limit_of_the_alert() -> None:
    """1,000 texts and 1,000 messages, 2,400 comparisons: by chance one in four million exceeds 0.1."""
    generator = np.random.default_rng(2)
    found: list[float] = []
    for _ in range(200):
        drift = ScoreDrift(reference(chat(generator, 1000)))
        drift.add(chat(generator, MESSAGES_MIN))
        found += drift.indexes.values()
    assert max(found) < 0.1 < LIMIT
    assert np.mean(found) == pytest.approx(10 * (1 / 1000 + 1 / 1000), rel=0.1)  # the mean of the chi-squared law


def test_four_times_as_much_harm_exceeds_the_limit_of_the_alert() -> None:
    """From 10 % to 40 %, many messages have the index 0.3 ln 4 + 0.3 ln 1.5 = 0.54. All 600 exceed 0.25."""
    generator = np.random.default_rng(3)
    for _ in range(50):
        drift = ScoreDrift(reference(chat(generator, 1000)))
        drift.add(chat(generator, 2000, harm=0.4))
        assert min(drift.indexes.values()) > LIMIT


def test_too_few_messages_have_no_index() -> None:
    scores = chat(np.random.default_rng(4), 1000)
    drift = ScoreDrift(reference(scores))
    drift.add(scores[: MESSAGES_MIN - 1])
    assert drift.indexes == {}
    drift.add(scores[:1])
    assert drift.indexes.keys() == set(CATEGORY_SLUGS)


def test_old_messages_fade_however_the_messages_are_divided_among_transactions() -> None:
    generator = np.random.default_rng(5)
    drift = ScoreDrift(reference(chat(generator, 5000)))
    harmful = chat(generator, 1000, harm=0.9)
    for _ in range(HALF_LIFE // 1000):
        drift.add(harmful)
    after_harm = max(drift.indexes.values())
    calm = chat(generator, 10 * HALF_LIFE)
    for part in np.split(calm, 500):
        drift.add(part)
    assert after_harm > 1
    assert max(drift.indexes.values()) < 0.01


def test_messages_without_scores_do_not_count() -> None:
    scores = chat(np.random.default_rng(6), 1000)
    drift = ScoreDrift(reference(scores))
    drift.observe([result(row) for row in scores[:999]])
    drift.observe([result(None), result(DeadLetterReason(reason="model_failed", message="It failed."))])
    assert drift.indexes == {}


def document() -> Any:
    return reference(chat(np.random.default_rng(7), 100)).model_dump(by_alias=True)


def without(document: Any, *path: str) -> Any:
    *parents, last = path
    part = document
    for name in parents:
        part = part[name]
    del part[last]
    return document


def bins(edges: list[float], counts: list[int]) -> Any:
    changed = document()
    changed["categories"]["hate"] = {"edges": edges, "counts": counts}
    return changed


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no json", "Invalid JSON"),
        ({"schema": "calibration/1"}, "schema: Input should be 'drift-reference/1'"),
        (without(document(), "text"), "text: Field required"),
        (without(document(), "categories", "privacy"), "no bins of privacy"),
        (bins([0.5, 0.25], [50, 25, 25]), "the edges must ascend"),
        (bins([0.5], [100]), "one count more than edges"),
        (bins([0.5], [101, -1]), "greater than or equal to 0"),
        (bins([0.5], [50, 51]), "the counts of hate are not those of 100 texts"),
        (b" " * (2**20 + 1), "more than 1048576 bytes"),
    ],
)
def test_a_file_that_is_not_a_reference_is_refused_at_the_start(tmp_path: Path, content: Any, reason: str) -> None:
    path = tmp_path / "drift.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    settings = load_settings({"WORKER_DRIFT__REFERENCE": str(path)}, directory=tmp_path).settings
    with pytest.raises(ConfigurationError) as caught:
        open_drift_reference(settings)
    said = str(caught.value)
    assert said.startswith(f"WORKER_DRIFT__REFERENCE: got '{path}'; wants a file that `moderation-worker calibrate")
    assert reason in said


def test_a_file_that_does_not_exist_is_refused_with_the_other_faults_of_the_settings(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"WORKER_DRIFT__REFERENCE: got '/none'; wants a file that can be read"
    ):
        load_settings({"WORKER_DRIFT__REFERENCE": "/none"}, directory=tmp_path)


def test_a_reference_of_another_model_or_of_other_settings_of_the_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "drift.json"
    path.write_text(reference(chat(np.random.default_rng(8), 100)).model_dump_json(by_alias=True))
    found = read_reference(str(path))
    settings = load_settings({}, directory=tmp_path).settings
    assert reference_text(settings) == TEXT
    assert score_drift(found, settings, StubModel()) is not None
    other = StubModel()
    other.identity = replace(StubModel.identity, revision="1" * 16)
    with pytest.raises(ConfigurationError, match=f"the revision {'0' * 16} of stub, .* the revision {'1' * 16}"):
        score_drift(found, settings, other)
    raw = load_settings({"WORKER_TEXT__VIEWS": "raw", "WORKER_TEXT__WINDOWS_MAX": "1"}, directory=tmp_path).settings
    with pytest.raises(
        ConfigurationError, match=r"views \['raw', 'plain'\] in the file, \['raw'\] now; windows_max 9"
    ):
        score_drift(found, raw, StubModel())
    discord = load_settings({"WORKER_INPUT__SHAPE": "discord"}, directory=tmp_path).settings
    with pytest.raises(ConfigurationError, match="markup none in the file, discord now"):
        score_drift(found, discord, StubModel())
    half = StubModel()
    half.identity = replace(StubModel.identity, dtype="bfloat16")
    assert score_drift(found, settings, half) is not None
