"""The command `bench`: measure, and print the figures and what limits the worker."""

import argparse
from functools import partial
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Column, Table

from worker import wiring
from worker.commands.bench.limits import ADVICE, Figures, figure, limit_of
from worker.commands.bench.stages import measure
from worker.commands.bench.texts import built_in_texts, read_texts
from worker.commands.option_values import whole_number
from worker.commands.setting_files import check_setting_files
from worker.commands.start_up import load
from worker.commands.terminal import add_json_option, check_writable, progress, shows_table, write_text
from worker.errors import ExitCode
from worker.settings import Need, variables_for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the texts, the time and the file for the figures."""
    parser.add_argument(
        "--texts",
        type=Path,
        metavar="FILE",
        help="texts to measure with: a text per line, or an input message per line; it may be gzipped",
    )
    parser.add_argument(
        "--seconds", type=whole_number(1, 3_600), default=20, metavar="S", help="seconds to measure (default: 20)"
    )
    add_json_option(parser)
    parser.epilog = variables_for("model", "text", "input", "batch", "policy.path", "drift.reference")


def run(options: argparse.Namespace) -> ExitCode:
    """Measure, and print the figures and what limits the worker.

    Raises:
        FatalError: A setting or a file is wrong, or the model cannot be loaded, or it breaks.
    """
    settings = load({Need.MODEL}).settings
    check_writable(options.json, inputs=[options.texts] if options.texts else [])
    check_setting_files(settings, options.json)
    texts = read_texts(options.texts, wiring.input_reader(settings)) if options.texts else built_in_texts()
    model = wiring.open_classifier(settings, progress)
    progress(f"measuring for {options.seconds} s ...")
    figures = measure(settings, model, texts, seconds=options.seconds)
    if shows_table(options.json):
        _show(figures, model, built_in=options.texts is None)
    if options.json is not None:
        limit = limit_of(figures)
        document = {"model": model.identity, "figures": figures, "limit": limit, "advice": ADVICE[limit]}
        content = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        write_text(options.json, content.decode())
    return ExitCode.DONE


def _show(figures: Figures, model: wiring.ScoringModel, *, built_in: bool) -> None:
    """Print the figures, in a table of at most 80 columns, and what limits the worker."""
    console = Console(highlight=False, markup=False)
    say = partial(console.print, sep="\n", soft_wrap=True)
    identity = model.identity
    hint = " (built in; real chat repeats itself: measure your own chat with --texts FILE)" if built_in else ""
    say(
        f"{identity.name} (revision {identity.revision[:12]}) on {identity.device}, {identity.dtype}, attention "
        f"{identity.attention}, threads: {identity.threads}",
        style="bold",
    )
    say(
        *(f"    {line}" for line in model.fallbacks),
        f"texts: {figures.texts:,}, {figures.texts_different:,} different, "
        f"{figures.together.tokens_mean:.1f} tokens on average{hint}",
        f"batches: at most {figures.records_max:,} messages (WORKER_BATCH__RECORDS_MAX) and {figures.tokens_max:,} "
        f"tokens (WORKER_BATCH__TOKENS_MAX); a full batch has {figures.batch_messages:,.0f} messages and takes "
        f"{figures.batch_ms:,.1f} ms on the device\n",
    )
    columns = (Column(name, justify="right") for name in ("messages/s", "tokens/s"))
    table = Table("stage", *columns, box=None, pad_edge=False)
    for stage in (*figures.stages, *figures.long_texts, figures.together):
        style = "bold" if stage is figures.together else None
        tokens_per_s = stage.messages_per_s * stage.tokens_mean
        table.add_row(stage.name, figure(stage.messages_per_s), figure(tokens_per_s), style=style)
    console.print(table)
    say("", ADVICE[limit_of(figures)])
