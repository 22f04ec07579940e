"""Make the copy of a record: the same key, value, time and headers, and where the original is. Pure.

A copy has the headers ``moderation.replay`` (the run's name) and ``moderation.source.*`` (topic, partition, offset
and time of the original), as dead letters have them. Other ``moderation.*`` headers are left out, in any letter
case, because a reader could take them for this run's. A copy of a copy names the first original.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from pydantic import TypeAdapter

from schemas.dead_letter import PREFIX, REASONS
from worker.records import Headers, Partition
from worker.settings.groups import INT32_MAX
from worker.settings.values import TopicName

REPLAY_HEADER = f"{PREFIX}replay"
_SOURCE = f"{PREFIX}source."
_REASON = f"{PREFIX}error.reason"
_TOPIC_NAME: TypeAdapter[str] = TypeAdapter(TopicName)
_INT64_MAX = 2**63 - 1

LastOffsets = Mapping[str, int]
"""The offset of the last copied record of each input partition, by ``topic:partition``."""
NOTHING_COPIED: LastOffsets = MappingProxyType({})


class OriginalPosition(NamedTuple):
    """Where the original of a copy is.

    Attributes:
        topic: The input topic.
        partition: The partition.
        offset: The offset.
        timestamp_ms: Kafka's timestamp of the original, in milliseconds since 1970; None when it has none.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int | None

    @property
    def log(self) -> str:
        """The input partition as ``topic:partition``."""
        return f"{self.topic}:{self.partition}"

    def __str__(self) -> str:
        """Return ``topic:partition:offset``."""
        return f"{self.topic}:{self.partition}:{self.offset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRecord:
    """A record that was read.

    Attributes:
        partition: The partition that it was read from.
        offset: Its offset.
        timestamp_ms: Kafka's timestamp, in milliseconds since 1970; None when it has none.
        key: The key.
        value: The value.
        headers: The headers, in order.
    """

    partition: Partition
    offset: int
    timestamp_ms: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordCopy:
    """A record to produce.

    Attributes:
        original: Where the original is. Its partition decides the partition of the copy.
        key: The key of the original.
        value: The value of the original.
        headers: The headers of the original, and those of the run.
    """

    original: OriginalPosition
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


def copy_of_message(run: str, record: SourceRecord, _last_offsets: LastOffsets = NOTHING_COPIED) -> RecordCopy:
    """Return the copy of an input message, or of a tombstone."""
    given = dict(record.headers)
    original = _original(given) if REPLAY_HEADER in given else None
    if original is None:
        original = OriginalPosition(*record.partition, record.offset, record.timestamp_ms)
    # A copy has the time of its original. Kafka's time counts, because any producer can write the headers.
    return _copy(run, record, original._replace(timestamp_ms=record.timestamp_ms))


LEFT_OUT = {
    "foreign": "they are not dead letters of this worker, or of a later release",
    "no value": "they lack the message, which was too large. Copy its offset from the input topic instead",
    "same record": "they are further elements of a JSON array, which was copied with its first one",
}
"""Why a dead letter of a chosen reason is not copied."""


def copy_of_dead_letter(
    run: str, record: SourceRecord, last_offsets: LastOffsets, *, reasons: frozenset[str]
) -> RecordCopy | str | None:
    """Return the message of a dead letter; or a key of ``LEFT_OUT``; or None if its reason is not asked for.

    Args:
        run: The run's name.
        record: The dead letter.
        last_offsets: What was copied before from this partition of the dead-letter topic. Each dead letter of an
            array has the whole array as its value.
        reasons: The reasons to copy.
    """
    given = dict(record.headers)
    reason = (given.get(_REASON) or b"").decode(errors="replace")
    if reason in REASONS and reason not in reasons:
        return None
    original = _original(given)
    if reason not in REASONS or original is None:
        return "foreign"
    if last_offsets.get(original.log) == original.offset:
        return "same record"
    if record.value is None:
        return "no value"
    return _copy(run, record, original)


def original_of(headers: Headers) -> OriginalPosition | None:
    """Return where the original of a copy is; None if the record is not a copy."""
    given = dict(headers)
    return _original(given) if REPLAY_HEADER in given else None


def _original(given: Mapping[str, bytes | None]) -> OriginalPosition | None:
    topic, partition, offset, time = (
        given.get(f"{_SOURCE}{name}") for name in ("topic", "partition", "offset", "timestamp_ms")
    )
    try:
        found = OriginalPosition(
            _TOPIC_NAME.validate_python((topic or b"").decode("ascii")),
            int(partition or b""),
            int(offset or b""),
            None if time is None else int(time),
        )
    except ValueError:
        return None
    return found if _is_possible(found) else None


def _is_possible(position: OriginalPosition) -> bool:
    """Return whether Kafka can have this record. Any producer can write these headers, so they may be wrong."""
    return (
        0 <= position.partition <= INT32_MAX
        and 0 <= position.offset <= _INT64_MAX
        and 0 <= (position.timestamp_ms or 0) <= _INT64_MAX
    )


def _copy(run: str, record: SourceRecord, original: OriginalPosition) -> RecordCopy:
    own = {
        REPLAY_HEADER: run,
        f"{_SOURCE}topic": original.topic,
        f"{_SOURCE}partition": original.partition,
        f"{_SOURCE}offset": original.offset,
        f"{_SOURCE}timestamp_ms": original.timestamp_ms,
    }
    return RecordCopy(
        original=original,
        key=record.key,
        value=record.value,
        headers=[
            *((name, value) for name, value in record.headers if not name.lower().startswith(PREFIX)),
            *((name, str(value).encode()) for name, value in own.items() if value is not None),
        ],
    )
