"""Random samples of messages, the same in each run and in any order of reading."""

import heapq
import zlib
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from worker.commands.policy.verdict_columns import VerdictPosition

_Example = TypeVar("_Example")


class ExampleSample(Generic[_Example]):
    """At most a few examples of each group: those whose positions have the smallest checksums.

    Args:
        size: Number of examples of a group.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: dict[Hashable, list[tuple[int, int, _Example]]] = {}

    def offer(
        self, group: Hashable, rows: Iterable[tuple[int, VerdictPosition | None]], make: Callable[[int], _Example]
    ) -> None:
        """Keep the messages of a group that belong to its sample.

        Args:
            group: The group.
            rows: The row and the position of each message.
            make: Makes the example of a row that is kept.
        """
        kept = self._kept.setdefault(group, [])
        for row, position in rows:
            rank = -zlib.crc32(repr(position if position is not None else row).encode())
            if len(kept) < self._size:
                heapq.heappush(kept, (rank, len(kept), make(row)))
            elif self._size and rank > kept[0][0]:
                heapq.heapreplace(kept, (rank, kept[0][1], make(row)))

    def of(self, group: Hashable) -> list[_Example]:
        """Return the sample of a group."""
        return [
            example for *_, example in sorted(self._kept.get(group, ()), key=lambda entry: (-entry[0], entry[1]))
        ]
