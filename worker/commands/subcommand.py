"""The one subcommand of a command: `topics create`, `model fetch`."""

import argparse

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
