"""The metadata of a committed offset: the topic's id, and the state that the loop keeps with the offset. Pure.

Kafka stores a string with each committed offset. The transaction that commits the offset commits the string too. So
the state always belongs to the offset: after a crash, an abort, a rewind or a rebalance, the next reader of the
offset gets the state of exactly the records before that offset.

The string has one of these forms, in ASCII. ``STATE`` has no white space:

1. ``topic-id=ID``, without a state. Releases before the state existed write the same.
2. ``moderation/1 STATE topic-id=ID``, or ``moderation/1 STATE`` where the brokers give topics no ids. An earlier
   release reads this form as the string of another tool, and uses the offset.

A string of another form is foreign: the offset is used, and the string is ignored.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from worker.records import Partition

log = logging.getLogger(__name__)

CHARACTERS_MAX = 3500
"""Longest metadata of an offset. The broker's default of ``offset.metadata.max.bytes`` is 4096: 4,090 characters
were committed, and 5,000 were refused (Kafka 4.3.1)."""
TOO_LARGE = "OFFSET_METADATA_TOO_LARGE"

_ID = "topic-id="
_WITH_STATE = "moderation/1"
_ID_CHARACTERS = 22
_OVERHEAD = len(f"{_WITH_STATE}  {_ID}") + _ID_CHARACTERS
_CHARACTERS_MIN = 64  # less has no room for a state


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitMetadata:
    """What the metadata of a committed offset says.

    Attributes:
        topic_id: The id of the topic when the offset was committed; empty if it is unknown.
        state: The state that was committed with the offset; empty if there is none.
        is_foreign: Whether another tool, or a later release, wrote the metadata.
    """

    topic_id: str = ""
    state: str = ""
    is_foreign: bool = False


def encode_metadata(topic_id: str, state: str = "") -> str:
    """Return the metadata for an offset; empty if there is nothing to say."""
    stamp = f"{_ID}{topic_id}" if topic_id else ""
    return " ".join(filter(None, (_WITH_STATE, state, stamp))) if state else stamp


def decode_metadata(metadata: str | None) -> CommitMetadata:
    """Return what the metadata of a committed offset says."""
    match (metadata or "").split(" "):
        case [""]:
            return CommitMetadata()
        case [stamp] if stamp.startswith(_ID):
            return CommitMetadata(topic_id=stamp.removeprefix(_ID))
        case ["moderation/1", state] if state:
            return CommitMetadata(state=state)
        case ["moderation/1", state, stamp] if state and stamp.startswith(_ID):
            return CommitMetadata(topic_id=stamp.removeprefix(_ID), state=state)
    return CommitMetadata(is_foreign=True)


class MetadataLimit:
    """How many characters of metadata the broker takes.

    A broker whose ``offset.metadata.max.bytes`` is smaller than ``CHARACTERS_MAX`` refuses the whole transaction.
    Each refusal halves the limit. So after at most six refusals the metadata fits, or has no state any more.

    Attributes:
        characters: The limit.
    """

    def __init__(self) -> None:
        self.characters = CHARACTERS_MAX
        self._has_logged_foreign = False

    @property
    def state_characters(self) -> int:
        """Longest state, in characters; 0: no state."""
        return max(0, self.characters - _OVERHEAD)

    def refused(self, metadata: Iterable[str], group_id: str) -> None:
        """Note that the broker found the metadata of an offset too large, and log what follows.

        Args:
            metadata: The metadata of all offsets in the transaction.
            group_id: The consumer group.
        """
        longest = max(map(len, metadata), default=0)
        limit = min(longest, self.characters) // 2
        self.characters = limit if limit >= _CHARACTERS_MIN else 0
        log.warning(
            "the broker refuses the metadata of an offset of the group %r: it has %d characters, and the broker's "
            "offset.metadata.max.bytes is smaller. From now on this worker writes at most %d characters: fewer "
            "messages are coalesced. To change that, set offset.metadata.max.bytes=4096 (Kafka's default) in the "
            "server.properties of each broker, and restart the brokers",
            group_id,
            longest,
            self.characters,
        )

    def encode(self, topic_id: str, partition: Partition, state: str) -> str:
        """Return the metadata for an offset, within the limit. A state that does not fit is lost, and logged.

        The loop keeps its states within ``state_characters``. So a state is too long here only if the broker's
        limit was lowered since the state was committed, and if this offset cannot wait until the loop has shortened
        the state.
        """
        metadata = encode_metadata(topic_id, state)
        if len(metadata) <= self.characters:
            return metadata
        if state:
            log.error(
                "%s: the state of the committed offset (%d characters) exceeds the broker's "
                "offset.metadata.max.bytes, which was lowered: messages that were counted get no summary",
                partition,
                len(state),
            )
        stamp = encode_metadata(topic_id)
        return stamp if len(stamp) <= self.characters else ""

    def decode(self, partition: Partition, metadata: str | None) -> CommitMetadata:
        """Return what the metadata of a committed offset says. Foreign metadata is logged once."""
        found = decode_metadata(metadata)
        if found.is_foreign and not self._has_logged_foreign:
            self._has_logged_foreign = True
            log.warning(
                "%s: the metadata of the committed offset was written by another tool or by a later release of "
                "this worker. It is ignored, and the next commit replaces it",
                partition,
            )
        return found
