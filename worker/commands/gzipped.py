"""Read a file of a user that may be gzipped."""

import gzip
import zlib
from io import BufferedReader
from typing import IO, cast

_GZIP = b"\x1f\x8b"
"""How a gzip file begins. Source: RFC 1952, section 2.3.1."""

UNREADABLE = (OSError, EOFError, zlib.error)
"""What opening and reading such a file may raise."""


def unpacked(file: BufferedReader) -> IO[bytes]:
    """Return the content of a file that is open; the file itself if it is not gzipped."""
    is_gzipped = file.peek(len(_GZIP)).startswith(_GZIP)
    return cast("IO[bytes]", gzip.GzipFile(fileobj=file)) if is_gzipped else file


def why_unreadable(error: BaseException) -> str:
    """Return why a file cannot be read, in the words of the system."""
    return error.strerror if isinstance(error, OSError) and error.strerror else "its gzip data is damaged"
