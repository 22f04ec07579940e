"""The command `calibrate`, from the options to the exit code."""

import argparse
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from worker import wiring
from worker.commands.calibrate.calibrating import DEFAULT, CalibrationTexts, choose_all, effect, has_categories
from worker.commands.calibrate.calibration_page import calibration_page
from worker.commands.calibrate.calibration_report import (
    CalibratedRow,
    CalibrationReport,
    CalibrationSplit,
    TargetJson,
    ThresholdInterval,
)
from worker.commands.calibrate.drift_reference import drift_reference
from worker.commands.calibrate.policy_writing import calibrated_policy, policy_in_force
from worker.commands.calibrate.splitting import group_numbers, split
from worker.commands.calibrate.thresholds import Aim, CalibrationTarget, ChosenThreshold
from worker.commands.evaluate.decisions import DecisionThresholds, thresholds_of
from worker.commands.evaluate.evaluation_report import DecidingPolicyJson, model_json
from worker.commands.evaluate.labelled_command import (
    CONSOLE_COLUMNS,
    ScoredFile,
    add_file_arguments,
    score_file,
    short_percentage,
)
from worker.commands.option_values import share, whole_number
from worker.commands.report_page.page import write_reports
from worker.commands.setting_files import check_setting_files
from worker.commands.start_up import load
from worker.commands.terminal import add_json_option, check_writable, shows_table, write_text
from worker.errors import ConfigurationError, ExitCode
from worker.moderation.drift_reference import ReferenceModel
from worker.moderation.policies import Policy, parse_policy
from worker.settings import Need, variables_for

POSITIVES_MIN = 30
"""Below this number a precision of 0.9 has a Wilson interval of more than 0.2."""
HELD_OUT = 0.3
SEED = 1
GROUPS_MIN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the file, the target and the outputs."""
    parser.add_argument("file", metavar="FILE", type=Path, help="labelled texts, as `evaluate` takes them")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument(
        "--false-alarms",
        type=share,
        metavar="SHARE",
        help="largest share of the texts without the label that may be flagged, such as 0.005",
    )
    target.add_argument(
        "--precision",
        type=share,
        metavar="SHARE",
        help="lowest share of the flagged texts that must have the label, such as 0.9",
    )
    parser.add_argument("--by", choices=("language",), help="choose thresholds for each language too, as rules")
    parser.add_argument(
        "--write",
        metavar="POLICY.yaml",
        type=Path,
        default=Path("-"),
        help="write the policy file here (default: print it)",
    )
    parser.add_argument(
        "--reference", metavar="DRIFT.json", type=Path, help="write the distribution of the scores to this file"
    )
    add_file_arguments(parser)
    add_json_option(parser)
    parser.add_argument(
        "--positives-min",
        type=whole_number(1),
        default=POSITIVES_MIN,
        metavar="N",
        help=f"a category with fewer positives keeps its threshold (default: {POSITIVES_MIN})",
    )
    parser.add_argument(
        "--held-out",
        type=share,
        default=HELD_OUT,
        metavar="SHARE",
        help=f"share of the groups of texts that only show the effect (default: {HELD_OUT})",
    )
    parser.add_argument("--seed", type=int, default=SEED, help=f"seed of the split (default: {SEED})")
    parser.epilog = variables_for("model", "text", "input", "policy", "batch", "drift.reference")


def run(options: argparse.Namespace) -> ExitCode:
    """Choose thresholds from labelled texts, write a policy file, and show its effect on texts that were held out.

    Raises:
        FatalError: A setting or a file is wrong, or the model can't be loaded or breaks.
    """
    reports = options.json, options.out, options.scores
    check_writable(options.write, options.reference, *reports, inputs=[options.file])
    settings = load({Need.MODEL}).settings
    check_setting_files(settings, *reports, policy=options.write, reference=options.reference)
    given = score_file(options.file, settings, file_format=options.format, scores=options.scores)
    judged = np.flatnonzero(~np.isnan(given.scored.scores[:, 0]))
    data = CalibrationTexts(texts=given.texts, scores=given.scored.scores, groups=group_numbers(given.texts)).part(
        judged
    )
    report, policy = calibrate(data, given, options)
    write_text(options.write, policy)
    if options.reference is not None:
        model = ReferenceModel(**report.model.model_dump())
        reference = drift_reference(data.scores, model, wiring.reference_text(given.settings))
        write_text(options.reference, reference.model_dump_json(indent=2, by_alias=True) + "\n")
    write_reports(report, partial(calibration_page, report), json_path=options.json, out=options.out)
    if shows_table(options.json, options.out):
        show(Console(highlight=False, stderr=True, width=max(CONSOLE_COLUMNS, Console(stderr=True).width)), report)
    return ExitCode.DONE


def calibrate(
    data: CalibrationTexts, given: ScoredFile, options: argparse.Namespace
) -> tuple[CalibrationReport, str]:
    """Return the report and the content of the policy file.

    Raises:
        ConfigurationError: The file has too few groups of texts to split.
    """
    groups = len(set(data.groups.tolist()))
    if groups < GROUPS_MIN:
        raise ConfigurationError(
            f"{options.file} has {groups} groups of texts; at least {GROUPS_MIN} are needed, because one part "
            "chooses the thresholds, and another part shows their effect: label more texts"
        )
    parts = split(data.groups, held_out=options.held_out, seed=options.seed)
    chosen_on, held_out = data.part(parts.chosen_on), data.part(parts.held_out)
    target = _target(options)
    base = policy_in_force(given.settings)
    languages = data.languages
    before = thresholds_of(wiring.make_policy(given.settings), languages)
    by_category = has_categories(data.texts)
    asked: list[str | None] = [None, *(languages if options.by == "language" else ())]
    choices = {
        language: choose_all(chosen_on.of_language(language), before, target, by_category=by_category)
        for language in asked
    }
    values = {
        language: {slug: one.value for slug, one in found.items() if isinstance(one, ChosenThreshold)}
        for language, found in choices.items()
    }
    model = given.scored.model
    head = [
        "Written by `moderation-worker calibrate`.",
        f"Labelled texts: {options.file.name}, {len(chosen_on.texts)} of {len(data.texts)} (seed {options.seed}).",
        f"Target: {target.aim.replace('_', ' ')} {target.value:g}.",
        f"Model: {model.name}, revision {model.revision}, {model.dtype}.",
    ]
    rules = {language: own for language, own in values.items() if language is not None and own}
    content, notes = calibrated_policy(base, values[None], rules, head=head)
    after = thresholds_of(Policy.of_file(parse_policy(content.encode(), str(options.write))), languages)
    rows = [
        row
        for language, found in choices.items()
        for row in _rows(language, found, held_out, before=before, after=after)
    ]
    report = CalibrationReport(
        schema="calibration/1",
        file=options.file.name,
        format=options.format,
        model=model_json(given.scored),
        policy=DecidingPolicyJson(version=before.version, level=before.level),
        target=TargetJson(
            false_alarms=options.false_alarms, precision=options.precision, positives_min=target.positives_min
        ),
        split=CalibrationSplit(
            chosen_on=len(chosen_on.texts), held_out=len(held_out.texts), groups=groups, seed=options.seed
        ),
        not_scored=given.scored.faults,
        notes=notes,
        rows=rows,
    )
    return report, content


def _target(options: argparse.Namespace) -> CalibrationTarget:
    if options.precision is not None:
        return CalibrationTarget(aim=Aim.PRECISION, value=options.precision, positives_min=options.positives_min)
    return CalibrationTarget(aim=Aim.FALSE_ALARMS, value=options.false_alarms, positives_min=options.positives_min)


def _rows(
    language: str | None,
    found: Mapping[str, ChosenThreshold | str],
    held_out: CalibrationTexts,
    *,
    before: DecisionThresholds,
    after: DecisionThresholds,
) -> Iterator[CalibratedRow]:
    """Yield what was chosen for a language, with the effect on the held-out texts in the language."""
    part = held_out.of_language(language)
    by_category = DEFAULT not in found
    effects = [effect(part, thresholds, by_category=by_category) for thresholds in (before, after)]
    for slug, one in found.items():
        yield CalibratedRow(
            category=slug,
            language=language,
            before=before.shown(slug, language),
            chosen=None if isinstance(one, str) else ThresholdInterval(**one._asdict()),
            kept_because=one if isinstance(one, str) else None,
            held_out_before=effects[0][slug],
            held_out_after=effects[1][slug],
        )


def show(console: Console, report: CalibrationReport) -> None:
    """Print the thresholds, and what the held-out texts show."""
    console.print(
        f"{report.split.chosen_on} texts chose the thresholds; {report.split.held_out} others show the effect:\n"
    )
    table = Table(box=None)
    for column in ("category", "language", "before", "threshold", "precision %", "recall %", "false alarms %"):
        table.add_column(column, no_wrap=True, justify="left" if column in {"category", "language"} else "right")
    for row in report.rows:
        if row.chosen is not None:
            after = row.held_out_after
            shares = (short_percentage(one) for one in (after.precision, after.recall, after.false_alarm_rate))
            chosen = f"{row.chosen.value:.3f} ({row.chosen.low:.3f}-{row.chosen.high:.3f})"
            before = "-" if row.before is None else f"{row.before:g}"
            table.add_row(row.category, row.language or "all", before, chosen, *shares)
    console.print(table)
    console.print()
    for row in report.rows:
        if row.kept_because is not None:
            console.print(f"kept: {row.category}, {row.language or 'all texts'}: {row.kept_because}")
    for note in report.notes:
        console.print(note)
