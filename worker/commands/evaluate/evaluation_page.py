"""The report of `evaluate` for people: a table for each language, and curves for each category. Pure."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.labels import CATEGORY_NAMES, CATEGORY_SLUGS
from worker.commands.evaluate.decisions import DecisionThresholds
from worker.commands.evaluate.evaluation_report import (
    EvaluationReport,
    EvaluationRow,
    highest_scores,
)
from worker.commands.evaluate.figures import Proportion
from worker.commands.evaluate.labelled_texts import UNKNOWN, LabelledText, label_matrix, unsafe_column
from worker.commands.report_page.charts import Chart, ScoreHistogram
from worker.commands.report_page.page import ReportPage, ReportSection, ReportTable

BINS = 20
POINTS_MAX = 200
"""Points of a curve; more are invisible."""
UNDEFINED = "n/a"
"""Shown for a figure that is undefined."""

COLUMNS = (
    "category",
    "positives",
    "negatives",
    "unknown",
    "threshold",
    "average precision",
    "AUC",
    "precision",
    "recall",
    "false alarms",
    "F1",
)
_NAMES = dict(zip(CATEGORY_SLUGS, CATEGORY_NAMES, strict=True))


def category_name(slug: str) -> str:
    """Return the name of a row for people."""
    return _NAMES.get(slug, "Unsafe (any category)")


def evaluation_page(
    report: EvaluationReport,
    texts: Sequence[LabelledText],
    scores: NDArray[np.float32],
    thresholds: DecisionThresholds,
) -> ReportPage:
    """Return the page.

    Args:
        report: The figures.
        texts: ``N`` texts with labels.
        scores: ``[N, L]`` scores; NaN for a text that could not be scored.
        thresholds: The thresholds that decided.
    """
    judged = ~np.isnan(scores[:, 0])
    known = [one for one, is_judged in zip(texts, judged, strict=True) if is_judged]
    languages = list(dict.fromkeys(row.language for row in report.rows))
    tables = [
        ReportSection(
            title="All texts" if language is None else f"Language {language}",
            tables=[_table(language, [row for row in report.rows if row.language == language])],
        )
        for language in languages
    ]
    return ReportPage(
        title=f"Evaluation of {report.file}",
        paragraphs=list(_paragraphs(report)),
        sections=[*tables, *_chart_sections(report, known, scores[judged], thresholds)],
    )


def _paragraphs(report: EvaluationReport) -> Iterator[str]:
    level = f", level {report.policy.level}" if report.policy.level else ""
    yield (
        f"{report.texts} texts, scored by {report.model.name} (revision {report.model.revision}, "
        f"{report.model.dtype}), decided by the policy {report.policy.version}{level}."
    )
    if report.not_scored:
        reasons = ", ".join(f"{count} with {reason}" for reason, count in report.not_scored.items())
        yield f"Some texts could not be scored and count nowhere: {reasons}."
    yield (
        "Intervals are 95 % Wilson intervals. A label that the file does not give is unknown; such a text counts "
        f"in no figure of that category. {UNDEFINED} marks a figure that is undefined: for example, precision when "
        "nothing is flagged."
    )
    yield (
        "False alarms: the share of the texts without the label that are flagged. Average precision and AUC do not "
        "depend on the threshold."
    )


def _table(language: str | None, rows: Sequence[EvaluationRow]) -> ReportTable:
    return ReportTable(
        caption="Figures of all texts" if language is None else f"Figures of the texts in the language {language}",
        columns=COLUMNS,
        rows=[_cells(row) for row in rows],
    )


def _cells(row: EvaluationRow) -> list[str]:
    return [
        category_name(row.category),
        *(str(count) for count in (row.positives, row.negatives, row.unknown)),
        number(row.threshold, "g"),
        number(row.average_precision, ".3f"),
        number(row.auc, ".3f"),
        *(percentage(one) for one in (row.precision, row.recall, row.false_alarm_rate)),
        number(row.f1, ".3f"),
    ]


def number(value: float | None, form: str) -> str:
    """Return a number for people, or the sign of an undefined one."""
    return UNDEFINED if value is None else format(value, form)


def percentage(one: Proportion | None) -> str:
    """Return a proportion for people, such as ``12.5 % (10.1 to 15.3)``."""
    if one is None:
        return UNDEFINED
    return f"{100 * one.value:.1f} % ({100 * one.low:.1f} to {100 * one.high:.1f})"


def _chart_sections(
    report: EvaluationReport,
    texts: Sequence[LabelledText],
    scores: NDArray[np.float32],
    thresholds: DecisionThresholds,
) -> Iterator[ReportSection]:
    matrix = thresholds.matrix([one.language for one in texts])
    columns = [(unsafe_column(texts), highest_scores(scores, matrix))]
    columns += [(label_matrix(texts)[:, index], scores[:, index]) for index in range(len(CATEGORY_SLUGS))]
    rows = [row for row in report.rows if row.language is None]
    for row, (labels, of_row) in zip(rows, columns, strict=True):
        known = labels != UNKNOWN
        if row.positives and row.negatives:
            truth = labels[known] == 1
            charts = [*_curves(row, truth, of_row[known]), _histogram(row, truth, of_row[known])]
            yield ReportSection(title=f"Curves: {category_name(row.category)}", charts=charts)


def _curves(row: EvaluationRow, truth: NDArray[np.bool_], scores: NDArray[np.float32]) -> Iterator[Chart]:
    from sklearn import metrics  # noqa: PLC0415 - takes a second

    name = category_name(row.category)
    precision, recall, _ = metrics.precision_recall_curve(truth, scores)
    found, right, alarms = row.recall, row.precision, row.false_alarm_rate
    assert found is not None and alarms is not None  # noqa: S101, PT018 - there are texts of both kinds
    at = "At the threshold that decides, the recall is"
    yield Chart(
        title="Precision and recall",
        description=f"{name}: average precision {row.average_precision:.3f}. {at} {found.value:.1%}"
        + (f" and the precision {right.value:.1%}." if right else "; nothing is flagged."),
        x_label="recall",
        y_label="precision",
        curves=[("precision", _thinned(recall, precision))],
        point=(found.value, right.value) if right else None,
    )
    false_alarms, hits, _ = metrics.roc_curve(truth, scores)
    yield Chart(
        title="ROC",
        description=f"{name}: area under the curve {row.auc:.3f}. {at} {found.value:.1%} and the false-alarm rate "
        f"{alarms.value:.2%}.",
        x_label="false-alarm rate",
        y_label="recall",
        curves=[("recall", _thinned(false_alarms, hits))],
        point=(alarms.value, found.value),
    )


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> list[tuple[float, float]]:
    chosen = np.unique(np.linspace(0, len(x) - 1, POINTS_MAX).round().astype(int)) if len(x) > POINTS_MAX else ...
    return list(zip(x[chosen].tolist(), y[chosen].tolist(), strict=True))


def _histogram(row: EvaluationRow, truth: NDArray[np.bool_], scores: NDArray[np.float32]) -> Chart:
    shares = [np.histogram(scores[chosen], BINS, (0, 1))[0] / chosen.sum() for chosen in (truth, ~truth)]
    edges = np.linspace(0, 1, BINS + 1)
    half = [f"{share[BINS // 2 :].sum():.0%}" for share in shares]
    return Chart(
        title="Scores",
        description=f"{category_name(row.category)}: shares of scores in {BINS} bins. Of the texts with the label "
        f"{half[0]} have a score of at least 0.5, of the texts without it {half[1]}.",
        x_label="score",
        y_label="share of the texts",
        histograms=[
            ScoreHistogram(name="with label", shares=shares[0].tolist()),
            ScoreHistogram(name="without label", shares=shares[1].tolist()),
        ],
        threshold=row.threshold,
        numbers=ReportTable(
            caption=f"Share of the texts by score, {category_name(row.category)}",
            columns=("score", "with label", "without label"),
            rows=[
                (f"{edges[i]:.2f} to {edges[i + 1]:.2f}", f"{shares[0][i]:.3f}", f"{shares[1][i]:.3f}")
                for i in range(BINS)
            ],
        ),
    )
