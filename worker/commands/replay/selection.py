"""What a run copies: the user's choice, and the offsets that follow from it. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from worker.errors import ConfigurationError, DataProtectionError
from worker.records import Partition

_OFFSETS = re.compile(
    "(?P<topic>[a-zA-Z0-9._-]+):(?P<partition>[0-9]{1,9}):(?P<first>[0-9]{1,18})-(?P<last>[0-9]{1,18})"
)


class OffsetSpan(NamedTuple):
    """Offsets of a partition.

    Attributes:
        begin: The first offset.
        end: The offset after the last one.
    """

    begin: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySelection:
    """What a run copies.

    Attributes:
        topics: The topics to read.
        since_ms: Begin with the first record of this time or later, in milliseconds since 1970; None: ``spans``
            says where to begin.
        until_ms: End before the first record of this time or later; None: at the present end.
        spans: The offsets to copy, by partition; empty: the times say what to copy.
        reasons: The reasons of the dead letters to copy; None: the topics hold input messages, not dead letters.
        options: The options as the user gave them, and the topics. A run goes on only with the same ones.
    """

    topics: Sequence[str]
    since_ms: int | None
    until_ms: int | None
    spans: Mapping[Partition, OffsetSpan]
    reasons: frozenset[str] | None
    options: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogBounds:
    """What the brokers say about a partition.

    Attributes:
        low: The first offset that retention has kept.
        stable: The last stable offset: the end for a read_committed reader.
        high: The high watermark. It is above ``stable`` while a transaction is open.
        since: The first offset of ``since_ms`` or later; -1: none; None: no such time was given.
        until: The first offset of ``until_ms`` or later; -1: none; None: no such time was given.
    """

    low: int
    stable: int
    high: int
    since: int | None = None
    until: int | None = None


def parse_offsets(texts: Sequence[str], topics: Sequence[str]) -> dict[Partition, OffsetSpan]:
    """Return the spans of ``--offsets TOPIC:PARTITION:FIRST-LAST``, with both offsets included.

    Raises:
        ConfigurationError: A text has another form, names another topic, or names a partition again.
    """
    spans: dict[Partition, OffsetSpan] = {}
    for text in texts:
        found = _OFFSETS.fullmatch(text)
        if found is None or int(found["last"]) < int(found["first"]):
            raise ConfigurationError(
                f"--offsets: got {text[:80]!r}; wants TOPIC:PARTITION:FIRST-LAST, such as "
                "chat.messages:0:1000-1999, with both offsets included"
            )
        partition = Partition(found["topic"], int(found["partition"]))
        if partition.topic not in topics:
            raise ConfigurationError(f"--offsets: {partition.topic} is not among the topics {', '.join(topics)}")
        if partition in spans:
            raise ConfigurationError(f"--offsets: names {partition} twice; a run copies one range of a partition")
        spans[partition] = OffsetSpan(int(found["first"]), int(found["last"]) + 1)
    return spans


def resolve(selection: ReplaySelection, bounds: Mapping[Partition, LogBounds]) -> dict[Partition, OffsetSpan]:
    """Return the offsets to copy of each partition. Empty spans are left out.

    Raises:
        ConfigurationError: Offsets are not in the log.
        DataProtectionError: An open transaction hides records of the range.
    """
    if selection.spans:
        for partition, span in selection.spans.items():
            _check(partition, span, bounds)
        return dict(selection.spans)
    spans = {partition: _timed(partition, at) for partition, at in bounds.items()}
    return {partition: span for partition, span in spans.items() if span.begin < span.end}


def _check(partition: Partition, span: OffsetSpan, bounds: Mapping[Partition, LogBounds]) -> None:
    at = bounds.get(partition)
    if at is None:
        count = sum(one.topic == partition.topic for one in bounds)
        raise ConfigurationError(
            f"--offsets: {partition} does not exist; the topic has the partitions 0 to {count - 1}"
        )
    if span.begin < at.low or span.end > at.high:
        has = f"the offsets {at.low} to {at.high - 1}" if at.low < at.high else "no records"
        raise ConfigurationError(
            f"--offsets: {partition} has {has}, not all of {span.begin} to {span.end - 1}: name offsets that are "
            "there (retention deletes the oldest)"
        )
    if span.end > at.stable:
        raise _hidden(partition, at)


def _timed(partition: Partition, at: LogBounds) -> OffsetSpan:
    begin = at.stable if at.since is None or at.since < 0 else at.since
    if at.until is None:
        return OffsetSpan(begin, at.stable)
    if at.until < 0:
        if at.stable < at.high:
            raise _hidden(partition, at)
        return OffsetSpan(begin, at.stable)
    return OffsetSpan(begin, at.until)


def _hidden(partition: Partition, at: LogBounds) -> DataProtectionError:
    return DataProtectionError(
        f"an open transaction hides the records of {partition} from offset {at.stable} on, and they may belong to "
        "the range. Wait until it ends, or find it with kafka-transactions.sh find-hanging. Then run this command "
        "again. Nothing was copied."
    )
