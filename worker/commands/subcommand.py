"""The subcommands of a command: one (`topics create`, `model fetch`) or several (`shape`, `policy`)."""

import argparse
from collections.abc import Callable

from worker.errors import ExitCode
from worker.settings import variables_for


def add_subcommand(parser: argparse.ArgumentParser, name: str, summary: str, group: str) -> argparse.ArgumentParser:
    """Add a subcommand, and return its parser.

    Args:
        parser: The parser of the command.
        name: The word that the user types after the command.
        summary: One sentence for both helps.
        group: The group of settings that the subcommand reads.
    """
    parser.description = None
    return parser.add_subparsers(required=True, metavar=name).add_parser(
        name,
        help=summary,
        description=summary,
        epilog=variables_for(group),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_subcommand_to(
    parsers: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    summary: str,
    subcommand: Callable[[argparse.Namespace], ExitCode],
) -> argparse.ArgumentParser:
    """Add a subcommand that `options.subcommand` then names, and return its parser.

    Args:
        parsers: The subcommands of the command.
        name: The word that the user types after the command.
        summary: One sentence for both helps.
        subcommand: Runs the subcommand.
    """
    parser = parsers.add_parser(
        name, help=summary, description=summary, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.set_defaults(subcommand=subcommand)
    return parser
