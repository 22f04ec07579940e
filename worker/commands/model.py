"""The command `model fetch`: downloads model and tokenizer into one folder that works offline."""

import argparse
import os
from pathlib import Path

from worker.commands.subcommand import add_subcommand
from worker.commands.terminal import say
from worker.errors import ExitCode
from worker.settings import load_settings

SUMMARY = "Downloads model and tokenizer into one folder that works offline."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `fetch` with its arguments."""
    fetch = add_subcommand(parser, "fetch", SUMMARY, "model")
    fetch.add_argument("name", help="the name on the hub, such as DuoGuard/DuoGuard-0.5B")
    fetch.add_argument("folder", type=Path, help="the folder to write; it must be empty, or hold the same model")


def run(options: argparse.Namespace) -> ExitCode:
    """Download the model.

    Raises:
        FatalError: A setting is wrong, or the model can't be downloaded.
    """
    from worker.classifier import fetch  # noqa: PLC0415 - it takes seconds, and --help does not need it

    model = load_settings(os.environ).settings.model
    fetch(
        options.name,
        options.folder,
        say,
        revision=model.revision,
        tokenizer=model.tokenizer,
        tokenizer_revision=model.tokenizer_revision,
    )
    return ExitCode.DONE
