"""The command `run`: the worker itself."""

import argparse

from worker.commands.start_up import load
from worker.errors import ExitCode
from worker.settings import Need, variables_for
from worker.watchdog import Watchdog

GROUPS = (
    "kafka",
    "input",
    "model",
    "batch",
    "policy",
    "alert",
    "output",
    "cache",
    "dead_letter",
    "shutdown",
    "health",
    "log",
)
"""The groups of settings that the worker reads."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the settings; the command has no arguments."""
    parser.epilog = variables_for(*GROUPS)


def run(_options: argparse.Namespace) -> ExitCode:
    """Run the worker until SIGTERM or SIGINT.

    Raises:
        FatalError: The process must end; nothing is committed that should not be.
    """
    watchdog = Watchdog()
    watchdog.start()
    loaded = load({Need.KAFKA, Need.MODEL})
    from worker import running, wiring  # noqa: PLC0415 - these take seconds, and signals count from the beginning

    running.run(loaded, watchdog, wiring.open_classifier)
    return ExitCode.DONE
