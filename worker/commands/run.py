"""The command `run`: the worker itself."""

import argparse

from worker.commands.start_up import load
from worker.errors import ExitCode
from worker.settings import Need, Settings, variables_for
from worker.watchdog import Watchdog

GROUPS = tuple(Settings.model_fields)
"""The groups of settings that the worker reads."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the option that ends the worker, and name the settings."""
    parser.add_argument(
        "--until-end",
        action="store_true",
        help="end with exit code 0 when the group has committed everything that was in the input at the start",
    )
    parser.epilog = variables_for(*GROUPS)


def run(options: argparse.Namespace) -> ExitCode:
    """Run the worker until SIGTERM or SIGINT, or until the end of the input.

    Raises:
        FatalError: The process must end; nothing is committed that should not be.
    """
    watchdog = Watchdog(signal_code=ExitCode.OTHER if options.until_end else ExitCode.DONE)
    watchdog.start()
    loaded = load({Need.KAFKA, Need.MODEL})
    from worker import loop_wiring, running, wiring  # noqa: PLC0415 - these take seconds, and signals count from the beginning

    input_ends = loop_wiring.open_input_ends(loaded.settings) if options.until_end else None
    running.run(loaded, watchdog, wiring.open_classifier, input_ends)
    return ExitCode.DONE
