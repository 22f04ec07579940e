"""What differs between two sets of verdicts, as a document. Pure."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from schemas.labels import CATEGORY_SLUGS
from worker.commands.compare.joining import JoinedVerdicts, VerdictSet, join


class ComparisonPart(BaseModel):
    """A part of a comparison. Readers must ignore fields that they do not know."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", use_attribute_docstrings=True, populate_by_name=True, validate_by_alias=True
    )


class ComparedSide(ComparisonPart):
    """One of the two sets of verdicts."""

    name: str
    """The topic or the file."""
    verdicts: int = Field(ge=0)
    """Verdicts that were read."""
    without_source: int = Field(ge=0)
    """Verdicts that name no input record, so they can't be joined."""
    repeated: int = Field(ge=0)
    """Verdicts on an input record that has a later verdict too; only the later one counts."""
    only_here: int = Field(ge=0)
    """Input records on which only this side has a verdict."""
    policies: list[str]
    """The versions of the policies that decided."""


class FlagTable(ComparisonPart):
    """How many input records each side flags."""

    both: int = Field(ge=0)
    """Both sides flag the record."""
    only_a: int = Field(ge=0)
    """Only the first side flags the record."""
    only_b: int = Field(ge=0)
    """Only the second side flags the record."""
    neither: int = Field(ge=0)
    """No side flags the record."""


class ScoreDifference(ComparisonPart):
    """The second side's scores minus the first side's."""

    mean: float
    """Mean difference."""
    mean_absolute: float = Field(ge=0)
    """Mean of the differences without their signs."""
    p99_absolute: float = Field(ge=0)
    """99 % of the differences, without their signs, are at most this."""
    largest_absolute: float = Field(ge=0)
    """Largest difference, without its sign."""


class ComparedExample(ComparisonPart):
    """An input record on which the sides disagree about a category, without its text."""

    topic: str
    """The input topic."""
    partition: int
    """The partition of the input topic."""
    offset: int
    """The offset in that partition."""
    item: int | None
    """The number of the message in its record, from 0; null if the record is not a JSON array."""
    message_id: str
    """The message's id."""
    channel_id: str | None
    """The channel's id."""
    score_a: float
    """The first side's score of the category."""
    score_b: float
    """The second side's score of the category."""


class ComparedCategory(ComparisonPart):
    """What differs in one category."""

    category: str
    """A category's slug."""
    flags: FlagTable
    """Who flags the category."""
    scores: ScoreDifference | None
    """How the scores differ; null without joined records."""
    examples_only_a: list[ComparedExample]
    """Records that only the first side flags: the largest differences of the score first."""
    examples_only_b: list[ComparedExample]
    """Records that only the second side flags: the largest differences of the score first."""


class ComparisonReport(ComparisonPart):
    """What `moderation-worker compare A B --json REPORT` writes."""

    schema_: Literal["comparison/1"] = Field(alias="schema")
    """The layout of this document."""
    a: ComparedSide
    """The first side."""
    b: ComparedSide
    """The second side."""
    joined: int = Field(ge=0)
    """Input records on which both sides have a verdict. All figures below count these."""
    flags: FlagTable
    """Who flags a record in any category."""
    categories: list[ComparedCategory]
    """The categories, in the order of the model card."""


def compare_verdicts(a: VerdictSet, b: VerdictSet, *, names: tuple[str, str], examples: int) -> ComparisonReport:
    """Return what differs.

    Args:
        a: The first side.
        b: The second side.
        names: What the user calls the sides.
        examples: Examples of each kind and category.
    """
    joined = join(a, b)
    flags_a, flags_b = a.flags[joined.a], b.flags[joined.b]
    return ComparisonReport(
        schema="comparison/1",
        a=_side(a, names[0], len(joined.keys)),
        b=_side(b, names[1], len(joined.keys)),
        joined=len(joined.keys),
        flags=_table(np.array(flags_a.any(axis=1)), np.array(flags_b.any(axis=1))),
        categories=[_category(a, b, joined, index, examples) for index in range(len(CATEGORY_SLUGS))],
    )


def _side(given: VerdictSet, name: str, joined: int) -> ComparedSide:
    return ComparedSide(
        name=name,
        verdicts=given.verdicts,
        without_source=given.without_source,
        repeated=given.repeated,
        only_here=len(given.rows) - joined,
        policies=list(given.policies),
    )


def _table(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> FlagTable:
    return FlagTable(
        both=int((a & b).sum()),
        only_a=int((a & ~b).sum()),
        only_b=int((~a & b).sum()),
        neither=int((~a & ~b).sum()),
    )


def _category(a: VerdictSet, b: VerdictSet, joined: JoinedVerdicts, index: int, examples: int) -> ComparedCategory:
    flags_a, flags_b = a.flags[joined.a, index], b.flags[joined.b, index]
    difference = b.scores[joined.b, index].astype(np.float64) - a.scores[joined.a, index]
    size = np.abs(difference)

    def chosen(is_chosen: NDArray[np.bool_]) -> list[ComparedExample]:
        rows = np.flatnonzero(is_chosen)
        largest = rows[np.argsort(-size[rows], kind="stable")][:examples].tolist()
        return [_example(a, b, joined, row, index) for row in largest]

    scores = None
    if len(difference):
        scores = ScoreDifference(
            mean=float(difference.mean()),
            mean_absolute=float(size.mean()),
            p99_absolute=float(np.quantile(size, 0.99)),
            largest_absolute=float(size.max()),
        )
    return ComparedCategory(
        category=CATEGORY_SLUGS[index],
        flags=_table(flags_a, flags_b),
        scores=scores,
        examples_only_a=chosen(flags_a & ~flags_b),
        examples_only_b=chosen(~flags_a & flags_b),
    )


def _example(a: VerdictSet, b: VerdictSet, joined: JoinedVerdicts, row: int, index: int) -> ComparedExample:
    topic, partition, offset, item = joined.keys[row]
    in_a, in_b = int(joined.a[row]), int(joined.b[row])
    return ComparedExample(
        topic=topic,
        partition=partition,
        offset=offset,
        item=None if item < 0 else item,
        message_id=b.messages[in_b],
        channel_id=b.channels[in_b],
        score_a=_shortest(a.scores[in_a, index]),
        score_b=_shortest(b.scores[in_b, index]),
    )


def _shortest(score: np.float32) -> float:
    return float(str(score))


def lists_of_examples(category: ComparedCategory) -> Sequence[tuple[str, Sequence[ComparedExample]]]:
    """Return the two lists of examples, each with the side that flags."""
    return (("A", category.examples_only_a), ("B", category.examples_only_b))
