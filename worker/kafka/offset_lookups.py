"""Which partitions the worker is asking the brokers about, and when it asks again. Pure."""

from collections.abc import Iterable

from worker.records import Partition


class OffsetLookups:
    """Which partitions are being asked about, so that an answer is used only for the question that it belongs to.

    Args:
        pause_ms: How long to wait before a partition is asked about again.
        pause_ms_max: The same, after many answers without a result.
    """

    def __init__(self, pause_ms: int, pause_ms_max: int) -> None:
        self._pauses_ms = (pause_ms, pause_ms_max)
        self._number = 0
        self._asked: dict[Partition, int] = {}
        self._again: dict[Partition, tuple[int, int]] = {}  # when to ask again, and the pause before it

    def due(self, now_ms: int, waiting: Iterable[Partition]) -> set[Partition]:
        """Returns those of the waiting partitions that are to be asked about now."""
        return {one for one in waiting if one not in self._asked and self._again.get(one, (now_ms, 0))[0] <= now_ms}

    def ask(self, partitions: Iterable[Partition]) -> int:
        """Begins a question; returns its number."""
        self._number += 1
        self._asked.update(dict.fromkeys(partitions, self._number))
        return self._number

    def current(self, number: int, partitions: Iterable[Partition]) -> list[Partition]:
        """Returns the partitions for which an answer to this question counts; the others were forgotten since."""
        return [partition for partition in partitions if self._asked.get(partition) == number]

    def again(self, now_ms: int, partition: Partition) -> None:
        """Ends a question without a result: it is asked again after a pause that grows."""
        self._asked.pop(partition, None)
        first_ms, most_ms = self._pauses_ms
        pause_ms = min(most_ms, max(first_ms, 2 * self._again.get(partition, (0, 0))[1]))
        self._again[partition] = now_ms + pause_ms, pause_ms

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Drops the questions about these partitions, and the pauses."""
        for partition in partitions:
            self._asked.pop(partition, None)
            self._again.pop(partition, None)
