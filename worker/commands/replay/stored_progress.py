"""What the group of a run holds: the next offset of each partition, and in its metadata the range. Pure.

The range is stored, because a second process must copy the same records as the first one: "up to now" is another
offset an hour later.
"""

import hashlib
from dataclasses import dataclass

import orjson

_SCHEMA = "moderation-replay/1"
_OPTIONS_CHARACTERS_MAX = 500
"""Longest options that are stored as they are. The broker's default of ``offset.metadata.max.bytes`` is 4096."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredProgress:
    """How far a run has come in a partition.

    Attributes:
        begin: The first offset of the range.
        end: The offset after the range.
        next_offset: The next offset to read.
        options: The options of the run, or their digest if they are long.
        last_source: The record that the last copied dead letter names, as ``topic:partition:offset``; empty before.
    """

    begin: int
    end: int
    next_offset: int
    options: str
    last_source: str = ""

    def metadata(self) -> str:
        """Return the metadata of the committed offset."""
        fields = {
            "schema": _SCHEMA,
            "begin": self.begin,
            "end": self.end,
            "options": self.options,
            "last_source": self.last_source,
        }
        return orjson.dumps(fields).decode()


def stored_progress(next_offset: int, metadata: str | None) -> StoredProgress | None:
    """Return what a committed offset says; None if no run has committed it."""
    try:
        fields = orjson.loads(metadata or "")
        if next_offset < 0 or fields.pop("schema") != _SCHEMA:
            return None
        return StoredProgress(next_offset=next_offset, **fields)
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def stored_options(options: str) -> str:
    """Return the options in the form that is stored."""
    if len(options) <= _OPTIONS_CHARACTERS_MAX:
        return options
    return f"options with the SHA-256 {hashlib.sha256(options.encode()).hexdigest()}"
