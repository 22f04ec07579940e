"""The nouns: what travels through the worker. No clocks, no sockets, no decoding.

Nobody assigns to any of them, but for who measures (``Fetched.polled_ns``). Those of which each message makes one
are not ``frozen`` all the same: it would take a microsecond more for each, five of them for a message that
otherwise takes some twenty.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Headers = Sequence[tuple[str, bytes | None]]
HEADER_BYTES = 180
"""What a header takes in memory without its characters: a tuple, its place in the list, a name and a value."""


class Partition(NamedTuple):
    """A partition of an input topic."""

    topic: str
    number: int

    def __str__(self) -> str:
        """``topic[number]``, as librdkafka's logs name it."""
        return f"{self.topic}[{self.number}]"


@dataclass(slots=True, kw_only=True)
class ConsumedRecord:
    """A message as the log gave it.

    Attributes:
        partition: Where it came from.
        epoch: The partition's epoch when it was read; it is stale once the partition has another.
        previous_next_offset: The ``next_offset`` of the message delivered before it, or the position at the
            assignment: records chain by it, since numeric gaps are normal (control records, compaction).
        offset: Where it stands.
        timestamp_ms: Kafka's timestamp, or None when the message has none.
        key: The team's key.
        value: The body; None is a tombstone.
        headers: In the order of the message.
        polled_ns: When it was handed over, by the monotonic clock; 0: nobody measures.
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

    @property
    def next_offset(self) -> int:
        """What to commit once this message is dealt with: the next read."""
        return self.offset + 1

    @property
    def size_bytes(self) -> int:
        """Bytes it holds in memory, without the object itself."""
        bare = len(self.key or b"") + len(self.value or b"")
        if not self.headers:
            return bare
        return bare + sum(HEADER_BYTES + len(name) + len(value or b"") for name, value in self.headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterReason:
    """Why a record is a dead letter: a stable slug, and one sentence that never holds the text."""

    reason: str
    message: str


Scores = NDArray[np.float32]
"""``[L]`` probabilities of one text, in [0, 1], in the model card's order."""


class CachedScores(NamedTuple):
    """What is known of a text that was scored before.

    Attributes:
        scores: Its probabilities.
        tokens: How many were scored.
        truncated: Whether a cut, by characters or by tokens, took something away.
    """

    scores: Scores
    tokens: int
    truncated: bool


@dataclass(slots=True, kw_only=True)
class PreparedMessage:
    """A chat message that could be decoded.

    Attributes:
        message_id: As it came, or ``topic:partition:offset``.
        channel_id: As it came.
        user_id: As it came.
        sent_at: A string or a number, passed on as it came.
        characters: Code points of the whole text, before any cut.
        text_digest: What stands for the whole text: equal for equal texts alone; empty for a blank one.
        tokens: Ids to score, special tokens included; empty for a text that is blank or known.
        truncated: Whether a cut, by characters or by tokens, took something away.
        cached: What the cache holds for the text; None for a text that it does not hold.
        ignored: The fields of the input that could not be read.
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

    @property
    def token_count(self) -> int:
        """How many tokens are scored, or were; 0: the model is not asked, now or before."""
        return len(self.tokens) if self.cached is None else self.cached.tokens


@dataclass(slots=True, kw_only=True)
class PreparedRecord:
    """A fetched message, prepared: what it owes is known.

    Attributes:
        source: The message as fetched.
        content: The message to judge, the fault that makes it a dead letter, or None for a tombstone, which
            owes nothing.
    """

    source: ConsumedRecord
    content: PreparedMessage | DeadLetterReason | None

    @property
    def tokens(self) -> Sequence[int]:
        """What the device must score for it; empty when nothing."""
        return self.content.tokens if isinstance(self.content, PreparedMessage) else ()

    @property
    def text_digest(self) -> bytes:
        """What stands for its text; empty when none is scored."""
        return self.content.text_digest if isinstance(self.content, PreparedMessage) else b""


@dataclass(slots=True, kw_only=True)
class ScoredRecord:
    """A record and the device's answer.

    Attributes:
        record: What was asked.
        scores: Probabilities; a Fault when this text breaks the model; None when the model was not asked.
    """

    record: PreparedRecord
    scores: Scores | DeadLetterReason | None


class Topic(StrEnum):
    """Which of our topics an output goes to; the session knows their names."""

    VERDICT = "verdict"
    ALERT = "alert"
    DEAD_LETTER = "dead letter"


@dataclass(slots=True, kw_only=True)
class OutputRecord:
    """One record to produce.

    Attributes:
        topic: Which topic.
        source: The input that owed it: it decides the partition, and names the culprit when a broker refuses.
        key: The input's.
        value: The body.
        headers: In order.
        metric_values: Values of metric attributes: an alert's categories, a dead letter's reason, a verdict's
            ignored fields.
    """

    topic: Topic
    source: ConsumedRecord
    key: bytes | None
    value: bytes | None
    headers: Headers
    metric_values: Sequence[str] = ()


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


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUsage:
    """What a device has done and holds, for who measures.

    Attributes:
        tokens: Scored so far.
        padding: Computed so far besides, to fill up a shape.
        memory_bytes: Reserved on a GPU now; None on a CPU.
    """

    tokens: int = 0
    padding: int = 0
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """What scored a text, as verdicts and the start-up line name it.

    Attributes:
        name: The hub's name, or the folder's.
        revision: A hash of weights, configuration and tokenizer: the same wherever they lie.
        digest: That hash in full, as ``WORKER_MODEL__DIGEST`` takes it.
        commit: The hub's, when it is known.
        dtype: ``float32`` or ``bfloat16``.
        device: ``cpu`` or ``cuda:N``.
        attention: The implementation in use.
        threads: Compute threads on the CPU.
    """

    name: str
    revision: str
    digest: str
    commit: str | None
    dtype: str
    device: str
    attention: str
    threads: int
