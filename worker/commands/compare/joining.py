"""Join two sets of verdicts by the input record that each verdict names. Pure.

A verdict is a row of arrays, and a dictionary finds the row of a position. A million verdicts take about 400 MB.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.labels import CATEGORY_SLUGS
from worker.commands.policy.verdict_columns import VerdictColumns, VerdictPosition, decode_verdicts
from worker.commands.replay.originals import NO_ORIGINALS, Originals

_Key = tuple[str, int, int, int]
"""Topic, partition, offset, and the number of the element; -1 when the record is not an array."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VerdictSet:
    """The verdicts of one side, one for each input record.

    Attributes:
        rows: The row of each input record. A later verdict on the same record replaces an earlier one.
        scores: ``[N, L]`` scores, in [0, 1].
        flags: ``[N, L]`` the published flags.
        messages: The id of each message.
        channels: The id of each message's channel.
        verdicts: How many verdicts were read.
        without_source: How many verdicts name no input record.
        repeated: How many verdicts were replaced by a later one.
        policies: The versions of the policies that decided, sorted.
    """

    rows: dict[_Key, int]
    scores: NDArray[np.float32]
    flags: NDArray[np.bool_]
    messages: Sequence[str]
    channels: Sequence[str | None]
    verdicts: int
    without_source: int
    repeated: int
    policies: Sequence[str]

    @classmethod
    def of(cls, chunks: Iterable[Sequence[bytes]], originals: Originals = NO_ORIGINALS) -> "VerdictSet":
        """Return the verdicts among values of a topic, or lines of a file. Other values are left out.

        Args:
            chunks: The values.
            originals: The originals of copies. The verdict on a copy counts as a verdict on its original.
        """
        rows: dict[_Key, int] = {}
        columns: list[VerdictColumns] = []
        count = without_source = repeated = 0
        for chunk in chunks:
            found = decode_verdicts(chunk, ())
            columns.append(found)
            for row, position in enumerate(found.positions, count):
                if position is None:
                    without_source += 1
                    continue
                key = _key(position, originals)
                repeated += key in rows
                rows[key] = row
            count += len(found)
        empty = np.empty((0, len(CATEGORY_SLUGS)))
        return cls(
            rows=rows,
            scores=np.concatenate([empty.astype(np.float32), *(one.scores for one in columns)]),
            flags=np.concatenate([empty.astype(np.bool_), *(one.flags for one in columns)]),
            messages=[message for one in columns for message in one.messages],
            channels=[channel for one in columns for channel in one.channels],
            verdicts=count,
            without_source=without_source,
            repeated=repeated,
            policies=sorted({version for one in columns for version in one.policies}),
        )


def _key(position: VerdictPosition, originals: Originals) -> _Key:
    place = position.topic, position.partition, position.offset
    if (original := originals.get(place)) is not None:
        place = original.topic, original.partition, original.offset
    return *place, -1 if position.item is None else position.item


class JoinedVerdicts(NamedTuple):
    """The input records on which both sides have a verdict, in the order of topic, partition and offset.

    Attributes:
        keys: The input records.
        a: ``[J]`` rows of the first set.
        b: ``[J]`` rows of the second set.
    """

    keys: Sequence[_Key]
    a: NDArray[np.int64]
    b: NDArray[np.int64]


def join(a: VerdictSet, b: VerdictSet) -> JoinedVerdicts:
    """Return the input records on which both sides have a verdict."""
    keys = sorted(a.rows.keys() & b.rows.keys())
    return JoinedVerdicts(
        keys,
        np.array([a.rows[key] for key in keys], np.int64),
        np.array([b.rows[key] for key in keys], np.int64),
    )
