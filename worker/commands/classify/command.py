"""The command `classify`, from the options to the exit code."""

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from typing import cast

from rich.console import Console

from worker import wiring
from worker.commands.classify.bars import show_texts
from worker.commands.classify.lines import InputLine, LineJudge, Readable, judge_lines, lines_of, read_lines
from worker.commands.start_up import load
from worker.commands.terminal import progress
from worker.errors import ExitCode
from worker.moderation.cache import ScoreCache
from worker.moderation.policies import unscored_by
from worker.moderation.shapes import TEXT_SHAPE, compile_shape
from worker.settings import Need, Settings, variables_for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to judge, and two settings that are often changed for a trial."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "text",
        nargs="*",
        default=[],
        metavar="TEXT",
        help="a text to judge; default: standard input, with a text per line",
    )
    what.add_argument(
        "--jsonl",
        action="store_true",
        help="read a message per line from standard input, and write a verdict per line",
    )
    parser.add_argument("--model", help="the model, instead of WORKER_MODEL__PATH")
    parser.add_argument("--threshold", help="the threshold, instead of WORKER_POLICY__THRESHOLD")
    parser.epilog = variables_for("model", "text", "policy", "input", "batch", "cache")


def run(options: argparse.Namespace) -> ExitCode:
    """Judge texts for people, or with ``--jsonl`` messages for programs.

    Raises:
        FatalError: A setting is wrong, or the model can't be loaded or breaks.
    """
    overrides = {"WORKER_MODEL__PATH": options.model, "WORKER_POLICY__THRESHOLD": options.threshold}
    given = {variable: text for variable, text in overrides.items() if text is not None}
    settings = load({Need.MODEL}, {**os.environ, **given}).settings
    policy = wiring.make_policy(settings)
    model = wiring.open_classifier(settings, progress)
    bytes_max = settings.input.bytes_max
    read = wiring.input_reader(settings) if options.jsonl else compile_shape(TEXT_SHAPE, bytes_max=bytes_max)
    plain_text = wiring.plain_text_of(settings, model)
    judge = LineJudge(
        scorer=model,
        encode=wiring.text_encoder(settings, model, plain_text),
        read=read,
        bytes_max=bytes_max,
        cache=ScoreCache(bytes_max=settings.cache.bytes_max),
        find_unscored=unscored_by(policy),
    )
    lines = [lines_of(options.text)] if options.text else _standard_input(settings, bytes_max)
    if options.jsonl:
        outputs = wiring.make_outputs(settings, model, policy)
        good = judge_lines(lines, sys.stdout.buffer, judge=judge, outputs=outputs, now=wiring.now_rfc3339)
    else:
        plain_view = None if plain_text is None else plain_text.plain
        console = Console(highlight=False)
        good = show_texts(lines, console, judge=judge, policy=policy, plain_view=plain_view)
    return ExitCode.DONE if good else ExitCode.OTHER


def _standard_input(settings: Settings, bytes_max: int) -> Iterable[Sequence[InputLine]]:
    source = cast("Readable", sys.stdin.buffer)  # declared as what any binary stream can do
    return read_lines(source, bytes_max=bytes_max, lines_max=settings.batch.records_max)
