"""What commands print and write: results on standard output or to a file, progress on standard error."""
# ruff: noqa: T201 - a person reads what this prints

import os
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


def check_writable(*paths: Path | None) -> None:
    """Refuse files that can't be written, before work that takes long. None and ``-`` name no file.

    Raises:
        ConfigurationError: The folder of a file does not exist, or the file can't be written.
    """
    for path in paths:
        if path is None or str(path) == "-":
            continue
        if not path.parent.is_dir():
            raise unwritable(path, "there is no such folder")
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise unwritable(path, "it is a folder" if path.is_dir() else "permission denied")


def unwritable(path: Path, reason: str) -> ConfigurationError:
    """Return the error of a file that can't be written."""
    return ConfigurationError(f"{path} can't be written ({reason}): name another file")


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
        raise unwritable(path, str(error.strerror)) from None
