"""The types of what passes through the worker. No clocks, no sockets, no decoding.

Treat every object here as immutable, with two exceptions: telemetry assigns ``ConsumedRecord.polled_ns``, and the
preparer assigns ``ConsumedRecord.messages`` before it hands the record on.

The classes with one object for each message are structs of msgspec, because to make one takes a third of the time
that a dataclass takes. ``gc=False``: the garbage collector does not look at them. So none of them may be part of a
cycle of references, which would never be freed. The hot path makes them with positional arguments, because keywords
take longer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import NamedTuple

from msgspec import Struct

from schemas.chat import MessageContext
from worker.reported import VerdictLabels
from worker.scores import DeadLetterReason, Evidence, Passage, Scores

Headers = Sequence[tuple[str, bytes | None]]
MessagePosition = tuple["Partition", int, int | None]
"""The partition and the offset of an input record, and the number of an element: None without an array."""
HEADER_BYTES = 180
"""Memory of a header without its characters: a tuple, its place in the list, a name object and a value object."""


class Partition(NamedTuple):
    """A partition of an input topic."""

    topic: str
    number: int

    def __str__(self) -> str:
        """Return ``topic[number]``, as librdkafka's logs write it."""
        return f"{self.topic}[{self.number}]"


class ConsumedRecord(Struct, gc=False):
    """An input record as it was consumed.

    Attributes:
        partition: The input partition.
        assignment_epoch: The partition's assignment epoch when the record was read. The record is stale when the
            partition has another epoch. No two partitions ever have the same epoch, so the records of an epoch are
            stale together.
        previous_next_offset: The ``next_offset`` of the record delivered before this one, or the position at the
            assignment. It chains records, because gaps in offsets are normal (control records, compaction).
        offset: The offset in the partition.
        timestamp_ms: Kafka's timestamp, in milliseconds since 1970; None when the record has none.
        key: The key; None when the record has none.
        value: The body; None is a tombstone.
        headers: The headers, in order.
        polled_ns: When ``poll`` returned the record, on the monotonic clock; 0 without telemetry.
        messages: Number of verdicts and dead letters that the record must have: 0 if it is skipped, and one for
            each element of an array that is not skipped. A tombstone has none, whatever the number is.
        size_bytes: Bytes of key, value and headers in memory, without the object itself.
    """

    partition: Partition
    assignment_epoch: int
    previous_next_offset: int
    offset: int
    timestamp_ms: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers
    polled_ns: int = 0
    messages: int = 1
    size_bytes: int = 0  # set below

    def __post_init__(self) -> None:
        self.size_bytes = len(self.key or b"") + len(self.value or b"")
        if self.headers:
            self.size_bytes += sum(HEADER_BYTES + len(name) + len(value or b"") for name, value in self.headers)

    @property
    def next_offset(self) -> int:
        """The offset to commit when this record is done: that of the next read."""
        return self.offset + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Why a record has no output: the shape says that it is not a chat message.

    Attributes:
        reason: One sentence, which never holds a value of the event.
    """

    reason: str


class CachedScores(Struct, gc=False):
    """What the cache holds for a text.

    Attributes:
        scores: The probabilities.
        tokens: Number of tokens that were scored.
        truncated: Whether a part of the text was not scored.
        evidence: Which parts gave the scores; None when one part was scored.
    """

    scores: Scores
    tokens: int
    truncated: bool
    evidence: Evidence | None = None


class PreparedMessage(Struct, gc=False):
    """A chat message that could be decoded, ready to be scored.

    Attributes:
        message_id: The input's id, or ``topic:partition:offset``.
        channel_id: The input's channel.
        user_id: The input's user.
        sent_at: The input's time, a string or a number, unchanged.
        characters: Code points of the whole text, before any cut.
        text_digest: Keyed hash of the whole text, equal only for equal texts; empty for a blank text.
        tokens: Token ids of the first part to score, including special tokens; empty for a text that is blank or
            cached.
        truncated: Whether a part of the text is not scored.
        cached: What the cache holds for the text; None when the cache does not hold it.
        ignored: Names of the input's fields that could not be read.
        context: The input's tenant, roles, language and edit; None when it has none of them.
        is_unscored: Whether the policy says that the model does not score the message.
        further_rows: Token ids of the further parts to score: other windows, and the plain view.
        passages: All parts to score; empty when there is one.
    """

    message_id: str
    channel_id: str | None
    user_id: str | None
    sent_at: str | int | float | None
    characters: int
    text_digest: bytes
    tokens: Sequence[int]
    truncated: bool
    cached: CachedScores | None = None
    ignored: Sequence[str] = ()
    context: MessageContext | None = None
    is_unscored: bool = False
    further_rows: Sequence[Sequence[int]] = ()
    passages: Sequence[Passage] = ()

    @property
    def tokens_to_score(self) -> int:
        """Number of tokens of all parts; 0 for a text that is blank or cached."""
        return len(self.tokens) + sum(map(len, self.further_rows)) if self.further_rows else len(self.tokens)

    @property
    def token_count(self) -> int:
        """Number of tokens that are scored, or were scored when the text was cached; 0 for a blank text."""
        if self.cached is not None:
            return self.cached.tokens
        return self.tokens_to_score if self.further_rows else len(self.tokens)


class PreparedRecord(Struct, gc=False):
    """A consumed record, or an element of a record that is a JSON array, decoded and tokenised.

    Attributes:
        source: The consumed record.
        content: The message to judge; or the reason why the record is a dead letter; or the reason why it is
            skipped; or None for a tombstone. The last two get no output.
        item: The number of the element in the record's array, from 0; None if the record is not an array.
        is_last: Whether no further element of the same record follows.
    """

    source: ConsumedRecord
    content: PreparedMessage | DeadLetterReason | Skipped | None
    item: int | None = None
    is_last: bool = True

    @property
    def tokens_to_score(self) -> int:
        """Number of tokens to score, in all parts of the text; 0 when there is nothing to score."""
        return self.content.tokens_to_score if isinstance(self.content, PreparedMessage) else 0

    @property
    def text_digest(self) -> bytes:
        """Digest of the text; empty when no text is scored."""
        return self.content.text_digest if isinstance(self.content, PreparedMessage) else b""


class ScoredRecord(Struct, gc=False):
    """A record and its scores.

    Attributes:
        record: The prepared record.
        scores: ``[L]`` probabilities, the highest of all parts of the text; or the reason of a dead letter when the
            text breaks the model; or None when there was nothing to score.
        evidence: Which parts of the text gave the scores; None when at most one part was scored.
    """

    record: PreparedRecord
    scores: Scores | DeadLetterReason | None
    evidence: Evidence | None = None

    @property
    def source(self) -> ConsumedRecord:
        """The consumed record."""
        return self.record.source

    @property
    def is_last(self) -> bool:
        """Whether no further element of the same record follows."""
        return self.record.is_last

    @property
    def is_truncated(self) -> bool:
        """Whether a part of the message's text was not scored."""
        content = self.record.content
        return type(content) is PreparedMessage and content.truncated

    @property
    def dead_letter_reason(self) -> DeadLetterReason | None:
        """Why the record is a dead letter: it cannot be read, or its text breaks the model. None: it is not one."""
        found = self.scores if isinstance(self.scores, DeadLetterReason) else self.record.content
        return found if isinstance(found, DeadLetterReason) else None


class Topic(StrEnum):
    """The output topics, by purpose. The session knows their names.

    Loops over outputs read a member once, before they begin: in Python 3.11 that takes 0.1 us.
    """

    VERDICT = "verdict"
    ALERT = "alert"
    DEAD_LETTER = "dead letter"


class OutputRecord(Struct, gc=False):
    """One record to produce.

    Attributes:
        topic: The output topic.
        source: The input record that this record answers. It decides the partition, and it becomes a dead letter
            when a broker rejects this record.
        key: The key of the input record.
        value: The body.
        headers: The headers, in order.
        metric_values: Values of metric attributes: an alert's categories, a dead letter's reason, a verdict's
            ignored fields.
        item: The number of the element that this record answers; None if the input record is not an array.
        labels: What metrics count of a verdict; None without a policy file, and for other records.
    """

    topic: Topic
    source: ConsumedRecord
    key: bytes | None
    value: bytes | None
    headers: Headers
    metric_values: Sequence[str] = ()
    item: int | None = None
    labels: VerdictLabels | None = None

    @property
    def is_summary(self) -> bool:
        """Whether this is the summary of an alert window. Its source has a position and a time, and no value."""
        return self.topic is Topic.ALERT and self.source.value is None


NO_STATES: Mapping["Partition", str] = MappingProxyType({})
"""No partition has a state: a text that is committed with the partition's offset, with its open alert windows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a transaction publishes.

    Attributes:
        outputs: The outputs, those of a partition in the order of its records.
        states: The new states of partitions.
        counted: Number of messages that an alert window counted, so that they raised no alert.
        keys_without_room: Number of keys of alerts for which a partition's state had no room.
    """

    outputs: Sequence[OutputRecord]
    states: Mapping[Partition, str] = field(default_factory=lambda: NO_STATES)
    counted: int = 0
    keys_without_room: int = 0


class DeadLetterCause(Enum):
    """What causes dead letters. The value is the setting that bounds their share."""

    INPUT = "WORKER_DEAD_LETTER__INPUT_SHARE_MAX"
    """Records that cannot be decoded."""
    MODEL = "WORKER_DEAD_LETTER__MODEL_SHARE_MAX"
    """Records whose text breaks the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterExcess:
    """Too many dead letters among the last records of a partition: why it goes into quarantine.

    Attributes:
        partition: The input partition.
        cause: What causes the dead letters.
        commonest_reason: The slug of the reason that most of the dead letters have.
        example_offset: Offset of the last record with this reason.
        dead_letters: Number of dead letters among ``records``.
        records: Number of the partition's last records that were looked at.
        share_max: Largest allowed share of dead letters, in [0, 1].
    """

    partition: Partition
    cause: DeadLetterCause
    commonest_reason: str
    example_offset: int
    dead_letters: int
    records: int
    share_max: float

    def __str__(self) -> str:
        """Return a sentence without its full stop."""
        return (
            f"{self.dead_letters} of the last {self.records} records of {self.partition} would be dead letters "
            f"({self.cause.value} allows {self.share_max:.0%}). The most frequent reason is "
            f"{self.commonest_reason}, for example at offset {self.example_offset}"
        )
