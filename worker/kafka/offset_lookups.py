"""Which partitions the worker has asked the brokers about, and when it asks again. Pure."""

from collections.abc import Iterable

from worker.records import Partition


class OffsetLookups:
    """The open questions, so that an answer is used only for the question that it belongs to.

    Args:
        pause_ms: Pause before the second question about a partition.
        pause_ms_max: Longest pause. Each question without a result doubles the pause.
    """

    def __init__(self, pause_ms: int, pause_ms_max: int) -> None:
        self._pauses_ms = (pause_ms, pause_ms_max)
        self._number = 0
        self._asked: dict[Partition, int] = {}
        self._again: dict[Partition, tuple[int, int]] = {}  # when to ask again, and the pause before it

    def due(self, now_ms: int, waiting: Iterable[Partition]) -> set[Partition]:
        """Return the waiting partitions to ask about now."""
        return {one for one in waiting if one not in self._asked and self._again.get(one, (now_ms, 0))[0] <= now_ms}

    def ask(self, partitions: Iterable[Partition]) -> int:
        """Begin a question about the partitions. Return the number of the question."""
        self._number += 1
        self._asked.update(dict.fromkeys(partitions, self._number))
        return self._number

    def current(self, number: int, partitions: Iterable[Partition]) -> list[Partition]:
        """Return the partitions for which an answer to this question still counts: they were not forgotten."""
        return [partition for partition in partitions if self._asked.get(partition) == number]

    def again(self, now_ms: int, partition: Partition) -> None:
        """End the question about a partition without a result. The next question comes after a longer pause."""
        self._asked.pop(partition, None)
        first_ms, most_ms = self._pauses_ms
        pause_ms = min(most_ms, max(first_ms, 2 * self._again.get(partition, (0, 0))[1]))
        self._again[partition] = now_ms + pause_ms, pause_ms

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Drop the questions about these partitions, and their pauses."""
        for partition in partitions:
            self._asked.pop(partition, None)
            self._again.pop(partition, None)
