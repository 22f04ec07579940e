"""The commands, one line each. Only the module of the chosen command is imported, with what that command needs."""

import argparse
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple, Protocol, cast

from worker.errors import ExitCode


class Command(NamedTuple):
    """A command of the command line.

    Attributes:
        name: The word that the user types.
        module: The module in ``worker.commands`` that offers what ``CommandModule`` names.
        summary: One sentence for ``--help``.
    """

    name: str
    module: str
    summary: str


COMMANDS = (
    Command("run", "run", "The worker, until SIGTERM or SIGINT."),
    Command("config", "config", "The effective settings, each with where it came from."),
    Command("topics", "topics", "Creates the topics."),
    Command("model", "model", "Fetches a model."),
    Command("broker", "broker.command", "A real single-node Kafka in the foreground."),
    Command("classify", "classify.command", "Judges texts, or with --jsonl messages, a line each; needs no Kafka."),
    Command("check", "check.command", "Says whether `run` would work here, and how fast; changes nothing."),
    Command(
        "bench",
        "bench.command",
        "Measures what this machine does with this model, and says what limits it; needs no Kafka.",
    ),
    Command(
        "dead-letters",
        "dead_letters",
        "What could not be judged: counts by reason and hour, and where examples stand; only reads.",
    ),
    Command(
        "demo",
        "demo.command",
        "A trial run on a Kafka of its own, with one worker killed on the way; about half a minute.",
    ),
    Command(
        "prove",
        "prove.command",
        "Injects faults into workers of its own, and shows that no message was lost or judged twice.",
    ),
)


class CommandModule(Protocol):
    """What the module of a command offers."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments, and its settings as the end of ``--help``."""

    def run(self, options: argparse.Namespace) -> ExitCode:
        """Run the command.

        Raises:
            FatalError: The command refuses to go on; the error has the exit code.
        """


def main(arguments: Sequence[str]) -> ExitCode:
    """Run one command.

    Raises:
        FatalError: The command refuses to go on; the error has the exit code.
    """
    parser = argparse.ArgumentParser(
        prog="moderation-worker",
        description="Moderates live chat on Apache Kafka with the DuoGuard classifier, exactly once.",
        epilog="Settings are environment variables: each command's --help names its own.",
    )
    parsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        of_command = parsers.add_parser(
            command.name,
            help=command.summary,
            description=command.summary,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if command.name in arguments[:1]:
            module = module_of(command)
            of_command.set_defaults(run=module.run)
            module.add_arguments(of_command)
    options = parser.parse_args(arguments)
    code: ExitCode = options.run(options)
    return code


def module_of(command: Command) -> CommandModule:
    """Import the command's module."""
    return cast("CommandModule", import_module(f"worker.commands.{command.module}"))
