"""Whether the destination keeps the copies: they are as old as their originals, and Kafka deletes old records."""

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined] # exported at run time

from worker.commands.replay.copies import OriginalPosition, RecordCopy
from worker.commands.replay.copying import CONSUME_S, MakeCopy, source_record, with_places
from worker.commands.replay.stored_progress import StoredProgress
from worker.errors import DataProtectionError
from worker.kafka.clients import client
from worker.kafka.topic_reader import CHUNK_RECORDS
from worker.records import Partition

ANSWER_S_MAX = 30.0
FIRST_COPIES_S_MAX = 15.0
"""How long to look: a slow link takes seconds, and the first dead letter of a rare reason may be far away."""
_SHORT_SHARE = 0.1
_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS


def retention_ms(client_config: Mapping[str, Any], topic: str) -> int | None:
    """Return how long the topic keeps a record after the record's own time.

    Returns:
        Milliseconds. None if Kafka deletes no record because of this time, and if the brokers do not tell the
        topic's settings: that needs DESCRIBE_CONFIGS on the topic, which ``replay`` does not need otherwise.
    """
    admin = client(AdminClient, {"log_level": 0, **client_config, "error_cb": lambda _: None})
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    try:
        entries = admin.describe_configs([resource], request_timeout=ANSWER_S_MAX)[resource].result()
    except KafkaException:
        return None
    return kept_ms({name: entry.value for name, entry in entries.items() if entry.value is not None})


def kept_ms(settings: Mapping[str, str]) -> int | None:
    """Return for how many milliseconds a topic with these settings keeps a record, counted from the record's time.

    None: Kafka deletes no record because of its time.
    """
    has_own_time = settings.get("message.timestamp.type", "CreateTime") == "CreateTime"
    deletes = "delete" in settings.get("cleanup.policy", "delete")
    kept = int(settings.get("retention.ms", "-1"))
    return kept if has_own_time and deletes and kept >= 0 else None


class FirstCopies(NamedTuple):
    """The next copies of the partitions.

    Attributes:
        oldest: The oldest original among them; None: no copy with a time was found.
        unseen: The partitions of which no copy was found in time.
    """

    oldest: OriginalPosition | None
    unseen: Collection[Partition]


def first_copies(
    reader: Consumer,
    progress: Mapping[Partition, StoredProgress],
    make_copy: MakeCopy,
    is_stopped: Callable[[], bool],
) -> FirstCopies:
    """Look for the next copy of each partition, for ``FIRST_COPIES_S_MAX`` at most.

    The records of a partition are about in the order of their times, so its next copy is about its oldest one.

    Args:
        reader: A consumer that is not a member of a group.
        progress: How far the run has come, by partition.
        make_copy: Makes the copy of a record.
        is_stopped: Whether to look no further.

    Raises:
        KafkaFatalError: The topics can't be read.
    """
    left = {one: at for one, at in progress.items() if at.next_offset < at.end}
    found: list[OriginalPosition] = []
    reader.assign([TopicPartition(*one, at.next_offset) for one, at in left.items()])
    deadline_s = time.monotonic() + FIRST_COPIES_S_MAX
    while left and time.monotonic() < deadline_s and not is_stopped():
        for partition, offset, message in with_places(reader.consume(CHUNK_RECORDS, CONSUME_S)):
            if partition not in left:
                continue
            if message.error() is None and offset < left[partition].end:
                copy = make_copy(source_record(partition, offset, message), left[partition].last_offsets)
                if not isinstance(copy, RecordCopy):
                    continue
                found.append(copy.original)
            del left[partition]
            reader.pause([TopicPartition(*partition)])  # its records would take the time of the others
    reader.resume(reader.assignment())  # a pause outlasts the assignment
    reader.unassign()
    return FirstCopies(oldest_with_time(found), left)


def oldest_with_time(originals: Iterable[OriginalPosition]) -> OriginalPosition | None:
    """Return the oldest of the records that have a time; None if none has."""
    return min(filter(_time_of, originals), key=_time_of, default=None)


def _time_of(original: OriginalPosition) -> int:
    """Return the time of a record; 0 if it has none, because then the copy gets the time of the copying."""
    return max(0, original.timestamp_ms or 0)


def warning(topic: str, servers: str, kept: int, oldest: OriginalPosition, now_ms: int) -> str:
    """Return what to tell the user if Kafka deletes the oldest copies soon; empty if it does not.

    Args:
        topic: The topic to write to.
        servers: The bootstrap servers, for the command that changes the topic.
        kept: How long the topic keeps a record after the record's own time, in milliseconds.
        oldest: The original of the oldest copy, which has a time.
        now_ms: The time, in milliseconds since 1970.

    Raises:
        DataProtectionError: The copy is too old already.
    """
    age_ms = max(0, now_ms - _time_of(oldest))
    left_ms = kept - age_ms
    if left_ms >= kept * _SHORT_SHARE:
        return ""
    longer_ms = math.ceil((age_ms + kept) / _DAY_MS) * _DAY_MS
    facts = (
        f"the topic {topic!r} keeps records for {_shown(kept)} (retention.ms={kept}), and the first record to "
        f"copy, {oldest}, is {_shown(age_ms)} old. Copies keep the time of their originals, so Kafka "
    )
    change = (
        f"kafka-configs.sh --bootstrap-server {servers} --alter --entity-type topics --entity-name {topic} "
        f"--add-config retention.ms={longer_ms}"
    )
    if left_ms > 0:
        when = _shown(left_ms)
        return f"{facts}deletes the oldest in {when}. Read them before, or let the topic keep them: {change}"
    raise DataProtectionError(
        f"{facts}may delete them before anybody reads them. Let the topic keep them, and run this command again: "
        f"{change}. Or copy younger records only (--since, --offsets). Nothing was copied now."
    )


def _shown(duration_ms: int) -> str:
    if duration_ms >= 2 * _DAY_MS:
        return f"{duration_ms / _DAY_MS:.1f} days"
    if duration_ms >= 2 * _HOUR_MS:
        return f"{duration_ms / _HOUR_MS:.1f} hours"
    return f"{duration_ms / 60_000:.1f} minutes"
