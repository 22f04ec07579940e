"""What the brokers have been asked about the starts of partitions."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from worker.records import Partition

if TYPE_CHECKING:
    from concurrent.futures import Future


@dataclass(frozen=True, slots=True)
class CommittedQuestion:
    """The first question: the committed offsets of these partitions, and their topics."""

    asked_ms: int
    number: int
    partitions: Collection[Partition]
    offsets: "Future[Any]"
    topics: Mapping[str, "Future[Any]"]

    @property
    def done(self) -> bool:
        """Whether all has been answered."""
        return self.offsets.done() and all(topic.done() for topic in self.topics.values())


@dataclass(frozen=True, slots=True)
class RangeQuestion:
    """The second question: the range of partitions that have one leader.

    Attributes:
        number: Of the lookup.
        committed: The partitions, and for each the committed offset that is out of range, if there is one.
        gone: The partitions whose log took the place of another one, and the id of that.
        low: The first offsets.
        high: The ends.
        timed: The offsets for the time of the settings.
    """

    number: int
    committed: Mapping[Partition, int | None]
    gone: Mapping[Partition, str]
    low: Mapping[Partition, "Future[Any]"]
    high: Mapping[Partition, "Future[Any]"]
    timed: Mapping[Partition, "Future[Any]"]

    @property
    def done(self) -> bool:
        """Whether all has been answered."""
        return all(answer.done() for kind in (self.low, self.high, self.timed) for answer in kind.values())
