"""The command `compare`, from the options to the exit code."""

import argparse
import os
import time
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from worker.commands.compare.comparison import ComparisonReport, compare_verdicts, lists_of_examples
from worker.commands.compare.comparison_page import comparison_page
from worker.commands.compare.joining import VerdictSet
from worker.commands.dead_letters import parse_since
from worker.commands.evaluate.labelled_command import CONSOLE_COLUMNS
from worker.commands.option_values import whole_number
from worker.commands.policy.stored_verdicts import Chunks, chunks_of, names_a_file
from worker.commands.replay.originals import NO_ORIGINALS, Originals, originals_of_topic
from worker.commands.report_page.page import write_reports
from worker.commands.terminal import add_json_option, check_writable, shows_table
from worker.errors import ConfigurationError, ExitCode
from worker.logs import escaped
from worker.settings import Need, admin_config, load_settings, variables_for

SINCE = "24h"
EXAMPLES = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the two sides and the outputs."""
    what = "a verdict topic; or a file with a verdict a line: a name with a slash, or with .json, .jsonl or .gz"
    parser.add_argument("a", metavar="A", help=what)
    parser.add_argument("b", metavar="B", help=what)
    parser.add_argument(
        "--since",
        default=SINCE,
        help=f"read topics from this time: 90m, 24h or 7d ago, or an RFC 3339 time (default: {SINCE})",
    )
    parser.add_argument(
        "--examples",
        type=whole_number(0),
        default=EXAMPLES,
        metavar="N",
        help=f"examples to show of each change (default: {EXAMPLES})",
    )
    parser.add_argument(
        "--copies",
        metavar="TOPIC",
        help="a topic that `replay` has written to: verdicts on its copies count as verdicts on the originals",
    )
    parser.add_argument("--out", metavar="PAGE.html", type=Path, help="write a page for people to this file")
    add_json_option(parser)
    parser.epilog = variables_for("kafka")


def run(options: argparse.Namespace) -> ExitCode:
    """Join two sets of verdicts by the input record, and say what differs. Changes nothing.

    Raises:
        FatalError: A setting or a file is wrong, or a topic can't be read.
    """
    files = [Path(name) for name in (options.a, options.b) if names_a_file(name)]
    check_writable(options.json, options.out, inputs=files)
    reads_kafka = options.copies is not None or not (names_a_file(options.a) and names_a_file(options.b))
    client_config, since_ms = _topic_options(options.since) if reads_kafka else ({}, 0)
    originals = NO_ORIGINALS if options.copies is None else originals_of_topic(client_config, options.copies)
    sides = [_side(name, chunks_of(name, client_config, since_ms), originals) for name in (options.a, options.b)]
    report = compare_verdicts(*sides, names=(options.a, options.b), examples=options.examples)
    write_reports(report, partial(comparison_page, report), json_path=options.json, out=options.out)
    if shows_table(options.json, options.out):
        show(Console(highlight=False, width=max(CONSOLE_COLUMNS, Console().width)), report)
    return ExitCode.DONE


def _topic_options(since: str) -> tuple[dict[str, Any], int]:
    """Return the client's properties, and the time to read from. Two files need neither."""
    kafka = load_settings(os.environ, {Need.KAFKA}).settings.kafka
    return admin_config(kafka), parse_since(since, time.time_ns() // 1_000_000)


def _side(name: str, chunks: Chunks, originals: Originals) -> VerdictSet:
    """Return the verdicts of a side.

    Raises:
        ConfigurationError: There is no verdict among them.
    """
    found = VerdictSet.of(chunks, originals)
    if not found.verdicts:
        raise ConfigurationError(
            f"{name} holds no verdict (schema verdict/1): name a file with a verdict a line, or a verdict topic "
            "and an earlier time (--since)"
        )
    return found


def show(console: Console, report: ComparisonReport) -> None:
    """Print the flags and scores that differ, with examples by offset."""
    for letter, side in (("A", report.a), ("B", report.b)):
        console.print(
            f"{letter}: {escaped(side.name)}: verdicts {side.verdicts}, only here {side.only_here}", markup=False
        )
    flags = report.flags
    console.print(
        f"input records on both sides {report.joined}: both flag {flags.both}, only A {flags.only_a}, "
        f"only B {flags.only_b}, neither {flags.neither}\n"
    )
    table = Table("category", "both", "only A", "only B", "score B - A, mean", "largest, no sign", box=None)
    for one in report.categories:
        counts = map(str, (one.flags.both, one.flags.only_a, one.flags.only_b))
        scores = one.scores
        shown = ("-", "-") if scores is None else (f"{scores.mean:+.4f}", f"{scores.largest_absolute:.4f}")
        table.add_row(one.category, *counts, *shown)
    console.print(table)
    for category in report.categories:
        for flagging, examples in lists_of_examples(category):
            for example in examples:
                place = f"{escaped(example.topic)}:{example.partition}:{example.offset}"
                console.print(
                    f"only {flagging} flags {category.category}: {place} "
                    f"({example.score_a:.3f} and {example.score_b:.3f})",
                    markup=False,
                )
