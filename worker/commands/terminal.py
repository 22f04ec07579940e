"""What commands print and write: results on standard output or to a file, progress on standard error."""
# ruff: noqa: T201 - a person reads what this prints

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from worker.errors import ConfigurationError

STANDARD_OUTPUT = Path("-")
"""The path that means standard output, and no file."""
NULL_DEVICE = Path(os.devnull)


def say(line: str) -> None:
    """Print a line of the result."""
    print(line, flush=True)


def progress(line: str) -> None:
    """Print a line about work that takes long, when a person is watching."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--json``, for a command that prints a table. ``shows_table`` has its rule."""
    parser.add_argument(
        "--json",
        nargs="?",
        const=STANDARD_OUTPUT,
        type=Path,
        metavar="FILE",
        help="also write the result as JSON to this file; without FILE, or with -, print JSON and no table",
    )


def shows_table(*outputs: Path | None) -> bool:
    """Return whether a command prints its table: unless standard output is the place of another result.

    Args:
        outputs: Where the other results go: files, ``-`` for standard output, or None for nowhere.
    """
    return STANDARD_OUTPUT not in outputs


def check_writable(*paths: Path | None, inputs: Sequence[Path] = ()) -> None:
    """Refuse files that can't be written, before work that takes long. None, ``-`` and /dev/null name no file.

    Links do not matter: two paths with the same file, or with the same file to be made, are the same place.

    Args:
        paths: Where the results go. A file that the command both reads and writes counts as a result.
        inputs: Files that the command reads, which must stay.

    Raises:
        ConfigurationError: The folder of a file does not exist, the file can't be written, it is an input or
            standard output, or two results have the same place.
    """
    taken: set[Path | tuple[int, int]] = set()
    check_not_read(inputs, *paths)
    for path in paths:
        if path is None or path == NULL_DEVICE:
            continue
        place = STANDARD_OUTPUT if path == STANDARD_OUTPUT else _place(path)
        if place in taken:
            where = "standard output (-)" if path == STANDARD_OUTPUT else str(path)
            raise ConfigurationError(f"{where} can't take two results: name a file for each of them")
        taken.add(place)
        if path == STANDARD_OUTPUT:
            continue
        if place == _place(Path("/dev/stdout")):
            raise ConfigurationError(f"{path} is standard output: write - in its place, or name another file")
        if not path.parent.is_dir():
            raise unwritable(path, "there is no such folder")
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise unwritable(path, "it is a folder" if path.is_dir() else "permission denied")


def check_not_read(inputs: Sequence[Path], *paths: Path | None) -> None:
    """Refuse to write over a file that the command reads. None, ``-`` and /dev/null name no file.

    Raises:
        ConfigurationError: A path leads to one of the inputs.
    """
    kept = {_place(one) for one in inputs}
    for path in paths:
        if path is not None and path not in {STANDARD_OUTPUT, NULL_DEVICE} and _place(path) in kept:
            raise unwritable(path, "the command reads it")


def _place(path: Path) -> Path | tuple[int, int]:
    """Return the device and the inode of a file, which all its links share; the absolute path of one to be made."""
    try:
        found = path.stat()
    except OSError:
        return path.resolve()
    return found.st_dev, found.st_ino


def unwritable(path: Path, reason: str) -> ConfigurationError:
    """Return the error of a file that can't be written."""
    return ConfigurationError(f"{path} can't be written ({reason}): name another file")


def write_text(path: Path, content: str) -> None:
    """Write a file. ``-`` is standard output.

    Raises:
        ConfigurationError: The file can't be written.
    """
    if path == STANDARD_OUTPUT:
        print(content, end="")
        return
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise unwritable(path, str(error.strerror)) from None
