"""The command `bench`: measure, and print the figures and what limits the worker."""

import argparse
import re
from dataclasses import asdict
from functools import partial
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from worker import wiring
from worker.commands.bench.limits import ADVICE, Figures, figure, limit_of
from worker.commands.bench.stages import measure
from worker.commands.bench.texts import built_in_texts, read_texts
from worker.commands.start_up import load
from worker.commands.terminal import check_writable, progress, write_text
from worker.errors import ExitCode
from worker.settings import Need, variables_for

SECONDS_MAX = 3600


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the texts, the time and the file for the figures."""
    parser.add_argument(
        "--texts",
        type=Path,
        metavar="FILE",
        help="texts to measure with: a text per line, or a message per line as JSON; it may be gzipped",
    )
    parser.add_argument(
        "--seconds", type=_seconds, default=20, metavar="S", help="seconds to measure (default: 20)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file, as JSON")
    parser.epilog = variables_for("model", "text", "input", "batch")


def run(options: argparse.Namespace) -> ExitCode:
    """Measure, and print the figures and what limits the worker.

    Raises:
        FatalError: A setting or a file is wrong, or the model cannot be loaded, or it breaks.
    """
    settings = load({Need.MODEL}).settings
    check_writable(options.json)
    bytes_max = settings.input.bytes_max
    of_json = settings.input.model_copy(update={"format": "json"})  # the first line says whether it is JSON
    read = wiring.input_reader(settings.model_copy(update={"input": of_json}))
    texts = read_texts(options.texts, read, bytes_max=bytes_max) if options.texts else built_in_texts()
    model = wiring.open_classifier(settings, progress)
    progress(f"measuring for {options.seconds} s ...")
    figures = measure(settings, model, texts, seconds=options.seconds)
    limit = limit_of(figures)
    _show(figures, model, built_in=options.texts is None)
    if options.json:
        document = {
            "model": asdict(model.identity),
            "figures": asdict(figures),
            "limit": limit,
            "advice": ADVICE[limit],
        }
        content = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        write_text(options.json, content.decode())
    return ExitCode.DONE


def _show(figures: Figures, model: wiring.ScoringModel, *, built_in: bool) -> None:
    """Print the figures in at most 80 columns, and what limits the worker."""
    console = Console(highlight=False, markup=False)
    say = partial(console.print, sep="\n", soft_wrap=True)
    identity, device, tokens_mean = model.identity, figures.device, figures.device.tokens_mean
    say(
        f"{identity.name} (revision {identity.revision[:12]}) on {identity.device}, {identity.dtype}, attention "
        f"{identity.attention}, threads: {identity.threads}",
        style="bold",
    )
    own_chat = "; real chat repeats itself: measure your own chat with --texts FILE" if built_in else ""
    say(
        *(f"    {line}" for line in model.fallbacks),
        f"texts: {figures.texts:,}{' built-in' if built_in else ''}, {figures.texts_different:,} different, "
        f"{tokens_mean:.1f} tokens on average{own_chat}",
        f"batches: at most {figures.records_max:,} messages (WORKER_BATCH__RECORDS_MAX) and {figures.tokens_max:,} "
        f"tokens (WORKER_BATCH__TOKENS_MAX); a full batch has {device.batch_messages:,.0f} messages and takes "
        f"{device.batch_ms:,.1f} ms on the device\n",
    )
    table = Table("stage", box=None, pad_edge=False)
    for column in ("messages/s", "tokens/s"):
        table.add_column(column, justify="right")

    def add_row(name: str, messages_per_s: float, tokens_each: float, style: str | None = None) -> None:
        table.add_row(name, figure(messages_per_s), figure(messages_per_s * tokens_each), style=style)

    add_row("decode and tokenise", figures.prepared.messages_per_s, tokens_mean)
    add_row(f"device, batches of {device.batch_messages:,.0f}", device.messages_per_s, tokens_mean)
    add_row("judge and encode", figures.judged.messages_per_s, tokens_mean)
    for stage in figures.long_texts:
        add_row(f"device, texts of {stage.tokens_mean:,.0f} tokens", stage.messages_per_s, stage.tokens_mean)
    add_row("all together, as in the worker", figures.messages_per_s, tokens_mean, "bold")
    console.print(table)
    say("", ADVICE[limit_of(figures)])


def _seconds(text: str) -> int:
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"got {text[:80]!r}; wants a whole number from 1 to {SECONDS_MAX}")
    return int(text)
