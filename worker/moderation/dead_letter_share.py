"""The bound on dead letters: a worker must not go on quietly when it can judge too few records of a partition.

A dead letter must not become a way past moderation, and a broken producer sends nothing else. So the share of dead
letters among the last records of each partition has a bound: one for records that can't be decoded, one for records
that break the model. A batch that would cross a bound is not committed. Its partition goes into quarantine
(``worker.kafka.quarantine``), and the other partitions go on.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

from schemas.dead_letter import MODEL_REASONS
from worker.records import (
    DeadLetterCause,
    DeadLetterExcess,
    DeadLetterReason,
    Partition,
    PreparedMessage,
    ScoredRecord,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareBounds:
    """The bounds.

    Attributes:
        model_share_max: Of records that break the model, in [0, 1].
        input_share_max: Of records that can't be decoded, in [0, 1].
        window_records: How many of a partition's last records count.
        records_min: With fewer records no share is judged: one bad message would be a large one.
    """

    model_share_max: float
    input_share_max: float
    window_records: int
    records_min: int = 50

    def share_max(self, cause: DeadLetterCause) -> float:
        """Return the bound on dead letters with this cause."""
        return self.model_share_max if cause is DeadLetterCause.MODEL else self.input_share_max


class _Dead(NamedTuple):
    number: int  # counted from the window's first record
    reason: str
    offset: int


@dataclass(slots=True)
class _Window:
    """The last records of a partition: only the dead ones are kept, so that a good record costs nothing."""

    records: int = 0
    dead: deque[_Dead] = field(default_factory=deque)
    exempt_below: int = 0


class DeadLetterShare:
    """The share of dead letters among the last records that were published, for each partition."""

    def __init__(self, bounds: ShareBounds) -> None:
        self._bounds = bounds
        self._windows: dict[Partition, _Window] = {}

    def excess(
        self, results: Sequence[ScoredRecord], exempt_below: Mapping[Partition, int]
    ) -> list[DeadLetterExcess]:
        """Return what would put partitions above a bound if these results were published.

        Args:
            results: In the order in which each partition was read.
            exempt_below: By partition the offset below which dead letters do not count.
        """
        if not _turned_away(results):
            return []
        found = []
        for partition, (records, dead) in self._batches(results, exempt_below).items():
            if dead:
                window = self._window(partition, exempt_below)
                found += self._over(partition, window.records + records, [*window.dead, *dead])
        return found

    def observe(self, results: Sequence[ScoredRecord], exempt_below: Mapping[Partition, int]) -> None:
        """Count what has been committed."""
        for partition, (records, dead) in self._batches(results, exempt_below).items():
            window = self._window(partition, exempt_below)
            window.dead.extend(dead)
            window.records += records
            while window.dead and window.dead[0].number <= window.records - self._bounds.window_records:
                window.dead.popleft()

    def _window(self, partition: Partition, exempt_below: Mapping[Partition, int]) -> _Window:
        """Return the partition's window; a partition that was released begins a new one."""
        window = self._windows.get(partition)
        if window is None or window.exempt_below != exempt_below.get(partition, 0):
            window = self._windows[partition] = _Window(exempt_below=exempt_below.get(partition, 0))
        return window

    def _batches(
        self, results: Sequence[ScoredRecord], exempt_below: Mapping[Partition, int]
    ) -> dict[Partition, tuple[int, list[_Dead]]]:
        """Count each partition's records, and number its dead ones as they come after the window's."""
        if not _turned_away(results):
            return {partition: (count, []) for partition, count in Counter(map(_partition, results)).items()}
        counts: Counter[Partition] = Counter()
        dead: defaultdict[Partition, list[_Dead]] = defaultdict(list)
        for result in results:
            source, content = result.record.source, result.record.content
            if content is None:
                continue
            counts[source.partition] += 1
            fault = content if type(content) is DeadLetterReason else result.scores
            if type(fault) is DeadLetterReason and source.offset >= exempt_below.get(source.partition, 0):
                number = self._window(source.partition, exempt_below).records + counts[source.partition]
                dead[source.partition].append(_Dead(number, fault.reason, source.offset))
        return {partition: (count, dead[partition]) for partition, count in counts.items()}

    def _over(self, partition: Partition, records: int, dead: Iterable[_Dead]) -> list[DeadLetterExcess]:
        """Compare one partition's window with the bounds: at most one excess."""
        size = min(records, self._bounds.window_records)
        if size < self._bounds.records_min:
            return []
        counted = [one for one in dead if one.number > records - size]
        for cause in (DeadLetterCause.MODEL, DeadLetterCause.INPUT):
            share_max = self._bounds.share_max(cause)
            blamed = [one for one in counted if (one.reason in MODEL_REASONS) == (cause is DeadLetterCause.MODEL)]
            if len(blamed) > share_max * size:
                reason = Counter(one.reason for one in blamed).most_common(1)[0][0]
                return [
                    DeadLetterExcess(
                        partition=partition,
                        cause=cause,
                        reason=reason,
                        offset=next(one.offset for one in reversed(blamed) if one.reason == reason),
                        dead=len(blamed),
                        records=size,
                        share_max=share_max,
                    )
                ]
        return []


_partition = attrgetter("record.source.partition")


def _turned_away(results: Sequence[ScoredRecord]) -> list[ScoredRecord]:
    """Return the results that are no verdicts: dead letters, and tombstones."""
    return [
        one
        for one in results
        if type(one.record.content) is not PreparedMessage or type(one.scores) is DeadLetterReason
    ]
