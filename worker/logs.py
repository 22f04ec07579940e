"""Logs on standard error: for people as text, for machines as one JSON object a line.

What a caller puts into ``extra`` becomes fields. Nobody puts the text of a message there.
"""

import json
import logging
from datetime import UTC, datetime
from typing import Literal, TextIO

import orjson

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def setup_logging(level: str, style: Literal["text", "json"] | None, stream: TextIO) -> None:
    """Sends all logs and Python's warnings to ``stream``, in place of what was set up before.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        style: None: text when ``stream`` is a terminal.
        stream: Standard error.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Json() if (style or ("text" if stream.isatty() else "json")) == "json" else _Text())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    # Its clients repeat a refused connection twenty times a second; the session says what matters, now and then.
    logging.getLogger("librdkafka").setLevel(logging.DEBUG if level == "debug" else logging.CRITICAL)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = f"{_time(record)} {record.levelname:<7} {record.name}: {record.getMessage()}"
        line += "".join(f" {name}={value}" for name, value in _extra(record).items())
        return line if record.exc_info is None else f"{line}\n{self.formatException(record.exc_info)}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = _extra(record) | {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info is not None:
            entry["exception"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(entry).decode()
        except orjson.JSONEncodeError:  # an object, half an emoji, 65 bits: no line is lost
            return json.dumps(entry, default=str)


def _time(record: logging.LogRecord) -> str:
    """RFC 3339, UTC, milliseconds."""
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}
