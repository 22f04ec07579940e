"""What moderators decided: a line of a file, or a record of a topic. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.chat import Undecodable, read_json
from schemas.labels import CATEGORY_SLUGS
from worker.errors import ConfigurationError
from worker.logs import escaped
from worker.settings.groups import INT32_MAX

DECISIONS_MAX = 1_000_000
"""Largest number of decisions in memory; they take about 1 GB."""
_KEY_CHARACTERS_MAX = 80

Category = Literal[
    "violent_crimes",
    "non_violent_crimes",
    "sex_related_crimes",
    "child_sexual_exploitation",
    "specialized_advice",
    "privacy",
    "intellectual_property",
    "indiscriminate_weapons",
    "hate",
    "suicide_and_self_harm",
    "sexual_content",
    "jailbreak_prompts",
]
"""The slugs of ``schemas.labels``; a test compares."""


class MessagePlace(NamedTuple):
    """A message in an input topic.

    Attributes:
        topic: The input topic.
        partition: The partition.
        offset: The offset of the record.
        item: The number of the element, from 0; None when the record is not a JSON array.
    """

    topic: str
    partition: int
    offset: int
    item: int | None

    def __str__(self) -> str:
        """Return ``topic:partition:offset``, with ``#item`` for an element."""
        record = f"{self.topic}:{self.partition}:{self.offset}"
        return record if self.item is None else f"{record}#{self.item}"


class DecisionSource(BaseModel):
    """The message, as the field source of a verdict or an alert names it."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, use_attribute_docstrings=True)

    topic: str
    """The input topic."""
    partition: int = Field(ge=0, le=INT32_MAX)
    """The partition."""
    offset: int = Field(ge=0)
    """The offset."""
    item: int | None = Field(default=None, ge=0)
    """The number of the element, from 0; absent or null when the record is not a JSON array."""
    timestamp_ms: int | None = None
    """Kafka's timestamp of the record, in milliseconds since 1970. If it is given, another time means that another
    record has this offset now."""

    @property
    def place(self) -> MessagePlace:
        """The place without the time."""
        return MessagePlace(self.topic, self.partition, self.offset, self.item)


class ModeratorDecision(BaseModel):
    """A moderator's decision about a message: a line of the file, or a record of the topic, that
    `moderation-worker labels join --overturned` takes. It names the message by verdict_id or by source. Fields that
    the command does not know are ignored.
    """  # noqa: D205 - the docstring is the description in the JSON Schema

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, use_attribute_docstrings=True)

    verdict_id: str | None = None
    """The id of the verdict. The command then looks for its source among the verdicts."""
    source: DecisionSource | None = None
    """The message; verdict_id is then not needed."""
    labels: dict[Category, bool | None] | None = None
    """Category slug to whether the category applies. A category that is absent or null is unknown, not false."""
    unsafe: bool | None = None
    """Whether any category applies. False makes every category false."""
    language: str | None = None
    """The language of the text, for the figures of each language; by default what the message says."""
    group: str | None = None
    """Texts of one group belong together, for example a thread."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.verdict_id is None and self.source is None:
            raise ValueError("wants verdict_id or source")
        if self.labels is None and self.unsafe is None:
            raise ValueError("wants labels or unsafe")
        if self.unsafe is False and self.labels and any(self.labels.values()):
            raise ValueError("unsafe is false, but a category in labels is true")
        return self

    @property
    def target(self) -> MessagePlace | str:
        """The message as the decision names it."""
        return self.verdict_id or "" if self.source is None else self.source.place


assert set(Category.__args__) == set(CATEGORY_SLUGS)  # type: ignore[attr-defined] # noqa: S101 - a bug of ours


@dataclass(slots=True)
class ModeratorDecisions:
    """The decisions, one for each message: a later one replaces an earlier one.

    Attributes:
        by_target: The decisions, by message as they name it.
        replaced: Number of decisions that a later one replaced.
        faults: A sentence for each line or record that is not a decision, with its place.
    """

    by_target: dict[MessagePlace | str, ModeratorDecision] = field(default_factory=dict)
    replaced: int = 0
    faults: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, given: Iterable[tuple[str, bytes]]) -> "ModeratorDecisions":
        """Return the decisions among places and values.

        Raises:
            ConfigurationError: There are too many decisions.
        """
        decisions = cls()
        for place, value in given:
            try:
                decision = decision_of(value)
            except ValueError as error:
                decisions.faults.append(f"{place}: {error}")
                continue
            # The place in the dictionary is that of the latest decision: ``placed`` compares these places.
            replaced = decisions.by_target.pop(decision.target, None)
            decisions.replaced += replaced is not None
            decisions.by_target[decision.target] = decision
            if len(decisions.by_target) > DECISIONS_MAX:
                raise ConfigurationError(
                    f"--overturned: more than {DECISIONS_MAX} decisions do not fit into memory: join them in parts"
                )
        return decisions


def decision_of(value: bytes) -> ModeratorDecision:
    """Return a decision.

    Raises:
        ValueError: The value is not a decision. The message does not hold a value of the document.
    """
    try:
        document: Any = read_json(value)  # a decision may repeat the text, which may have half an emoji
    except Undecodable:
        raise ValueError("is not JSON; wants an object a line") from None
    try:
        return ModeratorDecision.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        at = ".".join(str(part) for part in first["loc"] if part != "[key]")
        name = escaped(at, _KEY_CHARACTERS_MAX)
        raise ValueError(" ".join(filter(None, (name, first["msg"].removeprefix("Value error, "))))) from None
