"""What commands print: results on standard output, progress on standard error."""
# ruff: noqa: T201 - a person reads what this prints

import sys


def say(line: str) -> None:
    """Print a line of the result."""
    print(line, flush=True)


def progress(line: str) -> None:
    """Print a line about work that takes long, when a person is watching."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)
