"""Say why a record that is not a chat message is skipped, and what its places lack. Pure."""

from collections.abc import Sequence

from worker.moderation.shapes.shape_file import WhereRule

_WORDS_MAX = 5

_Value = str | int | bool | None


def skip_reason(rule: WhereRule) -> str:
    """Return why a record that does not meet a rule is skipped."""
    if rule.present is not None:
        return absence("value", rule.at) if rule.present else f"There is a value at {_listed('one', rule.at)}."
    values = rule.one_of if rule.one_of is not None else rule.not_in or []
    is_wrong = f"{'is' if rule.one_of is None else 'is not'} {_alternatives(values)}"
    if len(rule.at) == 1:
        return f"The value at {rule.at[0]} {is_wrong}."
    return f"The value at these places {is_wrong}: {', '.join(rule.at)}."


def absence(what: str, places: Sequence[str]) -> str:
    """Return the sentence that says that something is at none of these places."""
    return f"There is no {what} at {_listed('any', places)}."


def _listed(which: str, places: Sequence[str]) -> str:
    listed = ", ".join(places)
    return f"{which} of these places: {listed}" if len(places) > 1 else listed


def _alternatives(values: Sequence[_Value]) -> str:
    words = [_word(value) for value in values[:_WORDS_MAX]]
    return " or ".join([*words, "another of the list"] if len(values) > _WORDS_MAX else words)


def _word(value: _Value) -> str:
    if value == "":
        return "an empty string"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
