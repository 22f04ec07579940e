"""The report of `calibrate` for people. Pure."""

from collections.abc import Iterator

from worker.commands.calibrate.calibration_report import CalibratedRow, CalibrationReport
from worker.commands.evaluate.evaluation_page import category_name, number, percentage
from worker.commands.report_page.page import ReportPage, ReportSection, ReportTable

CHOSEN = ("category", "threshold before", "threshold after", "95 % interval")
EFFECT = (
    "category",
    "positives",
    "negatives",
    "precision before",
    "precision after",
    "recall before",
    "recall after",
    "false alarms before",
    "false alarms after",
)
KEPT = ("category", "language", "reason")


def calibration_page(report: CalibrationReport) -> ReportPage:
    """Return the page."""
    languages = dict.fromkeys(row.language for row in report.rows)
    sections = [
        _section(language, [row for row in report.rows if row.language == language]) for language in languages
    ]
    kept = [
        (_name(row), row.language or "all texts", row.kept_because)
        for row in report.rows
        if row.kept_because is not None
    ]
    if kept:
        table = ReportTable(caption="Categories whose thresholds are kept, and why", columns=KEPT, rows=kept)
        sections.append(ReportSection(title="Kept thresholds", tables=[table]))
    return ReportPage(
        title=f"Calibration on {report.file}", paragraphs=list(_paragraphs(report)), sections=sections
    )


def _paragraphs(report: CalibrationReport) -> Iterator[str]:
    target = report.target
    if target.precision is not None:
        yield f"Target: at least {target.precision:.1%} of the flagged texts have the label."
    elif target.false_alarms is not None:
        yield f"Target: at most {target.false_alarms:.2%} of the texts without the label are flagged."
    yield (
        f"{report.split.chosen_on} texts chose the thresholds, {report.split.held_out} others show the effect. "
        f"The {report.split.groups} groups of texts were kept together. Seed {report.split.seed}."
    )
    yield (
        f"Scored by {report.model.name} (revision {report.model.revision}, {report.model.dtype}). The policy in "
        f"force was {report.policy.version}."
    )
    yield from report.notes


def _section(language: str | None, rows: list[CalibratedRow]) -> ReportSection:
    title = "All texts" if language is None else f"Language {language}"
    chosen = [
        (
            _name(row),
            number(row.before, "g"),
            f"{row.chosen.value:.4f}",
            f"{row.chosen.low:.4f} to {row.chosen.high:.4f}",
        )
        for row in rows
        if row.chosen is not None
    ]
    return ReportSection(
        title=title,
        paragraphs=() if chosen else ["Every threshold is kept."],
        tables=[
            *([ReportTable(caption=f"New thresholds: {title}", columns=CHOSEN, rows=chosen)] if chosen else ()),
            ReportTable(
                caption=f"Effect on the texts that were held out: {title}",
                columns=EFFECT,
                rows=[_effect(row) for row in rows],
            ),
        ],
    )


def _effect(row: CalibratedRow) -> list[str]:
    before, after = row.held_out_before, row.held_out_after
    pairs = (
        (before.precision, after.precision),
        (before.recall, after.recall),
        (before.false_alarm_rate, after.false_alarm_rate),
    )
    return [
        _name(row),
        str(after.positives),
        str(after.negatives),
        *(percentage(one) for pair in pairs for one in pair),
    ]


def _name(row: CalibratedRow) -> str:
    return "All categories" if row.category == "default" else category_name(row.category)
