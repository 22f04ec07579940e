"""The command `shape`, from the options to the exit code."""

import argparse
import os
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.commands.option_values import whole_number
from worker.commands.shape.guess import Fit, fits
from worker.commands.shape.samples import SampleRecord, samples_of_file, samples_of_topic
from worker.commands.shape.trial import EventOutcome, show_counts, show_events, tried
from worker.commands.subcommand import add_subcommand_to
from worker.commands.terminal import say
from worker.errors import ConfigurationError, ExitCode
from worker.moderation.shapes import (
    builtin_envelopes,
    builtin_shapes,
    compile_shape,
    load_envelope,
    load_shape,
    shape_source,
)
from worker.settings import Need, admin_config, load_settings, variables_for

FITS_SHOWN = 5
LAST = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    of_shape = parser.add_subparsers(required=True, metavar="list|show|try|guess")
    add_subcommand_to(of_shape, "list", "Lists the built-in shapes.", _list)
    show = add_subcommand_to(of_shape, "show", "Prints the file of a built-in shape, to copy and change.", _show)
    show.add_argument("name", metavar="NAME", help="a built-in shape; `shape list` lists them")
    trial = add_subcommand_to(
        of_shape, "try", "Shows what a shape makes of events; exit code 1 if it refuses any.", _try
    )
    trial.add_argument("name", metavar="SHAPE", help="a built-in shape, or the path of a YAML file")
    trial.add_argument(
        "--envelope", choices=builtin_envelopes(), help="the envelope around the events (default: none)"
    )
    guess = add_subcommand_to(
        of_shape, "guess", "Names the built-in shape that fits events best; exit code 1 if none does.", _guess
    )
    for one in (trial, guess):
        source = one.add_mutually_exclusive_group(required=True)
        source.add_argument(
            "file", nargs="?", metavar="FILE", help="one JSON document, or an event a line; - is standard input"
        )
        source.add_argument("--topic", help="read the newest records of this topic; joins no group")
        one.add_argument(
            "--last",
            type=whole_number(1),
            default=LAST,
            metavar="N",
            help=f"records of the topic to read (default: {LAST})",
        )
        one.epilog = variables_for("kafka")


def run(options: argparse.Namespace) -> ExitCode:
    """Run the subcommand.

    Raises:
        FatalError: A shape, a file or a setting is wrong, or the topic can't be read.
    """
    code: ExitCode = options.subcommand(options)
    return code


def _list(_options: argparse.Namespace) -> ExitCode:
    table = Table(box=None, show_header=False, pad_edge=False)
    for name in builtin_shapes():
        table.add_row(name, Text(_first_sentence(shape_source(name))))
    Console(highlight=False).print(table)
    return ExitCode.DONE


def _first_sentence(source: str) -> str:
    """Return the first sentence of a file's comment."""
    comment = " ".join(line[1:].strip() for line in source.splitlines() if line.startswith("#"))
    return comment.split(". ")[0].removesuffix(".")


def _show(options: argparse.Namespace) -> ExitCode:
    say(shape_source(options.name).rstrip())
    return ExitCode.DONE


def _try(options: argparse.Namespace) -> ExitCode:
    shape = load_shape(options.name)
    envelope = load_envelope(options.envelope) if options.envelope else None
    events = list(tried(_samples(options), compile_shape(shape, envelope=envelope)))
    console = Console(highlight=False)
    if events:
        show_events(events, console, shape.markup)
    show_counts(events, console)
    return ExitCode.OTHER if any(event.outcome is EventOutcome.REFUSED for event in events) else ExitCode.DONE


def _guess(options: argparse.Namespace) -> ExitCode:
    samples = _samples(options)
    found, console = fits(samples), Console(highlight=False)
    if not found:
        console.print(
            f"No built-in shape reads a text in any of the events ({len(samples)}). Copy the nearest one with "
            "moderation-worker shape show NAME, change its pointers, and try it with moderation-worker shape try.",
            soft_wrap=True,
        )
        return ExitCode.OTHER
    console.print(_fit_table(found[:FITS_SHOWN]))
    console.print(Text(f"\nbest: {found[0].settings}", style="bold"), soft_wrap=True)
    return ExitCode.DONE


def _fit_table(found: Sequence[Fit]) -> Table:
    table = Table("shape", "envelope", box=None, pad_edge=False)
    for heading in ("judged", "no text", "skipped", "refused", "fields"):
        table.add_column(heading, justify="right")
    for fit in found:
        numbers = (fit.judged, fit.without_text, fit.skipped, fit.refused, fit.fields)
        table.add_row(fit.shape, fit.envelope or "", *map(str, numbers))
    return table


def _samples(options: argparse.Namespace) -> list[SampleRecord]:
    if options.topic is None:
        return samples_of_file(options.file)
    kafka = load_settings(os.environ, {Need.KAFKA}).settings.kafka
    found = samples_of_topic(admin_config(kafka), options.topic, options.last)
    if not found:
        raise ConfigurationError(f"the topic {options.topic} holds no record: name a topic with events, or a file")
    return found
