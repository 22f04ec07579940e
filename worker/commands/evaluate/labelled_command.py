"""`evaluate FILE`: score labelled texts, and write the figures as a table, a JSON document and a page."""

import argparse
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from worker import wiring
from worker.commands.evaluate.decisions import thresholds_of
from worker.commands.evaluate.evaluation_page import UNDEFINED, evaluation_page, number
from worker.commands.evaluate.evaluation_report import UNSAFE, EvaluationReport, build_report
from worker.commands.evaluate.figures import Proportion
from worker.commands.evaluate.labelled_texts import LabelledText
from worker.commands.evaluate.published_sets import FORMATS, SetFormat, read_labelled_texts
from worker.commands.evaluate.text_scoring import ScoredTexts, TextScorer, score_with_progress
from worker.commands.report_page.page import extra_missing, write_reports
from worker.commands.setting_files import check_setting_files
from worker.commands.start_up import load
from worker.commands.terminal import check_writable, progress, shows_table
from worker.errors import ExitCode
from worker.settings import Need, Settings


def add_file_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a command that scores a file of labelled texts."""
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="jsonl",
        help="format of FILE: jsonl (text, labels or unsafe, language, group), or a published set (default: jsonl)",
    )
    parser.add_argument(
        "--scores",
        metavar="SCORES",
        type=Path,
        help="keep the scores in this file, so that a run that was cut off goes on where it was",
    )
    parser.add_argument("--out", metavar="PAGE.html", type=Path, help="write a page for people to this file")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredFile:
    """A file of labelled texts with the scores of the texts.

    Attributes:
        texts: The labelled texts.
        scored: Their scores.
        settings: The settings in effect.
    """

    texts: Sequence[LabelledText]
    scored: ScoredTexts
    settings: Settings


def score_file(path: Path, settings: Settings, *, file_format: SetFormat, scores: Path | None) -> ScoredFile:
    """Read a file of labelled texts, and score the texts that the score file does not hold.

    Raises:
        FatalError: The extra is missing, a file is wrong, or the model can't be loaded or breaks.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise extra_missing()
    texts = read_labelled_texts(path, file_format)
    scorer = TextScorer(settings, wiring.open_classifier(settings, progress))
    return ScoredFile(
        texts=texts, scored=score_with_progress(scorer, [one.text for one in texts], scores), settings=settings
    )


def evaluate_file(options: argparse.Namespace) -> ExitCode:
    """Evaluate a file of labelled texts.

    Raises:
        FatalError: A setting or a file is wrong, or the model can't be loaded or breaks.
    """
    outputs = options.json, options.out, options.scores
    check_writable(*outputs, inputs=[options.file])
    settings = load({Need.MODEL}, os.environ).settings
    check_setting_files(settings, *outputs)
    given = score_file(options.file, settings, file_format=options.format, scores=options.scores)
    thresholds = thresholds_of(wiring.make_policy(given.settings), [one.language for one in given.texts])
    report = build_report(given.texts, given.scored, thresholds, file=options.file.name, file_format=options.format)
    make_page = partial(evaluation_page, report, given.texts, given.scored.scores, thresholds)
    write_reports(report, make_page, json_path=options.json, out=options.out)
    if shows_table(options.json, options.out):
        show(Console(highlight=False, width=max(CONSOLE_COLUMNS, Console().width)), report)
    return ExitCode.DONE


def short_percentage(one: Proportion | None) -> str:
    """Return a proportion for a narrow column, such as ``12.5 (10.1-15.3)``."""
    return UNDEFINED if one is None else f"{100 * one.value:.1f} ({100 * one.low:.1f}-{100 * one.high:.1f})"


CONSOLE_COLUMNS = 120
"""Width of the tables, so that no cell is broken in a pipe."""


def show(console: Console, report: EvaluationReport) -> None:
    """Print a table for each language: the decision over all categories, and the categories that have positives."""
    console.print(f"{report.texts} texts, model {report.model.name}, policy {report.policy.version}")
    for reason, count in report.not_scored.items():
        console.print(f"{count} texts could not be scored: {reason}")
    for language in dict.fromkeys(row.language for row in report.rows):
        table = Table(box=None, title="all texts" if language is None else language, title_justify="left")
        for column in ("category", "positives", "AP", "AUC", "precision %", "recall %", "false alarms %", "F1"):
            table.add_column(column, no_wrap=True, justify="left" if column == "category" else "right")
        for row in report.rows:
            if row.language == language and (row.positives or row.category == UNSAFE):
                areas = (number(area, ".3f") for area in (row.average_precision, row.auc))
                shares = (short_percentage(one) for one in (row.precision, row.recall, row.false_alarm_rate))
                table.add_row(row.category, str(row.positives), *areas, *shares, number(row.f1, ".3f"))
        console.print()
        console.print(table)
