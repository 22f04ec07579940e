"""Split labelled texts into a part that thresholds are chosen on, and a part that shows their effect. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.commands.evaluate.labelled_texts import LabelledText


class Split(NamedTuple):
    """The two parts, as indices of the texts. No group has texts in both parts.

    Attributes:
        chosen_on: The texts that thresholds are chosen on.
        held_out: The texts that show the effect.
    """

    chosen_on: NDArray[np.int64]
    held_out: NDArray[np.int64]


def group_numbers(texts: Sequence[LabelledText]) -> NDArray[np.int64]:
    """Return the number of each text's group. Equal texts are in one group, whatever groups the file gives."""
    parents: dict[object, object] = {}

    def root(node: object) -> object:
        while (parent := parents.setdefault(node, node)) != node:
            parents[node] = parents[parent]
            node = parents[node]
        return node

    nodes = [("text", one.text) for one in texts]
    for node, one in zip(nodes, texts, strict=True):
        if one.group is not None:
            parents[root(node)] = root(("group", one.group))
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(root(node), len(numbers)) for node in nodes], np.int64)


def split(groups: NDArray[np.int64], *, held_out: float, seed: int) -> Split:
    """Split texts by their groups.

    Args:
        groups: ``[N]`` number of each text's group.
        held_out: Share of the groups that are held out, in (0, 1).
        seed: The same seed gives the same split.

    Raises:
        ValueError: There are too few groups to split.
    """
    from sklearn.model_selection import GroupShuffleSplit  # noqa: PLC0415 - takes a second

    splitter = GroupShuffleSplit(n_splits=1, test_size=held_out, random_state=seed)
    [(chosen_on, others)] = splitter.split(groups, groups=groups)
    return Split(chosen_on, others)
