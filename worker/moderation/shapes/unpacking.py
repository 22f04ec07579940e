"""Take the layers off a value before it is parsed: compression, base64, and the headers of schema registries.

No step makes more than ``bytes_max`` bytes. A compressed bomb is refused as soon as it is longer, and is not
unpacked further.
"""

import binascii
import zlib
from collections.abc import Callable, Sequence

from schemas.chat import Undecodable
from worker.moderation.shapes.shape_file import UnwrapStep

_CONFLUENT_BYTES = 5
"""A zero byte and a schema id. Source: Confluent's documentation, "Wire format" of Schema Registry serializers."""
_GLUE_BYTES = 18
"""A version byte, a compression byte and the 16 bytes of a schema version's UUID.

Source: AWS Glue Schema Registry library, ``AWSSchemaRegistryConstants`` (HEADER_VERSION_BYTE 3, COMPRESSION_BYTE 5,
COMPRESSION_DEFAULT_BYTE 0)."""
_GLUE_VERSION, _GLUE_PLAIN, _GLUE_ZLIB = 3, 0, 5
_ZSTD_WINDOW_BYTES_MAX = 2**27
"""Largest window of a frame, in bytes. Source: RFC 8878, section 3.1.1.1.2; the same as the tool zstd's default."""

Unwrap = Callable[[bytes], bytes]


def unwrapper(steps: Sequence[UnwrapStep], bytes_max: int) -> Unwrap:
    """Return the function that takes all layers off a value, in order.

    The function raises ``Undecodable``: ``too_large`` if a step would make more than ``bytes_max`` bytes,
    ``unwrap_failed`` if a step does not fit the value.
    """
    chosen = [_STEPS[step] for step in steps]

    def unwrapped(value: bytes) -> bytes:
        for step in chosen:
            value = step(value, bytes_max)
        return value

    return unwrapped


def _gzip(value: bytes, bytes_max: int) -> bytes:
    """Return the content of all members of a gzip file."""
    found = b""
    while True:
        inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
        found += _inflated(inflater, value, bytes_max - len(found), bytes_max, "gzip")
        value = inflater.unused_data.lstrip(b"\0")  # some writers pad the file with zeros
        if not value:
            return found


def _inflated(inflater: "zlib._Decompress", value: bytes, room: int, bytes_max: int, step: str) -> bytes:
    try:
        found = inflater.decompress(value, room + 1)
    except zlib.error:
        raise _unfit(step) from None
    if len(found) > room:
        raise _too_large(bytes_max)
    if not inflater.eof:
        raise _unfit(step)
    return found


def _zstd(value: bytes, bytes_max: int) -> bytes:
    """Return the content of all frames of a zstd file."""
    import zstandard  # noqa: PLC0415 - only a shape that unwraps zstd needs it

    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES_MAX)
    parts: list[bytes] = []
    size_bytes = 0
    while value:
        frame = decompressor.decompressobj()
        for start in range(0, len(value), _ZSTD_SLICE_BYTES):
            try:
                part = frame.decompress(value[start : start + _ZSTD_SLICE_BYTES])
            except zstandard.ZstdError:
                raise _unfit("zstd") from None
            parts.append(part)
            size_bytes += len(part)
            if size_bytes > bytes_max:
                raise _too_large(bytes_max)
            if frame.eof:
                break
        if not frame.eof:
            raise _unfit("zstd")
        value = frame.unused_data + value[start + _ZSTD_SLICE_BYTES :]
    return b"".join(parts)


_ZSTD_SLICE_BYTES = 32
"""Bytes of a frame that are unpacked by one call, which has no limit of its own. A block of 4 bytes can become
128 KiB, so a slice becomes at most 1 MiB. Source: RFC 8878, section 3.1.1.2.4."""


def _base64(value: bytes, bytes_max: int) -> bytes:
    """Return decoded base64, in the standard or the URL-safe alphabet, with or without padding and line ends."""
    bare = value.translate(_URL_SAFE, b"\r\n \t").rstrip(b"=")
    try:
        found = binascii.a2b_base64(bare + b"=" * (-len(bare) % 4), strict_mode=True)
    except binascii.Error:
        raise _unfit("base64") from None
    if len(found) > bytes_max:
        raise _too_large(bytes_max)
    return found


_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def _confluent(value: bytes, _: int) -> bytes:
    if len(value) < _CONFLUENT_BYTES or value[0] != 0:
        raise _unfit("confluent")
    return value[_CONFLUENT_BYTES:]


def _glue(value: bytes, bytes_max: int) -> bytes:
    if len(value) < _GLUE_BYTES or value[0] != _GLUE_VERSION or value[1] not in {_GLUE_PLAIN, _GLUE_ZLIB}:
        raise _unfit("glue")
    body = value[_GLUE_BYTES:]
    return body if value[1] == _GLUE_PLAIN else _inflated(zlib.decompressobj(), body, bytes_max, bytes_max, "glue")


_STEPS: dict[UnwrapStep, Callable[[bytes, int], bytes]] = {
    "gzip": _gzip,
    "zstd": _zstd,
    "base64": _base64,
    "confluent": _confluent,
    "glue": _glue,
}


def _unfit(step: str) -> Undecodable:
    return Undecodable("unwrap_failed", f"The value is not what the step {step} of the shape's unwrap wants.")


def _too_large(bytes_max: int) -> Undecodable:
    return Undecodable("too_large", f"The unpacked value has more than {bytes_max} bytes, the limit.")
