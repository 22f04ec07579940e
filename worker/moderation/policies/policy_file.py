"""What a policy file may say: pydantic models, which the JSON Schema for editors comes from."""

import re
from fnmatch import translate
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticKnownError

from schemas.labels import CATEGORY_SLUGS
from worker.reported import NO_NAME

DEFAULT = "default"
"""Stands for every category that is not named."""
OFF = "off"
LEVELS_MAX = 8
RULES_MAX = 10_000
CANDIDATES_MAX = 8
WINDOW_S_MAX = 86_400
_CLASS = re.compile(r"\[!?+\]?+[^\]]*\]")
"""A class of characters as ``fnmatch`` reads it: a ``]`` at its beginning is one of its characters."""
_NO_CHARACTER = translate("[b-a]")


def _string(given: Any) -> Any:
    if isinstance(given, str):
        return given
    raise PydanticKnownError("string_type")


def _threshold(given: Any) -> Any:
    """Return a threshold, and None for the three ways to write ``off``."""
    if given is False or given == OFF:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= 1:
        raise ValueError("wants a number from 0 to 1, or off")
    return float(given)


def _counted_name(given: str) -> str:
    """Return a name, and refuse the word that metrics have for a verdict without a level or a rule."""
    if given == NO_NAME:
        raise ValueError(f"wants another name: {NO_NAME} stands for no level and no rule in metrics")
    return given


def _category_thresholds(given: Any) -> Any:
    if given is False or given == OFF:
        return None
    if not isinstance(given, dict) or not given:
        raise ValueError("wants a threshold for each level, as in {review: 0.5}, or off")
    return given


def _globs(given: Any) -> Any:
    if given is None or given == []:
        raise ValueError("wants at least one glob")
    return given if isinstance(given, list) else [given]


def _glob(given: str) -> str:
    """Return a glob, and refuse one with a class that no character is in: no value would match."""
    for found in _CLASS.findall(given):
        if translate(found) == _NO_CHARACTER:
            raise ValueError(
                f"wants a glob that some value matches: no character is in {found}; write a range upwards, as [a-z]"
            )
    return given


def _mapping(given: Any) -> Any:
    if not isinstance(given, dict):
        raise ValueError("wants keys and globs")  # noqa: TRY004 - pydantic reports a ValueError, raises a TypeError
    return given


def _some(given: Any) -> Any:
    if given in (None, []):
        raise ValueError("wants a list with at least one entry")
    return given


def _edit(given: Any) -> Any:
    if not isinstance(given, bool):
        raise ValueError("wants true or false")  # noqa: TRY004 - pydantic reports a ValueError, raises a TypeError
    return given


String = Annotated[StrictStr, BeforeValidator(_string)]
Name = Annotated[String, Field(min_length=1, max_length=100)]
CountedName = Annotated[Name, AfterValidator(_counted_name), Field(json_schema_extra={"not": {"const": NO_NAME}})]
"""The name of a level or a rule."""
_THRESHOLD = {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"enum": [OFF, False]}]}
_CATEGORY = {"anyOf": [{"type": "object", "additionalProperties": _THRESHOLD}, {"enum": [OFF, False]}]}
_CATEGORIES = {"propertyNames": {"enum": [DEFAULT, *CATEGORY_SLUGS]}}

Threshold = Annotated[float | None, BeforeValidator(_threshold), WithJsonSchema(_THRESHOLD)]
"""A number from 0 to 1; None: off."""
CategoryThresholds = Annotated[
    dict[str, Threshold] | None, BeforeValidator(_category_thresholds), WithJsonSchema(_CATEGORY)
]
"""The thresholds of a category, by level. None: off at every level."""
Thresholds = Annotated[dict[str, CategoryThresholds], Field(json_schema_extra=_CATEGORIES)]
"""The thresholds of each category, by slug, and of ``default``."""
Globs = Annotated[
    list[Annotated[String, AfterValidator(_glob)]], BeforeValidator(_globs, json_schema_input_type=str | list[str])
]
"""Globs, as Python's ``fnmatchcase`` reads them: ``*``, ``?``, ``[seq]`` and ``[!seq]``."""
CategorySlug = Literal[CATEGORY_SLUGS]  # type: ignore[valid-type]
CoalesceKey = Literal["channel_id", "user_id", "text", "message_id", "category"]


class PolicyPart(BaseModel):
    """A part of a policy file. Every key is known, and nothing changes after reading."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_by_alias=True)


class When(PolicyPart):
    """Which messages: all keys must match. A field that the message does not have matches no glob, not even *."""

    topic: Globs = []
    """The input topic: one or several globs (*, ?, [seq]), as in all keys except edited."""
    channel_id: Globs = []
    """The channel's id."""
    user_id: Globs = []
    """The author's id."""
    tenant_id: Globs = []
    """The customer's, community's or server's id."""
    role: Globs = []
    """One of the author's roles."""
    language: Globs = []
    """The language that the event names."""
    edited: Annotated[StrictBool | None, BeforeValidator(_edit), WithJsonSchema({"type": "boolean"})] = None
    """true: only edits; false: only messages that are not edits."""

    @model_validator(mode="after")
    def _has_a_key(self) -> "When":
        if not self.model_fields_set:
            raise ValueError(f"wants at least one of {', '.join(When.model_fields)}")
        return self


class PolicyRule(PolicyPart):
    """Other thresholds for some messages."""

    name: CountedName
    """The rule's name, in verdicts and metrics."""
    when: When
    """Which messages."""
    thresholds: Thresholds
    """The thresholds that differ from the ones of the policy."""


class Exemption(PolicyPart):
    """Messages that raise no alert."""

    name: Name
    """The exemption's name, in verdicts and metrics."""
    when: When
    """Which messages."""
    score: StrictBool = True
    """false: the model does not score these messages; their verdicts have the outcome exempt."""


class AllowedTexts(PolicyPart):
    """Texts that are known to be harmless and raise no alert."""

    name: Name
    """The entry's name, in verdicts and metrics."""
    when: Annotated[When | None, BeforeValidator(_mapping)] = None
    """Which messages; by default all."""
    texts: Annotated[list[String], BeforeValidator(_some)]
    """The whole texts, compared exactly."""
    categories: Annotated[list[CategorySlug], BeforeValidator(_some)] = list(CATEGORY_SLUGS)
    """The categories that the texts may reach without an alert; by default all."""


class ShadowCandidate(PolicyPart):
    """Thresholds that are tried on the same scores and never raise an alert."""

    name: Name
    """The candidate's name, in verdicts and metrics."""
    thresholds: Thresholds
    """The thresholds that differ from the ones of the policy; the rules hold for the candidate too."""


class CoalesceRule(PolicyPart):
    """Alerts of the same key within a window become one alert and a count."""

    by: Annotated[list[CoalesceKey], BeforeValidator(_some)]
    """The key: messages that are equal in all of these."""
    window_s: Annotated[int, Field(ge=1, le=WINDOW_S_MAX, strict=True)]
    """Length of a window, in seconds of message time."""


class AlertRules(PolicyPart):
    """Which messages raise an alert, and what an alert holds."""

    level: Name | None = None
    """The mildest level that raises an alert; by default the mildest level."""
    text: Literal["none", "full"] = "none"
    """none, or full: alerts hold the message's text."""
    coalesce: CoalesceRule | None = None
    """One alert and a count, in place of many alerts of the same key; by default off."""


class PolicyFile(PolicyPart):
    """A policy: thresholds by level, rules for some messages, and what raises an alert."""

    model_config = ConfigDict(title="Policy")

    schema_: Literal["policy/1"] = Field(alias="schema")
    """The version of this file's layout."""
    version: Name | None = None
    """The policy's version, in verdicts and metrics; by default a hash of the file's content."""
    levels: Annotated[list[CountedName], BeforeValidator(_some), Field(max_length=LEVELS_MAX)]
    """The names of the levels, mildest first."""
    thresholds: Thresholds
    """A category reaches a level when its score is greater than the level's threshold. default is required, and is
    for every category that is not named. off: the category does not reach the level."""
    rules: Annotated[list[PolicyRule], Field(max_length=RULES_MAX)] = []
    """The first rule that matches a message overrides the thresholds above, level by level."""
    exempt: list[Exemption] = []
    """The first entry that matches a message keeps it from raising an alert."""
    allow: list[AllowedTexts] = []
    """The first entry that matches a message and its text keeps it from raising an alert."""
    shadow: Annotated[list[ShadowCandidate], Field(max_length=CANDIDATES_MAX)] = []
    """Candidate thresholds: the verdict says where a candidate decides differently."""
    alerts: AlertRules = AlertRules()
    """Which messages raise an alert, and what an alert holds."""
