"""The command `check`, from the options to the exit code."""

import argparse

from rich.console import Console

from worker.commands.check.items import check
from worker.commands.start_up import load
from worker.commands.terminal import progress
from worker.errors import ExitCode
from worker.settings import Need, variables_for
from worker.watchdog import end


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the settings; the command has no arguments."""
    parser.epilog = variables_for("kafka", "input", "model")


def run(_options: argparse.Namespace) -> ExitCode:
    """Print whether `run` would work here, and end the process."""
    try:
        code = check(lambda: load({Need.KAFKA, Need.MODEL}), Console(highlight=False), progress)
    except KeyboardInterrupt:
        code = ExitCode.OTHER  # without a wait for the threads, which may wait for a broker
    end(code)  # a client whose broker does not answer may wait for minutes when it is closed
    return code
