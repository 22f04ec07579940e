"""Read a file of a user that may be gzipped."""

import gzip
import zlib
from io import BufferedReader
from pathlib import Path
from typing import IO, cast

from worker.errors import ConfigurationError

_GZIP = b"\x1f\x8b"
"""How a gzip file begins. Source: RFC 1952, section 2.3.1."""

UNREADABLE = (OSError, EOFError, zlib.error)
"""What opening and reading such a file may raise."""


def unpacked(file: BufferedReader) -> IO[bytes]:
    """Return the content of a file that is open; the file itself if it is not gzipped."""
    is_gzipped = file.peek(len(_GZIP)).startswith(_GZIP)
    return cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if is_gzipped else file


def read_unpacked(path: Path, wanted: str) -> bytes:
    """Return the whole content of a file.

    Args:
        path: The file.
        wanted: What the error asks for, such as ``a file with labelled texts``.

    Raises:
        ConfigurationError: The file can't be read.
    """
    try:
        with path.open("rb") as file:
            return unpacked(file).read()
    except UNREADABLE as error:
        raise ConfigurationError(f"{path} can't be read ({why_unreadable(error)}): name {wanted}") from None


def why_unreadable(error: BaseException) -> str:
    """Return why a file cannot be read, in the words of the system."""
    return error.strerror if isinstance(error, OSError) and error.strerror else "its gzip data is damaged"
