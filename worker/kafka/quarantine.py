"""Decide when a partition leaves quarantine. Pure.

A partition is in quarantine while too many of its records would be dead letters. The worker does not read it. The
partition stays assigned, and its committed offset does not change. From time to time the worker reads a sample: the
last records of the partition's log (``TailSample``).

- Records that cannot be decoded: a readable sample means that the producer was corrected. The partition is
  released. Everything in its log at that moment is processed, dead letters included (``exempt_below``). The bound
  applies again to later records.
- Records that break the model: only the model can tell whether they still do. So each sample releases the
  partition, and exempts no record from the bound. The first batch that exceeds the bound puts the partition back
  into quarantine.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from worker.errors import DataProtectionError, FatalError, ModelError
from worker.records import DeadLetterCause, DeadLetterExcess, Partition

SAMPLE_INTERVAL_MS_MIN = 10_000
SAMPLE_INTERVAL_MS_MAX = 600_000


class TailSample(NamedTuple):
    """The last records in a partition's log.

    Attributes:
        end: The offset after the last record.
        records: Number of records in the sample.
        unreadable: Number of records in the sample that cannot be decoded.
    """

    end: int
    records: int
    unreadable: int


@dataclass(slots=True)
class _Quarantined:
    """One partition in quarantine.

    Attributes:
        excess: Why the partition is in quarantine.
        sample_due_ms: When to ask for the next sample.
        is_sample_pending: A sample was asked for and has not come.
        is_release_requested: An operator asked for the release. Then the sample's content does not matter.
    """

    excess: DeadLetterExcess
    sample_due_ms: int
    is_sample_pending: bool = False
    is_release_requested: bool = False


def sample_interval_ms(samples: int) -> int:
    """Return the wait before the next sample, after this number of samples. The wait doubles each time."""
    return min(SAMPLE_INTERVAL_MS_MAX, SAMPLE_INTERVAL_MS_MIN << min(samples, 16))


def error_if_all_quarantined(
    excess: DeadLetterExcess, quarantined: int, assigned: int, input_partitions: Callable[[], int | None]
) -> FatalError | None:
    """Return the error that ends the process when all partitions of this worker are in quarantine.

    A worker with one bad partition among several good ones keeps running. If the process ended, the next owner of
    the bad partition would end too, and then each further owner in the group.

    Args:
        excess: Why the last partition went into quarantine.
        quarantined: Number of this worker's partitions in quarantine.
        assigned: Number of this worker's partitions.
        input_partitions: Returns the number of all partitions of the input topics, or None while that number is
            unknown. Called only if the number matters.
    """
    if quarantined < assigned or (assigned == 1 and input_partitions() != 1):
        return None
    error = ModelError if excess.cause is DeadLetterCause.MODEL else DataProtectionError
    return error(
        f"{excess}. All partitions of this worker are in quarantine. The last batch is not committed. Repair the "
        f"producer or the model of these records, or raise {excess.cause.value}, and start the worker again."
    )


class Quarantine:
    """The partitions of this worker that are in quarantine.

    Attributes:
        exempt_below: By released partition, the offset below which dead letters do not count.
    """

    def __init__(self) -> None:
        self.exempt_below: dict[Partition, int] = {}
        self._quarantined: dict[Partition, _Quarantined] = {}
        self._samples: dict[Partition, int] = {}  # number of samples so far, also of released partitions

    @property
    def partitions(self) -> Mapping[Partition, DeadLetterExcess]:
        """The partitions in quarantine, each with the excess that put it there."""
        return {partition: one.excess for partition, one in self._quarantined.items()}

    def add(self, now_ms: int, excess: DeadLetterExcess) -> int:
        """Put a partition into quarantine. Return the wait before its first sample, in milliseconds."""
        wait_ms = sample_interval_ms(self._samples.get(excess.partition, 0))
        self._quarantined[excess.partition] = _Quarantined(excess, sample_due_ms=now_ms + wait_ms)
        return wait_ms

    def release_all(self, now_ms: int) -> None:
        """Release each partition as soon as the end of its log is known: an operator asked for the release."""
        for one in self._quarantined.values():
            one.sample_due_ms, one.is_release_requested = now_ms, True

    def due(self, now_ms: int) -> list[Partition]:
        """Return the partitions to sample now. Each is returned once until its sample has come."""
        due = [
            partition
            for partition, one in self._quarantined.items()
            if not one.is_sample_pending and one.sample_due_ms <= now_ms
        ]
        for partition in due:
            self._quarantined[partition].is_sample_pending = True
        return due

    def take_sample(self, now_ms: int, partition: Partition, sample: TailSample | None) -> bool:
        """Release the partition if the sample allows it. Return whether it was released.

        Args:
            now_ms: The time.
            partition: A partition that ``due`` returned.
            sample: None means that no broker answered. Another sample follows later.
        """
        one = self._quarantined.get(partition)
        if one is None:  # revoked in the meantime
            return False
        one.is_sample_pending = False
        samples = self._samples[partition] = self._samples.get(partition, 0) + 1
        interval_ms = SAMPLE_INTERVAL_MS_MIN if one.is_release_requested else sample_interval_ms(samples)
        one.sample_due_ms = now_ms + interval_ms
        if sample is None:
            return False
        is_readable = sample.records > 0 and sample.unreadable <= one.excess.share_max * sample.records
        if one.is_release_requested or (one.excess.cause is DeadLetterCause.INPUT and is_readable):
            self.exempt_below[partition] = sample.end
            del self._quarantined[partition], self._samples[partition]
            return True
        if one.excess.cause is DeadLetterCause.MODEL:
            del self._quarantined[partition]
            return True
        return False

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Forget partitions that this worker no longer owns. The next owner judges these partitions anew."""
        for partition in partitions:
            for known in (self._quarantined, self._samples, self.exempt_below):
                known.pop(partition, None)
