"""The layout of a trial's result: pydantic models, from which the JSON Schema ``policy-trial/1`` comes."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.labels import CATEGORY_SLUGS

CategorySlug = Literal[CATEGORY_SLUGS]  # type: ignore[valid-type]
Count = Annotated[int, Field(ge=0)]


class TrialPart(BaseModel):
    """A part of the result."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class TrialExample(TrialPart):
    """A message whose decision differs, without its text."""

    message_id: str
    """The message's id."""
    topic: str | None
    """The input topic. null, like partition and offset: the verdict names no input."""
    partition: int | None
    """The partition of the input topic."""
    offset: int | None
    """The offset in that partition."""
    item: int | None
    """The number of the message in its record, from 0; null if the record is not a JSON array."""
    timestamp: str | None
    """Kafka's timestamp of the input, RFC 3339; null if it has none."""
    channel_id: str | None
    """The channel's id."""
    rule: str | None
    """The rule of the tried policy that decided; null: the base thresholds decided."""
    score: float | None
    """The score of the category, in [0, 1]; null in an example of a level."""
    threshold: float | None
    """The tried policy's threshold of the category at the mildest level; null: off, or an example of a level."""
    level_before: str | None
    """The published level; flagged, if the worker had no policy file; null if no level was reached."""
    level_after: str | None
    """The level by the tried policy; null if no level is reached."""


class FlagChanges(TrialPart):
    """How many messages are flagged, and how many decisions differ."""

    before: Count
    """Messages that were flagged when they were judged."""
    after: Count
    """Messages that the tried policy flags."""
    newly_flagged: Count
    """Messages that only the tried policy flags."""
    newly_passed: Count
    """Messages that the tried policy does not flag any more."""


class CategoryChanges(FlagChanges):
    """The changes in one category."""

    category: CategorySlug
    """The category."""
    examples_flagged: Sequence[TrialExample]
    """A random sample of the newly flagged messages, the same in each run."""
    examples_passed: Sequence[TrialExample]
    """A random sample of the newly passed messages, the same in each run."""


class RuleChanges(FlagChanges):
    """The changes in the messages of one rule of the tried policy."""

    rule: str | None
    """The rule; null: messages that no rule matches."""
    verdicts: Count
    """Messages that the rule decides about."""


class ChannelChanges(TrialPart):
    """The changes in one channel."""

    channel_id: str | None
    """The channel's id; null: messages without one."""
    newly_flagged: Count
    """Messages that only the tried policy flags."""
    newly_passed: Count
    """Messages that the tried policy does not flag any more."""


class LevelChange(TrialPart):
    """The messages with one level before and another one after."""

    before: str | None
    """The published level; flagged, if the worker had no policy file; null if no level was reached."""
    after: str | None
    """The level by the tried policy; null if no level is reached."""
    verdicts: Count
    """Messages with these two levels."""
    examples: Sequence[TrialExample]
    """A random sample of them, the same in each run; empty if the level is the same, or one of the two is null."""


class JudgingPolicy(TrialPart):
    """A policy that decided when the messages were judged."""

    version: str
    """The policy's version."""
    verdicts: Count
    """Verdicts with this version."""


class TriedPolicy(TrialPart):
    """The policy that is tried."""

    file: str
    """The file."""
    version: str
    """The policy's version."""
    levels: Sequence[str]
    """The levels, mildest first."""


class TriedVerdicts(TrialPart):
    """The stored verdicts, and those that can't be decided again."""

    read: Count
    """Records or lines that were read."""
    decided: Count
    """Verdicts that were decided again."""
    not_scored: Count
    """Verdicts without scores, because of an exemption that the tried policy does not have."""
    unreadable: Count
    """Records or lines that are not verdicts."""
    first: str | None
    """The earliest time of a message, RFC 3339; null if no message has a time."""
    last: str | None
    """The latest time of a message, RFC 3339; null if no message has a time."""


class TriedAlerts(TrialPart):
    """The alerts before, and what becomes of the messages that the tried policy flags. Nothing is coalesced."""

    before: Count
    """Messages that raised an alert when they were judged: flagged, and neither exempt nor allowed. A message
    whose level raised no alert is left out if --against names the version that judged it."""
    assumed: Count
    """Messages in before with a level, if --against does not name the version that judged them. A verdict does not
    say from which level its policy raised alerts."""
    newly_alerting: Count
    """Messages that raise an alert only by the tried policy."""
    newly_silenced: Count
    """Messages that raised an alert and raise none by the tried policy. undecided messages are in neither count."""
    raised: Count
    """Messages that raise an alert by the tried policy."""
    exempt: Count
    """Flagged messages that an exemption keeps from raising an alert."""
    below_level: Count
    """Flagged messages that do not reach the level of alerts."""
    undecided: Count
    """Messages that may have an allowed text. A verdict has no text, so only its length is compared."""


class UntriedField(TrialPart):
    """A field that the tried policy uses, and that no verdict of a topic has."""

    field: str
    """The key of when."""
    topic: str | None
    """The input topic; null: verdicts that name no input."""
    verdicts: Count
    """Verdicts of this topic. Each was decided again as a message without the field."""
    entries: Sequence[str]
    """The names of the rules, exemptions and allowed texts that use the field."""


class TrialReport(TrialPart):
    """What would have been decided differently, by a policy that is tried on stored verdicts.

    before: as the messages were judged. after: as the tried policy decides.
    """

    model_config = ConfigDict(title="Policy trial", populate_by_name=True)

    schema_: Literal["policy-trial/1"] = Field(alias="schema")
    """The version of this layout."""
    policy: TriedPolicy
    """The policy that is tried."""
    judged_by: Sequence[JudgingPolicy]
    """The policies that decided when the messages were judged, the most frequent first; at most 20."""
    verdicts: TriedVerdicts
    """The stored verdicts."""
    flagged: FlagChanges
    """The changes in any category."""
    categories: Sequence[CategoryChanges]
    """The changes by category, in the model card's order. A message may count in several."""
    levels: Sequence[LevelChange]
    """Each pair of levels that occurs."""
    rules: Sequence[RuleChanges]
    """The changes by rule of the tried policy, first the messages without a rule, then in the order of the file. A
    rule that decides about no message is left out."""
    channels: Sequence[ChannelChanges]
    """The channels with most changes; at most 20."""
    channels_changed: Count
    """The number of channels with changes; above 100,000 it is the number of those that were counted."""
    alerts: TriedAlerts
    """What becomes of the messages that the tried policy flags."""
    untried: Sequence[UntriedField]
    """What could not be tried, because the verdicts lack a field."""
