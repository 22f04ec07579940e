"""The report of `evaluate`: the figures of each category and language, as a document. Pure."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from schemas.labels import CATEGORY_SLUGS
from worker.commands.evaluate.decisions import DecisionThresholds
from worker.commands.evaluate.figures import LabelFigures, ReportPart, label_figures
from worker.commands.evaluate.labelled_texts import LabelledText, label_matrix, unsafe_column
from worker.commands.evaluate.text_scoring import ScoredTexts

UNSAFE = "unsafe"
"""The row of the decision over all categories. Its score is the highest score of a category that is on."""


class ScoringModelJson(ReportPart):
    """The model that scored."""

    name: str
    """The model's name on the hub, or its folder's name."""
    revision: str
    """The first 16 digits of the digest of the model's files."""
    dtype: str
    """float32 or bfloat16."""


class DecidingPolicyJson(ReportPart):
    """The policy that decided."""

    version: str
    """The policy's version."""
    level: str | None
    """The mildest level of the policy, whose thresholds decided; null without a policy file."""


class EvaluationRow(LabelFigures):
    """The figures of one category in one language."""

    category: str
    """A category's slug; unsafe: the decision over all categories."""
    language: str | None
    """The language; null: all texts of the file."""
    threshold: float | None
    """A score greater than this is flagged; null if the category is off, differs by language, or is unsafe."""


class EvaluationReport(ReportPart):
    """What `moderation-worker evaluate FILE --json REPORT` writes."""

    schema_: Literal["evaluation/1"] = Field(alias="schema")
    """The layout of this document."""
    file: str
    """The name of the file of labelled texts."""
    format: str
    """The format of the file."""
    texts: int = Field(ge=0)
    """Texts that were scored."""
    not_scored: dict[str, int]
    """Texts that could not be scored, by the reason of their dead letter. They count in no figure."""
    model: ScoringModelJson
    """The model that scored."""
    policy: DecidingPolicyJson
    """The policy that decided."""
    rows: list[EvaluationRow]
    """First all texts, then each language; in each the decision over all categories, then the categories."""


def build_report(
    texts: Sequence[LabelledText],
    scored: ScoredTexts,
    thresholds: DecisionThresholds,
    *,
    file: str,
    file_format: str,
) -> EvaluationReport:
    """Return the report of texts with their scores."""
    judged = ~np.isnan(scored.scores[:, 0])
    return EvaluationReport(
        schema="evaluation/1",
        file=file,
        format=file_format,
        texts=int(judged.sum()),
        not_scored=scored.faults,
        model=model_json(scored),
        policy=DecidingPolicyJson(version=thresholds.version, level=thresholds.level),
        rows=list(
            _rows(
                [one for one, is_judged in zip(texts, judged, strict=True) if is_judged],
                scored.scores[judged],
                thresholds,
            )
        ),
    )


def model_json(scored: ScoredTexts) -> ScoringModelJson:
    """Return the model that scored, for a report."""
    return ScoringModelJson(name=scored.model.name, revision=scored.model.revision, dtype=scored.model.dtype)


def _rows(
    texts: Sequence[LabelledText], scores: NDArray[np.float32], thresholds: DecisionThresholds
) -> Iterator[EvaluationRow]:
    spoken = [one.language for one in texts]
    languages = sorted({language for language in spoken if language is not None})
    for language in (None, *languages):
        chosen = np.array([language is None or one == language for one in spoken], np.bool_)
        part = [one for one, is_chosen in zip(texts, chosen, strict=True) if is_chosen]
        yield from _rows_of_language(language, part, scores[chosen], thresholds)


def _rows_of_language(
    language: str | None, texts: Sequence[LabelledText], scores: NDArray[np.float32], thresholds: DecisionThresholds
) -> Iterator[EvaluationRow]:
    matrix = thresholds.matrix([one.language for one in texts])
    flags: NDArray[np.bool_] = scores > matrix
    is_flagged = np.array(flags.any(axis=1), np.bool_)
    figures = label_figures(highest_scores(scores, matrix), is_flagged, unsafe_column(texts))
    yield EvaluationRow(category=UNSAFE, language=language, threshold=None, **figures.model_dump())
    labels = label_matrix(texts)
    for index, slug in enumerate(CATEGORY_SLUGS):
        figures = label_figures(scores[:, index], flags[:, index], labels[:, index])
        one = matrix[0, index] if len(matrix) and (matrix[:, index] == matrix[0, index]).all() else np.inf
        threshold = float(str(one)) if np.isfinite(one) else None  # the shortest text of the float32
        yield EvaluationRow(category=slug, language=language, threshold=threshold, **figures.model_dump())


def highest_scores(scores: NDArray[np.float32], thresholds: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the ``[N]`` highest score of each text, over the categories that are on; 0 when all are off."""
    highest: NDArray[np.float32] = np.where(np.isfinite(thresholds), scores, np.float32(0)).max(axis=1)
    return highest
