"""Which output it is that a broker refuses. Pure.

A broker refuses a batch as a whole, and the innocent with the one that is too large. What was sent to a partition
between two flushes is such a crowd: the next pass sends it further apart, until the culprit stands alone. Of 1,000
outputs it becomes 33 crowds, of these 7, then 3, then it is one output.
"""

from collections.abc import Callable, Collection, Sequence
from math import isqrt

from worker.records import Output, Partition, Topic

Name = tuple[Topic, Partition, int]
"""Of an output: its kind, and its input's partition and offset."""


def name_of(output: Output) -> Name:
    """Names an output."""
    return output.topic, output.source.partition, output.source.offset


def sort_out(
    refused: Sequence[Output], target: Callable[[Output], tuple[str, int]], apart: Collection[Name]
) -> tuple[list[Output], set[Name]]:
    """Tells the culprits from the crowds.

    Args:
        refused: In the order in which they were produced.
        target: The topic and partition that an output went to.
        apart: The outputs before which there was a flush.

    Returns:
        Those that were refused alone, and those before which the next pass is to flush as well.
    """
    crowds: dict[tuple[str, int], list[list[Output]]] = {}
    for output in refused:
        of_partition = crowds.setdefault(target(output), [])
        if not of_partition or name_of(output) in apart:
            of_partition.append([])
        of_partition[-1].append(output)
    together = [crowd for crowds_there in crowds.values() for crowd in crowds_there]
    culprits = [crowd[0] for crowd in together if len(crowd) == 1]
    further = {name_of(output) for crowd in together if len(crowd) > 1 for output in crowd[:: isqrt(len(crowd))]}
    return culprits, further
