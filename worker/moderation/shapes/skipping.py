"""Say why a record that is not a chat message is skipped. Pure."""

from worker.moderation.shapes.shape_file import WhereRule

_WORDS_MAX = 5


def skip_reason(rule: WhereRule) -> str:
    """Return why a record that does not meet a rule is skipped."""
    places = " or ".join(rule.at)
    if rule.present is not None:
        return f"There is {'no' if rule.present else 'a'} value at {places}."
    if rule.one_of is not None:
        return f"The value at {places} is not {_listed(rule.one_of)}."
    return f"The value at {places} is {_listed(rule.not_in or [])}."


def _listed(values: list[str | int | bool | None]) -> str:
    words = [
        "null" if one is None else str(one).lower() if one is True or one is False else str(one) for one in values
    ]
    shown = words[:_WORDS_MAX] + (["another of the list"] if len(words) > _WORDS_MAX else [])
    return " or ".join(shown)
