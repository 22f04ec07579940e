"""Compare inputs with outputs: which are lost, doubled, out of order or foreign. Pure.

Exactly once means for a reader at read_committed: each input has one verdict or one dead letter. A tombstone and a
skipped record have neither, and a JSON array has one for each element that is not skipped. Each flagged verdict has
one alert, or is counted in one summary. The verdict on a truncated text may have an alert. There are no further
alerts and counts. The outputs of an input partition have the order of its inputs; a summary comes when its window
has ended. The commands ``demo`` and
``prove`` and the tests all use this audit.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Self

from worker.records import MessagePosition, Partition, Topic

InputPosition = tuple[Partition, int]
"""The partition and the offset of an input."""

EXAMPLES_MAX = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedInput:
    """A message that a reader found in an input topic.

    Attributes:
        partition: The input partition.
        offset: The offset in that partition.
        tombstone: Whether the message has no value, or is skipped.
        items: The numbers of the elements that must have outputs; None if the message is not a JSON array.
    """

    partition: Partition
    offset: int
    tombstone: bool = False
    items: Sequence[int] | None = None

    @property
    def positions(self) -> Sequence[MessagePosition]:
        """The positions that must have one verdict or dead letter each."""
        if self.items is not None:
            return [(self.partition, self.offset, item) for item in self.items]
        return [] if self.tombstone else [(self.partition, self.offset, None)]


@dataclass(frozen=True, slots=True)
class ObservedRepeat:
    """What a summary says.

    Attributes:
        of: The id of the alert whose key it counts.
        count: Number of the messages that were counted.
        first_offset: Offset of the first one.
        last_offset: Offset of the last one.
    """

    of: str
    count: int
    first_offset: int
    last_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedOutput:
    """A record that a read_committed reader found in an output topic.

    Attributes:
        topic: The kind of output topic.
        source: The input that the record names; None when the record names none.
        partition: The partition of the output topic.
        offset: The offset in that partition.
        flagged: Whether a verdict is flagged; False for other outputs.
        item: The number of the element that the record names; None when it names none.
        truncated: Whether a verdict says that a part of the text was not scored; False for other outputs.
        alert_id: The id of an alert; None for other outputs.
        key: What the messages of a summary have in common, as a verdict and an alert name it. With None everywhere,
            the audit only compares numbers and offsets.
        repeat: What a summary says; None for other outputs.
    """

    topic: Topic
    source: InputPosition | None
    partition: int
    offset: int
    flagged: bool = False
    item: int | None = None
    truncated: bool = False
    alert_id: str | None = None
    key: str | None = None
    repeat: ObservedRepeat | None = None

    @property
    def may_alert(self) -> bool:
        """Whether the record is a verdict that may have an alert."""
        return self.topic is Topic.VERDICT and (self.flagged or self.truncated)

    @property
    def position(self) -> MessagePosition | None:
        """The position of the message that the record answers; None when the record names none."""
        return None if self.source is None else (*self.source, self.item)


class Discrepancy(StrEnum):
    """What can be wrong with the outputs of an input."""

    LOST = "lost"
    DOUBLED = "doubled"
    OUT_OF_ORDER = "out of order"
    ALERT = "alerts wrong"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The result of an audit.

    Attributes:
        inputs: Number of all inputs, with tombstones.
        tombstones: Number of inputs that must have no output.
        verdicts: Number of all verdicts that the reader found.
        dead_letters: Number of all dead letters that the reader found.
        alerts: Number of all alerts that the reader found, without the summaries.
        summaries: Number of all summaries that the reader found.
        counted: Number of the messages that the summaries count.
        lost: Number of inputs without the verdict or dead letter that they must have.
        doubled: Number of verdicts and dead letters beyond one for each input.
        out_of_order: Number of outputs that come after the output of a later input of the same partition, or are in
            another output partition than earlier outputs of that input partition.
        alerts_wrong: Number of alerts and counts without a flagged verdict, and of flagged verdicts without an
            alert and without a count.
        foreign: Number of outputs that name none of the inputs.
        examples: The first discrepancies, as text.
    """

    inputs: int
    tombstones: int
    verdicts: int
    dead_letters: int
    alerts: int
    summaries: int
    counted: int
    lost: int
    doubled: int
    out_of_order: int
    alerts_wrong: int
    foreign: int
    examples: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether each input has exactly the outputs that it must have."""
        return not (self.lost or self.doubled or self.out_of_order or self.alerts_wrong or self.foreign)

    def __add__(self, other: Self) -> Self:
        """Return the sum of two ledgers that have no input in common."""
        examples = (*self.examples, *other.examples)[:EXAMPLES_MAX]
        counts = {
            one.name: getattr(self, one.name) + getattr(other, one.name)
            for one in fields(self)
            if one.name != "examples"
        }
        return replace(self, examples=examples, **counts)

    def __str__(self) -> str:
        """Return one line. Counts that are usually 0 are named only when they are not."""
        unusual = {
            "tombstones": self.tombstones,
            "counted instead of alerts": self.counted,
            Discrepancy.OUT_OF_ORDER: self.out_of_order,
            Discrepancy.ALERT: self.alerts_wrong,
            Discrepancy.FOREIGN: self.foreign,
        }
        line = (
            f"in {self.inputs}, verdicts {self.verdicts}, dead letters {self.dead_letters}, lost {self.lost}, "
            f"doubled {self.doubled}"
        )
        return line + "".join(f"; {name} {count}" for name, count in unusual.items() if count)


def audit(inputs: Iterable[ObservedInput], outputs: Iterable[ObservedOutput]) -> Ledger:
    """Return the ledger of all inputs and all outputs, each in any order."""
    found = {(one.partition, one.offset): one.positions for one in inputs}
    owed = dict.fromkeys(position for positions in found.values() for position in positions)
    by_offset = sorted(outputs, key=lambda output: (output.topic.value, output.partition, output.offset))
    known = [output for output in by_offset if output.source in found]
    wrong = [*_wrong_counts(owed, known), *_wrong_alerts(known), *_wrong_places(found, by_offset)]
    counts, kinds = Counter(kind for kind, _ in wrong), Counter(output.topic for output in by_offset)
    repeats = [output.repeat for output in by_offset if output.repeat is not None]
    return Ledger(
        inputs=len(found),
        tombstones=sum(not positions for positions in found.values()),
        verdicts=kinds[Topic.VERDICT],
        dead_letters=kinds[Topic.DEAD_LETTER],
        alerts=kinds[Topic.ALERT] - len(repeats),
        summaries=len(repeats),
        counted=sum(repeat.count for repeat in repeats),
        lost=counts[Discrepancy.LOST],
        doubled=counts[Discrepancy.DOUBLED],
        out_of_order=counts[Discrepancy.OUT_OF_ORDER],
        alerts_wrong=counts[Discrepancy.ALERT],
        foreign=counts[Discrepancy.FOREIGN],
        examples=tuple(f"{kind}: {about}" for kind, about in wrong[:EXAMPLES_MAX]),
    )


def _wrong_counts(
    owed: Mapping[MessagePosition, object], outputs: list[ObservedOutput]
) -> Iterator[tuple[Discrepancy, str]]:
    """Yield one discrepancy for each output that is missing or surplus."""
    answers = Counter(output.position for output in outputs if output.topic is not Topic.ALERT)
    answered = [output.position for output in outputs if output.position is not None]
    for position in dict.fromkeys([*owed, *answered]):
        surplus = answers[position] - (position in owed)
        kind = Discrepancy.LOST if surplus < 0 else Discrepancy.DOUBLED
        yield from [(kind, _described(position))] * abs(surplus)


def _wrong_alerts(outputs: list[ObservedOutput]) -> Iterator[tuple[Discrepancy, str]]:
    """Yield one discrepancy for each flagged verdict in no alert and no count, and for each surplus one of these.

    The counts are those of the summaries. A summary belongs to the key of the alert that it names.
    """
    alerts = [output for output in outputs if output.topic is Topic.ALERT and output.repeat is None]
    surplus = Counter(output.position for output in alerts)
    uncounted = _without_alert(outputs, surplus)
    for position, count in surplus.items():
        if position is not None:
            yield from [(Discrepancy.ALERT, f"alert of {_described(position)}")] * count
    keys = {output.alert_id: output.key for output in alerts}
    repeats: dict[tuple[Partition, str | None], list[ObservedRepeat]] = defaultdict(list)
    for output in outputs:
        if output.repeat is not None and output.source is not None:
            repeats[output.source[0], keys.get(output.repeat.of)].append(output.repeat)
            if output.repeat.of not in keys:
                yield Discrepancy.ALERT, f"a summary of no alert at {output.source[0]} {output.source[1]}"
    for group in dict.fromkeys([*uncounted, *repeats]):
        yield from _wrong_repeats(group[0], sorted(uncounted[group]), repeats[group])


def _without_alert(
    outputs: list[ObservedOutput], surplus: Counter[MessagePosition | None]
) -> dict[tuple[Partition, str | None], list[MessagePosition]]:
    """Return the flagged verdicts without an alert, by partition and key; take the alerts of the others away."""
    found: dict[tuple[Partition, str | None], list[MessagePosition]] = defaultdict(list)
    for output in outputs:
        if output.position is None or not output.may_alert:
            continue
        if surplus[output.position]:
            surplus[output.position] -= 1
        elif output.flagged:
            found[output.position[0], output.key].append(output.position)
    return found


def _wrong_repeats(
    partition: Partition, uncounted: list[MessagePosition], repeats: list[ObservedRepeat]
) -> Iterator[tuple[Discrepancy, str]]:
    """Give each message to one count, and yield what is left over on both sides.

    Each message goes to the summary that ends first among those that contain its offset and have a count left. If
    any way gives each message to a count, this way does.
    """
    left = sorted([repeat.last_offset, repeat.first_offset, repeat.count] for repeat in repeats)
    for position in uncounted:
        fitting = next((one for one in left if one[1] <= position[1] <= one[0] and one[2]), None)
        if fitting is None:
            yield Discrepancy.ALERT, f"no alert and no count of {_described(position)}"
        else:
            fitting[2] -= 1
    for last, first, count in left:
        yield from [(Discrepancy.ALERT, f"count of no message, {partition} {first} to {last}")] * count


def _wrong_places(
    found: Mapping[InputPosition, object], outputs: list[ObservedOutput]
) -> Iterator[tuple[Discrepancy, str]]:
    """Yield outputs that name none of the inputs, or are in the wrong place. ``outputs`` are sorted by offset."""
    latest: dict[tuple[Topic, Partition], tuple[int, tuple[int, int]]] = {}
    for output in outputs:
        if output.source is None or output.source not in found:
            yield Discrepancy.FOREIGN, f"{output.topic.value} at [{output.partition}] {output.offset}"
            continue
        partition, offset = output.source
        at = offset, output.item or 0
        if output.repeat is not None:  # it comes when its window has ended, behind later alerts
            continue
        output_partition, latest_at = latest.get((output.topic, partition), (output.partition, at))
        if output.partition != output_partition or at < latest_at:
            yield (
                Discrepancy.OUT_OF_ORDER,
                f"{output.topic.value} of {_described((partition, offset, output.item))}",
            )
        latest[output.topic, partition] = output_partition, max(latest_at, at)


def _described(position: MessagePosition) -> str:
    partition, offset, item = position
    return f"{partition} {offset}" if item is None else f"{partition} {offset}#{item}"
