"""One run of `bench`: texts, the model, what is measured, and what it means."""

import argparse
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson
from rich.console import Console

from worker import wiring
from worker.commands.bench.limits import Figures, Row, figure
from worker.commands.bench.measures import device, stages, whole
from worker.commands.bench.report import Texts, document, show
from worker.commands.bench.texts import built_in_texts, read_texts
from worker.commands.start_up import load
from worker.commands.terminal import progress
from worker.errors import ConfigurationError, ExitCode, ModelError
from worker.settings import Need, Settings, variables_for

OF_STAGES, OF_DEVICE, OF_WHOLE = 0.2, 0.5, 0.3
"""Shares of the time."""

BATCHES = 8
"""Of the largest kind, for the device: more would only take memory."""


SECONDS_MAX = 3600


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to measure with, and for how long."""
    parser.add_argument(
        "--texts", type=Path, metavar="FILE", help="a text a line, or a message a line as JSON; gzipped or not"
    )
    parser.add_argument(
        "--seconds", type=_seconds, default=20, metavar="S", help="how long to measure (default: 20)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="takes the figures as JSON too")
    parser.epilog = variables_for("model", "input", "batch")


def run(options: argparse.Namespace) -> ExitCode:
    """Measure, and print the figures and what limits.

    Raises:
        FatalError: A setting or a file is wrong, or the model can't be loaded or breaks.
    """
    measure_and_show(
        load({Need.MODEL}).settings,
        Console(highlight=False),
        progress,
        texts_from=options.texts,
        seconds=options.seconds,
        json_to=options.json,
    )
    return ExitCode.DONE


def _seconds(text: str) -> int:
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"got {text[:80]!r}; wants a whole number from 1 to {SECONDS_MAX}")
    return int(text)


def measure_and_show(
    settings: Settings,
    console: Console,
    progress: Callable[[str], None],
    *,
    texts_from: Path | None,
    seconds: float,
    json_to: Path | None,
) -> None:
    """Measures, and prints the figures and what limits.

    Args:
        settings: Valid, with a model.
        console: Where the figures go.
        progress: Takes a line about what takes long.
        texts_from: A file with texts; None: built-in texts.
        seconds: How long to measure, about; to load the model takes its time before.
        json_to: Where the same figures go as JSON; None: nowhere.

    Raises:
        ConfigurationError: A file can't be read or written.
        ModelError: The model can't be loaded, or breaks.
    """
    if json_to is not None:
        _try_to_write(json_to)
    texts = read_texts(texts_from, wiring.input_shape(settings)) if texts_from else built_in_texts()
    model = wiring.open_classifier(settings, progress)
    # Cut as the worker cuts them, and without those that the tokenizer makes nothing of: they are never scored.
    first = texts[: BATCHES * settings.batch.records_max]
    encoded = model.encode([text[: settings.input.characters_max] for text in first])
    token_lists = [one.tokens for one in encoded if one.tokens]
    if not token_lists:
        raise ModelError("The tokenizer makes no token of any text: it is not this model's, or --texts is no chat.")
    figures = measure(settings, model, texts, token_lists, progress, seconds=seconds)
    facts = Texts.of(texts, token_lists, built_in=texts_from is None, batch=max(1, round(figures.full.messages)))
    show(figures, facts, model, console)
    if json_to is not None:
        found = document(figures, facts, model, settings)
        json_to.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def measure(
    settings: Settings,
    model: wiring.ScoringModel,
    texts: Sequence[str],
    token_lists: Sequence[Sequence[int]],
    progress: Callable[[str], None],
    *,
    seconds: float,
) -> Figures:
    """All measurements, one after the other."""
    from worker.classifier.device import cpus  # noqa: PLC0415 - there by now, with the model

    parts: list[Row] = []
    for part in stages(settings, model, texts, seconds=seconds * OF_STAGES):
        progress(f"{part.name}: {figure(part.messages_per_s)} messages/s")
        parts.append(part)
    rows: list[Row] = []
    left_out: list[str] = []
    for row in device(settings, model, token_lists, seconds=seconds * OF_DEVICE):
        if isinstance(row, str):
            left_out.append(row)
        else:
            progress(f"the device, {row.name} at once: {row.ms:,.1f} ms")
            rows.append(row)
    progress("all at once, as in the worker ...")
    tokenised, prepared, judged = parts
    return Figures(
        tokenised=tokenised,
        prepared=prepared,
        judged=judged,
        device=rows,
        left_out=left_out,
        whole=whole(settings, model, texts, seconds=seconds * OF_WHOLE),
        on_cpu=model.identity.device == "cpu",
        cpus=cpus(os.sched_getaffinity(0)),
        records_max=settings.batch.records_max,
        tokens_max=model.batch_tokens_max,
        dtype_hint=next((line for line in model.fallbacks if "WORKER_MODEL__DTYPE" in line), ""),
    )


def _try_to_write(path: Path) -> None:
    """Before the work, not after it; leaves an empty file where there was none."""
    try:
        path.open("ab").close()
    except OSError as error:
        raise ConfigurationError(
            f"--json: got {str(path)!r} ({error.strerror}); wants a file that can be written"
        ) from error
