"""The command `bench`: measure, and print the figures and what limits the worker."""

import argparse
import os
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import mean

import orjson
from rich.console import Console
from rich.table import Table

from worker import wiring
from worker.commands.bench.in_memory_loop import consumed, messages_per_second, settings_for_samples
from worker.commands.bench.limits import Figures, StageRate, advice, figure, limit_of
from worker.commands.bench.stages import prepare_and_judge, score_growing_batches, score_long_texts
from worker.commands.bench.texts import built_in_texts, read_texts
from worker.commands.start_up import load
from worker.commands.terminal import progress
from worker.errors import ConfigurationError, ExitCode, ModelError
from worker.moderation.cache import ScoreCache
from worker.settings import Need, Settings, variables_for

SECONDS_MAX = 3600
CPU_SHARE, DEVICE_SHARE, LONG_SHARE, TOGETHER_SHARE = 0.2, 0.4, 0.1, 0.3
"""Shares of the time for the stages of the CPU, for the device, for long texts, and for all stages together."""
BATCHES_MAX = 8
"""Number of full batches to tokenise for the device. More batches would need memory and change no figure."""


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
    if options.json:
        _try_to_write(options.json)
    bytes_max = settings.input.bytes_max
    of_json = settings.input.model_copy(update={"format": "json"})  # the first line says whether it is JSON
    read = wiring.input_reader(settings.model_copy(update={"input": of_json}))
    texts = read_texts(options.texts, read, bytes_max=bytes_max) if options.texts else built_in_texts()
    model = wiring.open_classifier(settings, progress)
    figures = measure(settings, model, texts, progress, seconds=options.seconds)
    show(figures, model, Console(highlight=False), built_in=options.texts is None)
    if options.json:
        document = {
            "model": asdict(model.identity),
            "figures": asdict(figures),
            "limit": limit_of(figures),
            "advice": advice(figures),
        }
        options.json.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return ExitCode.DONE


def measure(
    settings: Settings,
    model: wiring.ScoringModel,
    texts: list[str],
    report: Callable[[str], None],
    *,
    seconds: float,
) -> Figures:
    """Measure each stage alone, then all stages together.

    Raises:
        ModelError: The tokenizer makes no token of any text, or the device is broken.
    """
    from worker.classifier.device import cpus  # noqa: PLC0415 - PyTorch is loaded with the model

    prepare = wiring.make_prepare(settings_for_samples(settings), model, ScoreCache(bytes_max=0))
    first = consumed(texts[: BATCHES_MAX * settings.batch.records_max])
    records = [
        record for record in prepare(first) if record.tokens_to_score
    ]  # a text without a token is never scored
    if not records:
        raise ModelError(
            "The tokenizer makes no token of any text. Either it belongs to another model, or the file of --texts "
            "holds no chat."
        )
    prepared, judged = prepare_and_judge(settings, model, texts, seconds=seconds * CPU_SHARE)
    device: list[StageRate] = []
    for rate in score_growing_batches(settings, model, records, seconds=seconds * DEVICE_SHARE):
        report(f"{rate.name}: {rate.batch_ms:,.1f} ms each")
        device.append(rate)
    report("the device with long texts ...")
    long_texts = [*score_long_texts(settings, model, texts, seconds=seconds * LONG_SHARE)]
    report("all stages together, as in the worker ...")
    return Figures(
        prepared=prepared,
        judged=judged,
        device=device,
        long_texts=long_texts,
        messages_per_s=messages_per_second(settings, model, texts, seconds=seconds * TOGETHER_SHARE),
        tokens_mean=mean(record.tokens_to_score for record in records),
        texts=len(texts),
        texts_different=len(set(texts)),
        on_cpu=model.identity.device == "cpu",
        cpus=cpus(os.sched_getaffinity(0)),
        records_max=settings.batch.records_max,
        tokens_max=model.batch_tokens_max,
        dtype_hint=next((line for line in model.fallbacks if "WORKER_MODEL__DTYPE" in line), ""),
    )


def show(figures: Figures, model: wiring.ScoringModel, console: Console, *, built_in: bool) -> None:
    """Print the figures in at most 80 columns, and what limits the worker."""
    identity = model.identity

    def say(line: str, style: str | None = None) -> None:
        console.print(line, soft_wrap=True, markup=False, style=style)

    say(
        f"{identity.name} (revision {identity.revision[:12]}) on {identity.device}, {identity.dtype}, attention "
        f"{identity.attention}, threads: {identity.threads}; batches of at most {figures.records_max:,} messages "
        f"and {figures.tokens_max:,} tokens",
        "bold",
    )
    for line in model.fallbacks:
        say(f"    {line}")
    hint = "; real chat repeats itself: measure your own chat with --texts FILE" if built_in else ""
    say(
        f"texts: {figures.texts:,}{' built-in' if built_in else ''}, {figures.texts_different:,} different, "
        f"{figures.tokens_mean:.1f} tokens on average{hint}\n"
    )
    table = Table("stage", box=None, pad_edge=False)
    for column in ("messages/s", "tokens/s"):
        table.add_column(column, justify="right")
    for stage in (figures.prepared, *figures.device, figures.judged):
        table.add_row(stage.name, *_rates(stage.messages_per_s, figures.tokens_mean))
    for stage in figures.long_texts:
        table.add_row(stage.name, *_rates(stage.messages_per_s, stage.batch_tokens / stage.batch_messages))
    together = _rates(figures.messages_per_s, figures.tokens_mean)
    table.add_row("all together, as in the worker", *together, style="bold")
    console.print(table)
    say("")
    for number, line in enumerate(advice(figures)):
        say(line, None if number else "bold")


def _rates(messages_per_s: float, tokens_mean: float) -> tuple[str, str]:
    return figure(messages_per_s), figure(messages_per_s * tokens_mean)


def _seconds(text: str) -> int:
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"got {text[:80]!r}; wants a whole number from 1 to {SECONDS_MAX}")
    return int(text)


def _try_to_write(path: Path) -> None:
    """Refuse a file that cannot be written, before the measurement. This creates the file if it does not exist."""
    try:
        path.open("ab").close()
    except OSError as error:
        raise ConfigurationError(
            f"--json: got {str(path)!r} ({error.strerror}); wants a file that can be written"
        ) from error
