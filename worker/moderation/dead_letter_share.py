"""Bound the share of dead letters, so that a worker does not silently skip most of a partition.

A dead letter must not become a way to avoid moderation. A broken producer sends nothing but dead letters. So two
bounds limit the share of dead letters among the last records of each partition: one for records that cannot be
decoded, one for records that break the model. The worker does not commit a batch that would exceed a bound. The
partition goes into quarantine (``worker.kafka.quarantine``), and the worker goes on with the other partitions.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

from schemas.dead_letter import MODEL_REASONS
from worker.records import DeadLetterCause, DeadLetterExcess, Partition, PreparedMessage, ScoredRecord, Skipped
from worker.scores import DeadLetterReason


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareBounds:
    """The largest allowed shares of dead letters.

    Attributes:
        model_share_max: Largest share of records that break the model, in [0, 1].
        input_share_max: Largest share of records that cannot be decoded, in [0, 1].
        window_records: Number of a partition's last records that count.
        records_min: Smallest number of records for which a share is computed. With fewer records, one bad message
            would be a large share.
    """

    model_share_max: float
    input_share_max: float
    window_records: int
    records_min: int = 50

    def share_max(self, cause: DeadLetterCause) -> float:
        """Return the largest share of dead letters of this cause."""
        return self.model_share_max if cause is DeadLetterCause.MODEL else self.input_share_max


class _DeadLetter(NamedTuple):
    number: int  # position in the partition, counted from the window's first record
    reason: str
    offset: int


@dataclass(slots=True)
class _Window:
    """The last records of a partition. It stores dead letters only, so that a good record costs nothing.

    Attributes:
        records: Number of records since the window began.
        dead_letters: The dead letters among the last ``window_records`` of these.
        exempt_below: Dead letters below this offset do not count.
    """

    records: int = 0
    dead_letters: deque[_DeadLetter] = field(default_factory=deque)
    exempt_below: int = 0


class DeadLetterShare:
    """The share of dead letters among the last published records of each partition."""

    def __init__(self, bounds: ShareBounds) -> None:
        self._bounds = bounds
        self._windows: dict[Partition, _Window] = {}

    def excess(
        self, results: Sequence[ScoredRecord], exempt_below: Mapping[Partition, int]
    ) -> list[DeadLetterExcess]:
        """Return one excess for each partition that would exceed a bound if these results were published.

        There can be more results than the window has records. So the share is computed after each window of them,
        and after the last one.

        Args:
            results: In the order in which each partition was read.
            exempt_below: By partition, the offset below which dead letters do not count.
        """
        if not _without_verdict(results):
            return []
        found = []
        for partition, (records, dead_letters) in self._batches(results, exempt_below).items():
            if dead_letters:
                window = self._window(partition, exempt_below)
                end, known = window.records + records, [*window.dead_letters, *dead_letters]
                ends = [*range(window.records + self._bounds.window_records, end, self._bounds.window_records), end]
                excesses = (self._compare(partition, at, known) for at in ends)
                found += next(filter(None, excesses), [])
        return found

    def observe(self, results: Sequence[ScoredRecord], exempt_below: Mapping[Partition, int]) -> None:
        """Count results that have been committed."""
        for partition, (records, dead_letters) in self._batches(results, exempt_below).items():
            window = self._window(partition, exempt_below)
            window.dead_letters.extend(dead_letters)
            window.records += records
            first_number = window.records - self._bounds.window_records + 1
            while window.dead_letters and window.dead_letters[0].number < first_number:
                window.dead_letters.popleft()

    def _window(self, partition: Partition, exempt_below: Mapping[Partition, int]) -> _Window:
        """Return the partition's window. Begin a new window if the partition was released from quarantine."""
        window = self._windows.get(partition)
        if window is None or window.exempt_below != exempt_below.get(partition, 0):
            window = self._windows[partition] = _Window(exempt_below=exempt_below.get(partition, 0))
        return window

    def _batches(
        self, results: Sequence[ScoredRecord], exempt_below: Mapping[Partition, int]
    ) -> dict[Partition, tuple[int, list[_DeadLetter]]]:
        """Count each partition's records, and number its dead letters as the continuation of its window."""
        if not _without_verdict(results):
            return {partition: (count, []) for partition, count in Counter(map(_partition, results)).items()}
        counts: Counter[Partition] = Counter()
        dead_letters: defaultdict[Partition, list[_DeadLetter]] = defaultdict(list)
        for result in results:
            source, content = result.record.source, result.record.content
            if content is None or type(content) is Skipped:
                continue
            counts[source.partition] += 1
            why = result.dead_letter_reason
            if why is not None and source.offset >= exempt_below.get(source.partition, 0):
                number = self._window(source.partition, exempt_below).records + counts[source.partition]
                dead_letters[source.partition].append(_DeadLetter(number, why.reason, source.offset))
        return {partition: (count, dead_letters[partition]) for partition, count in counts.items()}

    def _compare(
        self, partition: Partition, records: int, dead_letters: Iterable[_DeadLetter]
    ) -> list[DeadLetterExcess]:
        """Compare the window that ends after so many records with the bounds. Return at most one excess."""
        size = min(records, self._bounds.window_records)
        if size < self._bounds.records_min:
            return []
        counted = [one for one in dead_letters if records - size < one.number <= records]
        for cause in (DeadLetterCause.MODEL, DeadLetterCause.INPUT):
            share_max = self._bounds.share_max(cause)
            found = [one for one in counted if (one.reason in MODEL_REASONS) == (cause is DeadLetterCause.MODEL)]
            if len(found) > share_max * size:
                commonest = Counter(one.reason for one in found).most_common(1)[0][0]
                excess = DeadLetterExcess(
                    partition=partition,
                    cause=cause,
                    commonest_reason=commonest,
                    example_offset=next(one.offset for one in reversed(found) if one.reason == commonest),
                    dead_letters=len(found),
                    records=size,
                    share_max=share_max,
                )
                return [excess]
        return []


_partition = attrgetter("record.source.partition")


def _without_verdict(results: Sequence[ScoredRecord]) -> list[ScoredRecord]:
    """Return the results that get no verdict: dead letters, skipped records and tombstones."""
    return [
        one
        for one in results
        if type(one.record.content) is not PreparedMessage or type(one.scores) is DeadLetterReason
    ]
