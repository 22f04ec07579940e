"""Partitions that are not read, because too many of their records would be dead letters. Pure.

A partition in quarantine stays assigned, and its committed offset stays where it is. From time to time the last
records of its log are read (``TailSample``). When they can be decoded, the producer was repaired: the partition is
released, and what is in its log by then is judged, dead letters included (``exempt_below``). The bound applies
again to what comes later.

Whether records break the model can't be seen without the model: such a partition is released at each look, without
forgiveness, and goes back into quarantine with the first batch that is above the bound.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from worker.errors import DataProtectionError, FatalError, ModelError
from worker.records import DeadLetterCause, DeadLetterExcess, Partition

LOOK_MS_MIN = 10_000
LOOK_MS_MAX = 600_000


class TailSample(NamedTuple):
    """The last records in a partition's log.

    Attributes:
        end: The offset after them.
        records: How many were read.
        unreadable: How many of these can't be decoded.
    """

    end: int
    records: int
    unreadable: int


@dataclass(slots=True)
class _Held:
    excess: DeadLetterExcess
    look_ms: int  # when to look again
    is_sampled: bool = False  # a sample was asked for and has not come
    is_released: bool = False  # a person wants it released, whatever the sample says


def pause_ms(looks: int) -> int:
    """Return how long to wait before the next look, after so many that did not help: it doubles."""
    return min(LOOK_MS_MAX, LOOK_MS_MIN << min(looks, 16))


def error_if_all_bad(
    excess: DeadLetterExcess, held: int, assigned: int, existing: Callable[[], int | None]
) -> FatalError | None:
    """Return the error that ends the process when every partition is bad.

    A worker that holds one bad partition out of many stays: if it ended, the next owner of the partition would end
    too, and so on through the group.

    Args:
        excess: The last one.
        held: Our partitions in quarantine.
        assigned: All of our partitions.
        existing: Gives the number of all partitions of the input topics; None: not known at the moment. Called
            only if it matters.
    """
    if held < assigned or (assigned == 1 and existing() != 1):
        return None
    error = ModelError if excess.cause is DeadLetterCause.MODEL else DataProtectionError
    return error(
        f"{excess}. All partitions of this worker are like that. The last batch is not committed. Repair what "
        f"sends or judges these records, or raise {excess.cause.value}, and start again."
    )


class Quarantine:
    """Our partitions in quarantine."""

    def __init__(self) -> None:
        self.exempt_below: dict[Partition, int] = {}
        self._held: dict[Partition, _Held] = {}
        self._looks: dict[Partition, int] = {}

    @property
    def partitions(self) -> Mapping[Partition, DeadLetterExcess]:
        """Those in quarantine, and why."""
        return {partition: held.excess for partition, held in self._held.items()}

    def hold(self, now_ms: int, excess: DeadLetterExcess) -> int:
        """Put a partition into quarantine; return in how many milliseconds it is looked at."""
        wait_ms = pause_ms(self._looks.get(excess.partition, 0))
        self._held[excess.partition] = _Held(excess, look_ms=now_ms + wait_ms)
        return wait_ms

    def release_all(self, now_ms: int) -> None:
        """Have all released as soon as the end of their logs is known: a person wants it."""
        for held in self._held.values():
            held.look_ms, held.is_released = now_ms, True

    def due(self, now_ms: int) -> list[Partition]:
        """Return the partitions to sample now; each once until ``sampled``."""
        due = [one for one, held in self._held.items() if not held.is_sampled and held.look_ms <= now_ms]
        for partition in due:
            self._held[partition].is_sampled = True
        return due

    def sampled(self, now_ms: int, partition: Partition, sample: TailSample | None) -> bool:
        """Decide by a sample whether a partition is released, and release it.

        Args:
            now_ms: The time.
            partition: One that was ``due``.
            sample: None: there was no answer; look again later.
        """
        held = self._held.get(partition)
        if held is None:  # revoked in the meantime
            return False
        held.is_sampled = False
        looks = self._looks[partition] = self._looks.get(partition, 0) + 1
        held.look_ms = now_ms + (LOOK_MS_MIN if held.is_released else pause_ms(looks))
        if sample is None:
            return False
        is_readable = sample.records > 0 and sample.unreadable <= held.excess.share_max * sample.records
        if held.is_released or (held.excess.cause is DeadLetterCause.INPUT and is_readable):
            self.exempt_below[partition] = sample.end
            del self._held[partition], self._looks[partition]
            return True
        if held.excess.cause is DeadLetterCause.MODEL:
            del self._held[partition]
            return True
        return False

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Forget partitions that are not ours any more: the next owner finds out for itself."""
        for partition in partitions:
            for known in (self._held, self._looks, self.exempt_below):
                known.pop(partition, None)
