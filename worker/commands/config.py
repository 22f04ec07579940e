"""The command `config`: the effective settings, each with where it came from."""

import argparse
import os

from worker.commands.run import GROUPS
from worker.commands.terminal import say
from worker.errors import ExitCode
from worker.settings import describe, load_settings, render, variables_for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name the settings; the command has no arguments."""
    parser.epilog = variables_for(*GROUPS)


def run(_options: argparse.Namespace) -> ExitCode:
    """Print the settings that `run` would use here.

    Raises:
        ConfigurationError: A setting is wrong.
    """
    say(render(describe(load_settings(os.environ))))
    return ExitCode.DONE
