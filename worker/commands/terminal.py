"""What commands print and write: results on standard output or to a file, progress on standard error."""
# ruff: noqa: T201 - a person reads what this prints

import sys
from pathlib import Path

from worker.errors import ConfigurationError


def say(line: str) -> None:
    """Print a line of the result."""
    print(line, flush=True)


def progress(line: str) -> None:
    """Print a line about work that takes long, when a person is watching."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)


def write_text(path: Path, content: str) -> None:
    """Write a file. ``-`` is standard output.

    Raises:
        ConfigurationError: The file can't be written.
    """
    if str(path) == "-":
        print(content, end="")
        return
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path} can't be written ({error.strerror}): name another file") from None
