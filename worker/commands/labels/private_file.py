"""A file that only its owner can read, and that appears only when it is complete."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from worker.commands.terminal import unwritable
from worker.errors import ConfigurationError

_OWNER_ONLY = 0o600


@contextmanager
def private_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write to. At the end of the block it replaces the file at the path; an error removes it.

    Raises:
        ConfigurationError: The path is a link, a device or a folder, or the file can't be written.
    """
    # A link such as /dev/stdout would be replaced, not followed.
    if str(path) == "-" or path.is_symlink() or (path.exists() and not path.is_file()):
        raise ConfigurationError(
            f"{path} is not a file: texts of users are written only to a file that you name, with mode 0600"
        )
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        number = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    except OSError as error:
        raise unwritable(path, str(error.strerror)) from None
    try:
        with os.fdopen(number, "wb") as file:
            yield file
        part.replace(path)
    except OSError as error:
        raise unwritable(path, str(error.strerror)) from None
    finally:
        part.unlink(missing_ok=True)
