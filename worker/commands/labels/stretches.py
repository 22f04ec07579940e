"""Which offsets to read together. Pure.

Decisions name few records of a long log. To jump to a record costs a request; to read on costs its neighbours. So
offsets that are near each other form a stretch, which is read from its first record to its last.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from worker.records import Partition

GAP_RECORDS_MAX = 500
"""Longest gap within a stretch. A fetch returns at least as many chat messages."""


class Stretch(NamedTuple):
    """Offsets of a partition that are read together.

    Attributes:
        begin: The first wanted offset.
        end: The offset after the last wanted one.
    """

    begin: int
    end: int


def stretches(offsets: Collection[int]) -> Iterator[Stretch]:
    """Yield the stretches of offsets, in order."""
    begin = last = -1
    for offset in sorted(offsets):
        if begin >= 0 and offset - last > GAP_RECORDS_MAX:
            yield Stretch(begin, last + 1)
            begin = -1
        if begin < 0:
            begin = offset
        last = offset
    if begin >= 0:
        yield Stretch(begin, last + 1)


def rounds(wanted: Mapping[Partition, Collection[int]]) -> Iterator[dict[Partition, Stretch]]:
    """Yield what to read in each round: one stretch of each partition that has one left."""
    left = {partition: stretches(offsets) for partition, offsets in wanted.items()}
    while found := {
        partition: stretch for partition, each in left.items() if (stretch := next(each, None)) is not None
    }:
        yield found
