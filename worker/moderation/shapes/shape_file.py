"""What a shape file and an envelope file may say: pydantic models, which the JSON Schema for editors comes from."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    Tag,
    model_validator,
)

from schemas.chat import parse_pointer
from worker.moderation.markup import Markup

HEADER = "header:"
"""Begins the name of a record header, in place of a JSON Pointer."""

UnwrapStep = Literal["gzip", "zstd", "base64", "confluent", "glue"]


def _pointer(text: str) -> str:
    try:
        parse_pointer(text)
    except ValueError as error:
        raise ValueError(f"wants a JSON Pointer (RFC 6901); {error}") from error
    return text


def _place(text: str) -> str:
    if not text.startswith(HEADER):
        return _pointer(text)
    if text == HEADER:
        raise ValueError(f"wants the name of a header after {HEADER!r}")
    return text


def _scalars(given: Any) -> Any:
    """Refuse what is neither a string, an integer, a boolean nor null: one sentence in place of four."""
    if isinstance(given, list) and any(not isinstance(one, str | int | None) for one in given):
        raise ValueError("wants strings, integers, booleans and null")
    return given


def _event_pointer(text: str) -> str:
    if text and "*" in parse_tokens(_pointer(text)):
        raise ValueError("wants a pointer without '*'")
    return text


def _as_list(given: Any) -> Any:
    return given if isinstance(given, list) else [given]


Pointer = Annotated[StrictStr, AfterValidator(_pointer)]
"""A JSON Pointer, in which ``*`` means every element of an array and every value of an object."""
Place = Annotated[StrictStr, AfterValidator(_place)]
"""A JSON Pointer, or ``header:NAME``."""
EventPointer = Annotated[StrictStr, AfterValidator(_event_pointer)]
"""A JSON Pointer without ``*``; an empty string is the whole document."""
Places = Annotated[
    list[Place], BeforeValidator(_as_list, json_schema_input_type=Place | list[Place]), Field(min_length=1)
]
"""One place, or several of which the first that has a value counts."""
Scalars = Annotated[list[StrictStr | StrictInt | StrictBool | None], BeforeValidator(_scalars), Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, populate_by_name=True, validate_by_alias=True
    )


class WhereRule(_Part):
    """A condition on a value. An absent value counts as null."""

    at: Places
    """Where the value is: a JSON Pointer, or header:NAME. Of several places the first that has a value counts."""
    one_of: Scalars | None = Field(None, alias="in")
    """The value must be one of these."""
    not_in: Scalars | None = None
    """The value must be none of these."""
    present: StrictBool | None = None
    """true: the value must be there and not null; false: it must be absent or null."""

    @model_validator(mode="after")
    def _one_condition(self) -> "WhereRule":
        if len({"one_of", "not_in", "present"} & self.model_fields_set) != 1:
            raise ValueError("wants exactly one of in, not_in and present")
        if self.one_of is None and self.not_in is None and self.present is None:
            raise ValueError("wants a list for in and not_in, and true or false for present")
        return self


class RoleRule(WhereRule):
    """A role that the author has if a value meets the condition."""

    role: StrictStr
    """The role."""


class TextPlace(_Part):
    """A place of a text that is read in a special way."""

    at: Pointer
    """Where the text is."""
    when: list[WhereRule] = []
    """The text is read only if the event meets all these rules."""
    format: Literal["slack_blocks"] | None = Field(None, alias="as")
    """slack_blocks: the value is not a string but Slack's blocks; what a reader sees of these is the text."""

    @model_validator(mode="after")
    def _points_into_the_event(self) -> "TextPlace":
        if any(place.startswith(HEADER) for rule in self.when for place in rule.at):
            raise ValueError("wants JSON Pointers in 'when', no header")
        return self


class PackedPayload(_Part):
    """A payload in another format than the envelope."""

    at: Pointer
    """Where the payload is."""
    unwrap: list[UnwrapStep] = Field(min_length=1)
    """The steps that make JSON or text of the payload."""


def _is_object(given: Any) -> str:
    if isinstance(given, list):
        return "list"
    return "object" if isinstance(given, dict | BaseModel) else "pointer"


Role = Annotated[Annotated[Place, Tag("pointer")] | Annotated[RoleRule, Tag("object")], Discriminator(_is_object)]
Edited = Annotated[
    Annotated[Place, Tag("pointer")] | Annotated[WhereRule, Tag("object")], Discriminator(_is_object)
]
OneText = Annotated[
    Annotated[Pointer, Tag("pointer")] | Annotated[TextPlace, Tag("object")], Discriminator(_is_object)
]
Text = Annotated[
    Annotated[Pointer, Tag("pointer")]
    | Annotated[TextPlace, Tag("object")]
    | Annotated[list[OneText], Tag("list"), Field(min_length=1)],
    Discriminator(_is_object),
]
Payload = Annotated[
    Annotated[Pointer, Tag("pointer")] | Annotated[PackedPayload, Tag("object")], Discriminator(_is_object)
]


class Shape(_Part):
    """An input shape: how this worker reads the events of a platform."""

    model_config = ConfigDict(title="Input shape")

    schema_: Literal["shape/1"] = Field(alias="schema")
    """The version of this file's layout."""
    wire: Literal["json", "text"] = "json"
    """json; or text: the value is the text itself, without ids."""
    unwrap: list[UnwrapStep] = []
    """Steps before the parsing, in order: gzip, zstd, base64, confluent (drop 5 bytes), glue (AWS's header)."""
    event: list[EventPointer] = []
    """Where the event is in the record: the first place that has an object or an array; "" is the whole record. All
    other pointers start there. An array holds several messages. A record without such a place is skipped."""
    parse: list[Pointer] = []
    """Strings that themselves hold JSON."""
    where: list[WhereRule] = []
    """Which records are chat messages: those that meet all rules. All others are skipped."""
    text: list[Text] = []
    """Every pointer that resolves to a string with characters, in this order, joined with a line feed. Of a list
    inside this list, only the first pointer that resolves to a string with characters."""
    first_text: StrictBool = False
    """true: use only the first pointer that resolves to a string with characters."""
    no_text: Literal["verdict", "dead_letter"] = "verdict"
    """A message without a text: verdict (outcome no_text), or dead_letter (the producer's fault)."""
    markup: Markup = "none"
    """The markup of the text: none, discord, slack, html or markdown."""
    message_id: list[Place] = []
    """The message's id: the first place that has one. header:NAME reads a header."""
    channel_id: list[Place] = []
    """The channel's id."""
    user_id: list[Place] = []
    """The author's id."""
    tenant_id: list[Place] = []
    """The customer's, community's or server's id."""
    roles: list[Role] = []
    """The author's roles: pointers to strings, or {at, in, role}; not_in and present are possible too."""
    sent_at: list[Place] = []
    """The time of sending."""
    language: list[Place] = []
    """The language that the event names."""
    edited: list[Edited] = []
    """Present, not null and not false: this is an edit; or a rule as in where."""
    quotes: Literal["drop", "keep"] = "keep"
    """drop: leave out somebody else's words that the platform marks as a quote."""


class Envelope(_Part):
    """An envelope around any shape's events."""

    schema_: Literal["envelope/1"] = Field(alias="schema")
    """The version of this file's layout."""
    when: list[WhereRule] = []
    """The record is an envelope if it meets all rules. Otherwise the record itself is the event."""
    where: list[WhereRule] = []
    """Which envelopes hold chat messages. All others are skipped."""
    payload: list[Payload] = Field(min_length=1)
    """Where the event is: the first place that is there. A string is parsed as JSON, or is the text itself."""
    if_absent: Literal["skip", "dead_letter"] = "dead_letter"
    """What an envelope without a payload becomes."""
    if_null: Literal["skip", "dead_letter"] = "dead_letter"
    """What an envelope whose payload is null becomes."""
    edited: list[Edited] = []
    """When the message is an edit, in addition to what the shape says."""


def contradictions(data: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield what is wrong with a shape file as a whole, with the path of the place.

    Args:
        data: The file's content, which may also have faults in single keys.
    """
    if not isinstance(data, dict):
        return
    if data.get("wire", "json") == "json":
        if "text" not in data:
            yield (), "the key 'text' is missing; wants at least one JSON Pointer"
        elif not data["text"]:
            yield ("text",), "text: wants at least one JSON Pointer"
    else:
        for name in data.keys() & (Shape.model_fields.keys() - {"schema_", "wire", "unwrap", "markup", "quotes"}):
            if _of_json(name, data[name]):
                yield (name,), f"{name}: wants nothing with wire: text, because there is no JSON to point into"
    rules = data.get("where")
    yield from _excluding(rules) if isinstance(rules, list) else ()


def _of_json(name: str, given: Any) -> bool:
    """Return whether a key points into JSON. Ids can come from headers with ``wire: text`` too."""
    if name in {"event", "parse", "text", "first_text"}:
        return True
    entries = given if isinstance(given, list) else []
    places = [place for one in entries for place in _as_list(one.get("at") if isinstance(one, dict) else one)]
    return any(isinstance(place, str) and place.startswith("/") for place in places)


def _excluding(rules: Sequence[Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield each rule that excludes everything together with an earlier rule for the same value."""
    earlier: list[tuple[int, WhereRule]] = []
    for index, given in enumerate(rules):
        try:
            rule = WhereRule.model_validate(given)
        except ValueError:
            continue
        for number, other in earlier:
            is_one = not any("*" in parse_tokens(place) for place in rule.at)
            if other.at == rule.at and is_one and _exclude_all(rule, other):
                places = ", ".join(rule.at)
                wrong = f"no value at {places} also meets where[{number}], so every record would be skipped"
                yield ("where", index), f"where[{index}]: {wrong}; change one of the two"
        earlier.append((index, rule))


def parse_tokens(place: str) -> tuple[str, ...]:
    """Return the tokens of a pointer; none for a header."""
    return () if place.startswith(HEADER) else parse_pointer(place)


def _exclude_all(one: WhereRule, other: WhereRule) -> bool:
    """Return whether no value meets both rules."""
    for rule in (one, other):
        if rule.one_of is not None:
            return not any(_meets(value, one) and _meets(value, other) for value in rule.one_of)
    if one.present is not None and other.present is not None:
        return one.present != other.present
    # The rest leaves some value, except: absent or null, and not null.
    return any(rule.present is False for rule in (one, other)) and not (_meets(None, one) and _meets(None, other))


def _meets(value: Any, rule: WhereRule) -> bool:
    if rule.present is not None:
        return (value is not None) is rule.present
    listed = rule.one_of if rule.one_of is not None else rule.not_in or []
    return any(type(one) is type(value) and one == value for one in listed) is (rule.one_of is not None)
