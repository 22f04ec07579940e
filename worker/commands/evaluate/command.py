"""The command `evaluate`, from the options to the exit code."""

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from schemas.chat import Undecodable, read_json
from worker import wiring
from worker.commands.evaluate.evasions import EVASIONS
from worker.commands.evaluate.labelled_command import add_file_arguments, evaluate_file
from worker.commands.evaluate.robustness import CostResult, EvasionResult, Measurement
from worker.commands.gzipped import read_unpacked
from worker.commands.option_values import whole_number
from worker.commands.setting_files import check_setting_files
from worker.commands.start_up import load
from worker.commands.terminal import add_json_option, check_writable, progress, shows_table, write_text
from worker.errors import ConfigurationError, ExitCode
from worker.moderation.markup import RULES
from worker.moderation.text_views import STEPS, PlainText, Vocabulary
from worker.settings import Need, variables_for

SEED = 1
TEXTS_MAX = 1000
"""Flagged texts that are evaded, if there are more: fourteen evasions of each are scored."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to measure: labelled texts, or evasions."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "file", nargs="?", metavar="FILE", type=Path, help="labelled texts: measure how well the worker judges them"
    )
    add_file_arguments(parser)
    what.add_argument(
        "--evasions",
        metavar="FILE",
        type=Path,
        help="disguise the texts of this file that the model flags, and count how many stay flagged; a text a "
        "line, or JSON Lines with text",
    )
    parser.add_argument("--seed", type=int, default=SEED, help=f"seed of the disguises (default: {SEED})")
    parser.add_argument(
        "--texts-max",
        type=whole_number(1),
        default=TEXTS_MAX,
        metavar="N",
        help=f"flagged texts to disguise at most (default: {TEXTS_MAX})",
    )
    parser.add_argument(
        "--step",
        action="append",
        choices=tuple(STEPS),
        help="use only this step of the plain view; may be repeated",
    )
    add_json_option(parser)
    parser.epilog = variables_for("model", "text", "input", "policy", "batch", "drift.reference")


def run(options: argparse.Namespace) -> ExitCode:
    """Measure the texts of a file, and print a table, or write a report.

    Raises:
        FatalError: A setting or the file is wrong, or the model can't be loaded or breaks.
    """
    return evaluate_file(options) if options.file is not None else _evade(options)


def _evade(options: argparse.Namespace) -> ExitCode:
    """Measure the evasions."""
    for option in ("out", "scores"):
        if getattr(options, option) is not None:
            raise ConfigurationError(f"--{option} is for labelled texts: leave it out beside --evasions")
    check_writable(options.json, inputs=[options.evasions])
    texts = [*_texts(options.evasions)]
    if not texts:
        raise ConfigurationError(f"{options.evasions} holds no text: name a file with a text a line")
    settings = load({Need.MODEL}, os.environ).settings
    check_setting_files(settings, options.json)
    model = wiring.open_classifier(settings, progress)
    markup = RULES[wiring.input_shape(settings).markup]
    measurement = Measurement(
        model=model,
        policy=wiring.make_policy(settings),
        plain_text=PlainText.of(
            Vocabulary(*model.long_texts.word_pieces()), tuple(options.step or STEPS), markup=markup
        ),
    )
    cost = measurement.cost(texts)
    flags, _ = measurement.flagged(texts)
    flagged = [text for text, flag in zip(texts, flags, strict=True) if flag][: options.texts_max]
    results = [measurement.evasion(name, flagged, seed=options.seed) for name in EVASIONS] if flagged else []
    if options.json is not None:
        document = {
            "schema": "evasions/1",
            "model": {"name": model.identity.name, "revision": model.identity.revision},
            "seed": options.seed,
            "evasions": [asdict(result) for result in results],
            "texts": asdict(cost),
        }
        write_text(options.json, orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE).decode())
    if shows_table(options.json):
        _show(Console(highlight=False), results, cost)
    return ExitCode.DONE


def _texts(path: Path) -> Iterator[str]:
    """Give the texts of a file, without blank ones.

    Raises:
        ConfigurationError: The file can't be read, or a line that begins as a JSON object has no ``text``.
    """
    content = read_unpacked(path, "a file with a text a line").decode("utf-8-sig", "replace")
    lines = content.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for number, line in enumerate(lines, 1):
        text: object = line
        if line.startswith("{"):
            try:
                text = read_json(line)["text"]
            except (Undecodable, KeyError):
                text = None
        if not isinstance(text, str):
            raise ConfigurationError(f'{path}:{number}: a JSON line needs a string "text".')
        if text.strip():
            yield text


def _show(console: Console, results: Sequence[EvasionResult], cost: CostResult) -> None:
    if results:
        table = Table("evasion", "stay flagged: raw", "raw and plain", "text restored", box=None)
        for result in results:
            counts = (result.raw, result.views, result.restored)
            table.add_row(result.evasion, *(f"{count / result.texts:.1%}" for count in counts))
        console.print(f"{results[0].texts} texts that the model flags, under each evasion:\n")
        console.print(table)
    else:
        console.print("The model flags no text of this file, so there is nothing to evade.")
    console.print(
        f"\nAll {cost.texts} texts as they are: {cost.flagged} flagged; the plain view flags "
        f"{cost.newly_flagged} more. It differs for {cost.changed} texts, and adds "
        f"{cost.additional_tokens / max(1, cost.tokens):.1%} to {cost.tokens} tokens."
    )
