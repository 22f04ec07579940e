"""The list of commands. Only the module of the chosen command is imported, with what that command needs."""

import argparse
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NamedTuple, Protocol, cast

from worker.errors import ExitCode


class Command(NamedTuple):
    """A command of the command line.

    Attributes:
        name: The word that the user types.
        module: The module in ``worker.commands`` that has the functions of ``CommandModule``.
        summary: One sentence for ``--help``.
    """

    name: str
    module: str
    summary: str


COMMANDS = (
    Command(
        "run", "run", "Runs the worker until SIGTERM or SIGINT, or with --until-end until the input is judged."
    ),
    Command("config", "config", "Shows the settings in effect, and where each value came from."),
    Command("topics", "topics", "Creates the topics."),
    Command("model", "model", "Fetches a model."),
    Command("broker", "broker.command", "Runs a real Kafka with one broker in the foreground."),
    Command("classify", "classify.command", "Judges texts, or with --jsonl a message per line; needs no Kafka."),
    Command("shape", "shape.command", "The input shapes: lists them, tries them on events, says which one fits."),
    Command("policy", "policy.command", "Checks a policy file, shows what it decides, and tries it on verdicts."),
    Command(
        "evaluate",
        "evaluate.command",
        "Measures on a file of texts how well the worker judges, or whether disguised texts stay flagged.",
    ),
    Command(
        "calibrate",
        "calibrate.command",
        "Chooses thresholds from labelled texts for a false-alarm rate or a precision, and writes a policy file.",
    ),
    Command(
        "compare",
        "compare.command",
        "Compares two sets of verdicts on the same messages, for example of two models; changes nothing.",
    ),
    Command("check", "check.command", "Shows whether `run` would work here, and how fast; changes nothing."),
    Command(
        "bench",
        "bench.command",
        "Measures how fast this model is on this machine, and says what limits it; needs no Kafka.",
    ),
    Command(
        "dead-letters",
        "dead_letters",
        "Counts the messages that could not be judged, by reason and hour, with examples; changes nothing.",
    ),
    Command(
        "labels",
        "labels.command",
        "Joins moderators' decisions with the texts, for `evaluate` and `calibrate`.",
    ),
    Command(
        "replay",
        "replay.command",
        "Copies input messages of a range, or the messages of dead letters, to a topic, each exactly once.",
    ),
    Command(
        "demo",
        "demo.command",
        "Shows two workers on a new Kafka, and kills one of them; takes half a minute to a minute.",
    ),
    Command(
        "prove",
        "prove.command",
        "Injects faults into workers that it starts, and shows that no message was lost or judged twice.",
    ),
)


class CommandModule(Protocol):
    """The two functions that the module of a command has."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments, and list its settings at the end of ``--help``."""

    def run(self, options: argparse.Namespace) -> ExitCode:
        """Run the command.

        Raises:
            FatalError: The command cannot continue; the error has the exit code.
        """


class _Parser(argparse.ArgumentParser):
    """Refuses an unknown option with the usage of the command that got it; argparse has the usage of the whole."""

    def parse_known_args(self, *given: Any, **named: Any) -> tuple[Any, list[str]]:
        options, unknown = super().parse_known_args(*given, **named)
        if unknown:
            names = [one.split("=")[0] for one in unknown if one.startswith("-")]
            near = [
                one
                for name in names
                for one in get_close_matches(name, self._option_string_actions, n=1, cutoff=0.75)
            ]
            self.error(
                f"unrecognized arguments: {' '.join(unknown)}" + "".join(f"; did you mean {one}?" for one in near)
            )
        return options, unknown


def main(arguments: Sequence[str]) -> ExitCode:
    """Run one command.

    Raises:
        FatalError: The command cannot continue; the error has the exit code.
    """
    parser = _Parser(
        prog="moderation-worker",
        description="Moderates live chat on Apache Kafka with the DuoGuard classifier, exactly once.",
        epilog="Settings are environment variables. Each command's --help lists the settings that it uses.",
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
