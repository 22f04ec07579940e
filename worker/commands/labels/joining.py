"""Join decisions with the texts: decision, verdict, input record, message. Pure; the records are arguments.

What a decision may lack at each step is counted under a reason, and no text is ever in such a report.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from pydantic import ValidationError

from schemas.chat import ChatMessage
from worker.commands.labels.decisions import DecisionSource, MessagePlace, ModeratorDecision, ModeratorDecisions
from worker.commands.labels.stretches import Stretch
from worker.moderation.shapes import ItemReading, Reading, ReadRecord
from worker.records import Headers, Partition, Skipped
from worker.scores import DeadLetterReason

EXAMPLES_MAX = 3

REASONS = {
    "unknown_verdict": "no verdict with this id was found. Look further back with --since, or name --verdicts",
    "no_source": "the verdict names no input record, as those of `classify`",
    "other_topic": "the topic is not an input topic of this worker (WORKER_KAFKA__INPUT_TOPICS)",
    "expired": "retention has deleted the record from the input topic",
    "no_record": "the input topic has no record at this offset",
    "another_record": "the record at this offset has another time: the topic was deleted and created again",
    "no_message": "the record is not a chat message that the worker could read (WORKER_INPUT__SHAPE)",
    "no_element": "the decision names an element that the record does not have, or none although it is an array",
    "blank": "the text is blank, and nobody scores it",
}
"""Why a decision can't be joined, by the name of the reason."""


@dataclass(slots=True)
class NotJoined:
    """The decisions that could not be joined.

    Attributes:
        counts: Number of decisions, by reason.
        examples: The first messages, by reason: a verdict's id, or the place of the message.
    """

    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, reason: str, target: object) -> None:
        """Count a decision."""
        self.counts[reason] += 1
        if len(self.examples[reason]) < EXAMPLES_MAX:
            self.examples[reason].append(str(target))


@dataclass(frozen=True, slots=True)
class PlacedDecision:
    """A decision whose message is known.

    Attributes:
        decision: The decision.
        source: The message.
    """

    decision: ModeratorDecision
    source: DecisionSource


Placed = dict[Partition, dict[int, list[PlacedDecision]]]
"""The decisions by partition and offset. The elements of an array share an offset."""


def wanted_ids(decisions: ModeratorDecisions) -> dict[str, ModeratorDecision]:
    """Return the decisions that name only a verdict, by its id."""
    return {target: one for target, one in decisions.by_target.items() if isinstance(target, str)}


def sources_of_verdicts(
    wanted: Mapping[str, ModeratorDecision], chunks: Iterable[Sequence[bytes]]
) -> dict[str, DecisionSource | None]:
    """Return the source of each wanted verdict that is found; None: the verdict has no source.

    Only the wanted verdicts are kept. The reading ends when all of them are found.
    """
    found: dict[str, DecisionSource | None] = {}
    for chunk in chunks:
        for value in chunk:
            document = _json(value)
            verdict_id = document.get("verdict_id") if isinstance(document, dict) else None
            if isinstance(verdict_id, str) and verdict_id in wanted:
                found[verdict_id] = _source(document.get("source"))
        if len(found) == len(wanted):
            break
    return found


def _source(given: object) -> DecisionSource | None:
    """Return the source of a verdict; None if it has none, or names no record."""
    try:
        return DecisionSource.model_validate(given)
    except ValidationError:
        return None


def placed(
    decisions: ModeratorDecisions,
    sources: Mapping[str, DecisionSource | None],
    topics: Sequence[str],
    not_joined: NotJoined,
) -> Placed:
    """Return the decisions by record. Two decisions about one message may name it in both ways: the later counts.

    Args:
        decisions: The decisions.
        sources: The sources of verdicts.
        topics: The input topics.
        not_joined: Receives the decisions without a record.
    """
    by_place: dict[MessagePlace, PlacedDecision] = {}
    for target, decision in decisions.by_target.items():
        source = decision.source
        if isinstance(target, str):
            source = sources.get(target)
            if source is None:
                not_joined.add("no_source" if target in sources else "unknown_verdict", target)
                continue
        assert source is not None  # noqa: S101 - a decision without a verdict's id has a source
        if source.topic not in topics:
            not_joined.add("other_topic", source.place)
            continue
        decisions.replaced += source.place in by_place
        by_place[source.place] = PlacedDecision(decision, source)
    found: Placed = defaultdict(lambda: defaultdict(list))
    for place, one in by_place.items():
        found[Partition(place.topic, place.partition)][place.offset].append(one)
    return found


def drop_unreadable(found: Placed, logs: Mapping[Partition, Stretch], not_joined: NotJoined) -> None:
    """Remove the decisions whose record is not in the log.

    Args:
        found: The decisions by record.
        logs: The offsets that each partition has.
        not_joined: Receives the decisions that are removed.
    """
    for partition, by_offset in found.items():
        log = logs.get(partition, Stretch(0, 0))
        for offset in [one for one in by_offset if not log.begin <= one < log.end]:
            reason = "expired" if offset < log.begin else "no_record"
            for one in by_offset.pop(offset):
                not_joined.add(reason, one.source.place)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRecord:
    """An input record that a decision names.

    Attributes:
        timestamp_ms: Kafka's timestamp, in milliseconds since 1970; None when the record has none.
        value: The value; None: a tombstone.
        headers: The headers, in order.
    """

    timestamp_ms: int | None
    value: bytes | None
    headers: Headers


def labelled_lines(
    decisions: Sequence[PlacedDecision], record: FoundRecord, read: ReadRecord, not_joined: NotJoined
) -> Iterator[bytes]:
    """Yield a line with text and labels for each decision about a record.

    Args:
        decisions: The decisions about the record.
        record: The record.
        read: Reads a record, as the worker reads it.
        not_joined: Receives the decisions without a text.
    """
    reading = None if record.value is None else read(record.value, record.headers)
    for one in decisions:
        found = _message(one, record, reading)
        if isinstance(found, ChatMessage):
            yield orjson.dumps(_labelled(one, found)) + b"\n"
        else:
            not_joined.add(found, one.source.place)


def _message(one: PlacedDecision, record: FoundRecord, reading: Reading | None) -> ChatMessage | str:
    """Return the message, or the reason why there is none."""
    expected_ms = one.source.timestamp_ms
    if expected_ms is not None and expected_ms != record.timestamp_ms:
        return "another_record"
    item: ItemReading | None
    if isinstance(reading, tuple):
        if one.source.item is None or one.source.item >= len(reading):
            return "no_element"
        item = reading[one.source.item]
    elif one.source.item is not None:
        return "no_element"
    else:
        item = reading
    if item is None or isinstance(item, Skipped | DeadLetterReason):
        return "no_message"
    return item if item.text.strip() else "blank"


def _labelled(one: PlacedDecision, message: ChatMessage) -> dict[str, Any]:
    decision, context = one.decision, message.context
    fields = {
        "text": message.text,
        "labels": decision.labels,
        "unsafe": decision.unsafe,
        "language": decision.language or (None if context is None else context.language),
        "group": decision.group,
        "source": one.source.model_dump(exclude_none=True),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _json(value: bytes) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
