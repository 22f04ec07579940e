"""What the group of a run holds: the next offset of each partition, and in its metadata the range. Pure.

The range is stored, because a second process must copy the same records as the first one: "up to now" is another
offset an hour later.
"""

import hashlib
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Self

import orjson

from worker.commands.replay.copies import LastOffsets, OriginalPosition

_SCHEMA = "moderation-replay/1"
_OPTIONS_CHARACTERS_MAX = 500
"""Longest options that are stored as they are. The broker's default of ``offset.metadata.max.bytes`` is 4096."""
_LAST_OFFSETS_MAX = 200
_LAST_OFFSETS_CHARACTERS_MAX = 2_800


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredProgress:
    """How far a run has come in a partition.

    Attributes:
        begin: The first offset of the range.
        end: The offset after the range.
        next_offset: The next offset to read.
        options: The options of the run, or their digest if they are long.
        last_offsets: The offset of the last copied record of each input partition, by ``topic:partition``; the
            partition that was copied last is at the end. One offset would not be enough. A partition of the
            dead-letter topic may hold the dead letters of several input partitions and workers, so dead letters of
            others may stand between those of an array. The dead letters of one input partition have its order.
    """

    begin: int
    end: int
    next_offset: int
    options: str
    last_offsets: LastOffsets = field(default_factory=dict)

    def with_copy(self, original: OriginalPosition) -> Self:
        """Return the progress after a copy of this record.

        Only the latest 200 input partitions are kept: any program can write dead letters with other headers.
        """
        others = [one for one in self.last_offsets.items() if one[0] != original.log]
        kept = others[max(0, len(others) + 1 - _LAST_OFFSETS_MAX) :]
        return replace(self, last_offsets={**dict(kept), original.log: original.offset})

    def metadata(self) -> str:
        """Return the metadata of the committed offset, with as many of the latest input partitions as fit."""
        fields = {
            "schema": _SCHEMA,
            "begin": self.begin,
            "end": self.end,
            "options": self.options,
            "last_offsets": _fitting(self.last_offsets),
        }
        return orjson.dumps(fields).decode()


def _fitting(last_offsets: LastOffsets) -> dict[str, int]:
    latest = list(last_offsets.items())[::-1]
    sizes = accumulate(len(f'"{log}":{offset},') for log, offset in latest)
    fitting = sum(size <= _LAST_OFFSETS_CHARACTERS_MAX for size in sizes)
    return dict(latest[:fitting][::-1])


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
