"""Logs on standard error: text for people, or one JSON object a line for machines.

The values that a caller passes as ``extra`` become fields. No caller passes the text of a chat message.

A message can neither forge a log line nor control a terminal: characters that are not printable are escaped in the
message, in the fields and in exceptions. The lines after the first are indented, so that none looks like an entry.
"""

import json
import logging
import re
from datetime import UTC, datetime
from typing import Literal, TextIO

import orjson

MULTILINE = "multiline"
"""In ``extra``: the message has several lines that the worker wrote, and the text format keeps them."""
# These loggers write headers of chat messages unchanged. A header may be long and hold anything.
_PROPAGATION = ("opentelemetry.trace", "opentelemetry.propagate", "opentelemetry.baggage")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def setup_logging(level: str, style: Literal["text", "json"] | None, stream: TextIO) -> None:
    """Send all logs and Python's warnings to ``stream``, and replace earlier handlers.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        style: The format; None: text when ``stream`` is a terminal, otherwise JSON.
        stream: Standard error.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Json() if (style or ("text" if stream.isatty() else "json")) == "json" else _Text())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    # librdkafka logs a refused connection twenty times a second. The session logs a summary instead.
    logging.getLogger("librdkafka").setLevel(logging.DEBUG if level == "debug" else logging.CRITICAL)
    for name in _PROPAGATION:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def escaped(text: str, characters_max: int | None = None) -> str:
    r"""Return the text on one line, with an escape such as ``\n`` or ``\u202e`` for what is not printable.

    Controls, line separators, surrogates and the characters that change the direction of writing are not printable.

    Args:
        text: Any text, for example of a message or a header, which any person may have written.
        characters_max: A longer result is cut, and ends in ``…``. None means that nothing is cut.
    """
    line = text if characters_max is None else text[: characters_max + 1]
    if not line.isprintable():
        line = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in line)
    if characters_max is None or len(line) <= characters_max:
        return line
    return line[: characters_max - 1] + "…"


def escaped_lines(text: str) -> str:
    """Return the text with its lines kept, each escaped."""
    return "\n".join(map(escaped, text.split("\n")))


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = _extra(record)
        message = escaped_lines if fields.pop(MULTILINE, False) else escaped
        line = f"{_time(record)} {record.levelname:<7} {record.name}: {message(record.getMessage().rstrip())}"
        line += "".join(escaped(f" {name}={value}") for name, value in fields.items())
        if record.exc_info is not None:
            line += "\n" + escaped_lines(self.formatException(record.exc_info))
        return line.replace("\n", "\n    ")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = _extra(record)
        fields.pop(MULTILINE, None)
        entry = fields | {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info is not None:
            entry["exception"] = self.formatException(record.exc_info)
        try:
            line = orjson.dumps(entry).decode()
        except orjson.JSONEncodeError:  # an object, half an emoji, an integer of 65 bits: still log the line
            line = json.dumps(entry, default=str)
        # JSON leaves characters raw that a terminal (U+009B) or a reader of lines (U+2028) may take for controls.
        return line if line.isprintable() else _UNPRINTABLE.sub(_json_escape, line)


_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


def _json_escape(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be").hex()
    return (
        found[0]
        if found[0].isprintable()
        else "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
    )


def _time(record: logging.LogRecord) -> str:
    """Return the time of the entry in RFC 3339: UTC, with milliseconds."""
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}
