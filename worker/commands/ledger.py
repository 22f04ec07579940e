"""Inputs against outputs: what was lost, doubled, out of order or not ours. Pure.

Exactly once means, for whoever reads at read_committed: every input has one verdict or one dead letter (a
tombstone: neither), the alerts are exactly the flagged verdicts, and the outputs of an input partition stand in
its order. The demonstration, the proof and the tests all ask this one judge.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Self

from worker.records import Partition, Topic

InputPosition = tuple[Partition, int]
"""Partition and offset of an input."""

EXAMPLES_MAX = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedInput:
    """A message that stands in an input topic."""

    partition: Partition
    offset: int
    tombstone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedOutput:
    """A record that a read_committed reader found in an output topic.

    Attributes:
        topic: Which of our topics.
        source: The input that it says it answers; None when it names none.
        partition: Where it stands: the output topic's partition,
        offset: and the place in it.
        flagged: Of a verdict.
    """

    topic: Topic
    source: InputPosition | None
    partition: int
    offset: int
    flagged: bool = False


class Wrong(StrEnum):
    """What can be wrong about an input's outputs."""

    LOST = "lost"
    DOUBLED = "doubled"
    OUT_OF_ORDER = "out of order"
    ALERT = "alerts wrong"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The account.

    Attributes:
        inputs: All, tombstones included.
        tombstones: Inputs that owe nothing.
        verdicts: All that were seen, as for the next two.
        dead_letters: As above.
        alerts: As above.
        lost: Inputs without the verdict or dead letter that they are owed.
        doubled: Verdicts and dead letters beyond the one that is owed.
        out_of_order: Outputs behind the answer to a later input of the partition, or in another partition than
            the earlier ones.
        alerts_wrong: Alerts too many and alerts missing, against the flagged verdicts.
        foreign: Outputs that answer none of the inputs.
        examples: The first of whatever is wrong, as sentences.
    """

    inputs: int
    tombstones: int
    verdicts: int
    dead_letters: int
    alerts: int
    lost: int
    doubled: int
    out_of_order: int
    alerts_wrong: int
    foreign: int
    examples: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether each input has had exactly what it is owed."""
        return not (self.lost or self.doubled or self.out_of_order or self.alerts_wrong or self.foreign)

    def __add__(self, other: Self) -> Self:
        """The account of both, where no input is in both."""
        examples = (*self.examples, *other.examples)[:EXAMPLES_MAX]
        counts = {
            one.name: getattr(self, one.name) + getattr(other, one.name)
            for one in fields(self)
            if one.name != "examples"
        }
        return replace(self, examples=examples, **counts)

    def __str__(self) -> str:
        """One line; what is usually 0 is named only when it isn't."""
        unusual = {
            "tombstones": self.tombstones,
            Wrong.OUT_OF_ORDER: self.out_of_order,
            Wrong.ALERT: self.alerts_wrong,
            Wrong.FOREIGN: self.foreign,
        }
        line = (
            f"in {self.inputs}, verdicts {self.verdicts}, dead letters {self.dead_letters}, lost {self.lost}, "
            f"doubled {self.doubled}"
        )
        return line + "".join(f"; {name} {count}" for name, count in unusual.items() if count)


def audit(inputs: Iterable[ObservedInput], outputs: Iterable[ObservedOutput]) -> Ledger:
    """The account of all inputs and all outputs, each in any order."""
    owed = {(given.partition, given.offset): not given.tombstone for given in inputs}
    standing = sorted(outputs, key=lambda seen: (seen.topic.value, seen.partition, seen.offset))
    wrong = [*_miscounted(owed, standing), *_misplaced(owed, standing)]
    counts, kinds = Counter(kind for kind, _ in wrong), Counter(seen.topic for seen in standing)
    return Ledger(
        inputs=len(owed),
        tombstones=len(owed) - sum(owed.values()),
        verdicts=kinds[Topic.VERDICT],
        dead_letters=kinds[Topic.DEAD_LETTER],
        alerts=kinds[Topic.ALERT],
        lost=counts[Wrong.LOST],
        doubled=counts[Wrong.DOUBLED],
        out_of_order=counts[Wrong.OUT_OF_ORDER],
        alerts_wrong=counts[Wrong.ALERT],
        foreign=counts[Wrong.FOREIGN],
        examples=tuple(f"{kind}: {about}" for kind, about in wrong[:EXAMPLES_MAX]),
    )


def _miscounted(owed: dict[InputPosition, bool], outputs: list[ObservedOutput]) -> Iterator[tuple[Wrong, str]]:
    """Too few or too many, one entry for each."""
    answers = Counter(seen.source for seen in outputs if seen.topic is not Topic.ALERT)
    alerts = Counter(seen.source for seen in outputs if seen.topic is Topic.ALERT)
    flagged = Counter(seen.source for seen in outputs if seen.topic is Topic.VERDICT and seen.flagged)
    for place, owes in owed.items():
        surplus = answers[place] - owes
        yield from [(Wrong.LOST if surplus < 0 else Wrong.DOUBLED, _named(place))] * abs(surplus)
        yield from [(Wrong.ALERT, _named(place))] * abs(alerts[place] - flagged[place])


def _misplaced(owed: dict[InputPosition, bool], outputs: list[ObservedOutput]) -> Iterator[tuple[Wrong, str]]:
    """Outputs that answer nothing, or stand where they should not; ``outputs`` as they stand."""
    last: dict[tuple[Topic, Partition], tuple[int, int]] = {}
    for seen in outputs:
        if seen.source is None or seen.source not in owed:
            yield Wrong.FOREIGN, f"{seen.topic.value} at [{seen.partition}] {seen.offset}"
            continue
        partition, offset = seen.source
        stands_in, latest = last.get((seen.topic, partition), (seen.partition, offset))
        if seen.partition != stands_in or offset < latest:
            yield Wrong.OUT_OF_ORDER, f"{seen.topic.value} of {_named(seen.source)}"
        last[seen.topic, partition] = stands_in, max(latest, offset)


def _named(place: InputPosition) -> str:
    partition, offset = place
    return f"{partition} {offset}"
