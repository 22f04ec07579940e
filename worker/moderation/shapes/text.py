"""Compile the text of a message: several places, quotes of others, and markup. Pure."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from schemas.chat import Undecodable, is_nothing, kind
from worker.moderation.markup import RENDER, WITHOUT_QUOTES
from worker.moderation.shapes.finding import FindAll, find_all, find_one, only_name
from worker.moderation.shapes.shape_file import Shape


class FoundText(NamedTuple):
    """The text of a message.

    Attributes:
        text: What a reader sees.
        is_partial: Whether one of the places holds something that is not a string.
    """

    text: str
    is_partial: bool


ReadText = Callable[[Any], FoundText | str]
"""Returns the text of an event; a string if every place could be read. Raises ``Undecodable``."""
Show = Callable[[Sequence[str]], str]
"""Joins the parts of a text as a reader sees them."""


def text(shape: Shape) -> ReadText:
    """Return the function that reads the text."""
    several = _several([(place, find_all(place)) for place in shape.text], shape, showing(shape))
    if len(shape.text) > 1 or "*" in shape.text[0] or showing(shape) is not _joined:
        return several
    find, name = find_one(shape.text[0]), only_name(shape.text[0])
    if name is not None:

        def at_top(event: Any) -> FoundText | str:
            found = event.get(name)
            return found if type(found) is str else several(event)

        return at_top

    def single(event: Any) -> FoundText | str:
        found = find(event, ())
        return found if type(found) is str else several(event)

    return single


def _several(finds: Sequence[tuple[str, FindAll]], shape: Shape, show: Show) -> ReadText:
    absent = f"There is no text at {' or '.join(place for place, _ in finds)}."
    gather = _gatherer(finds, first_only=shape.first_text)

    def read(event: Any) -> FoundText | str:
        strings, wrong = gather(event)
        parts = [string for string in strings if string]
        if parts:
            return FoundText(show(parts), is_partial=True) if wrong else show(parts)
        if wrong:
            raise Undecodable("wrong_type", wrong)
        if not strings and shape.no_text == "dead_letter":
            raise Undecodable("no_text", absent)
        return ""

    return read


def _gatherer(
    finds: Sequence[tuple[str, FindAll]], *, first_only: bool
) -> Callable[[Any], tuple[Sequence[str], str]]:
    """Return the function that finds the strings of a text, and says what is wrong with the first other value."""

    def gather(event: Any) -> tuple[Sequence[str], str]:
        strings: list[str] = []
        wrong = ""
        for place, find in finds:
            for found in find(event, ()):
                if type(found) is str:
                    strings.append(found)
                elif not is_nothing(found) and not wrong:
                    wrong = f"The value at {place} is {kind(found)}, not a string."
            if first_only and any(strings):
                break
        return strings, wrong

    return gather


def showing(shape: Shape) -> Show:
    """Return the function that joins the parts of a text as a reader sees them.

    A message that is nothing but a quote keeps the quote: somebody sent these words.
    """
    render = RENDER[shape.markup]
    without_quotes = WITHOUT_QUOTES[shape.markup] if shape.quotes == "drop" else None
    if render is None and without_quotes is None:
        return _joined

    def show(parts: Sequence[str]) -> str:
        if without_quotes is not None:
            own = [without_quotes(part) for part in parts]
            if any(part.strip() for part in own):
                parts = own
        if render is not None:
            parts = [render(part) for part in parts]
        return parts[0] if len(parts) == 1 else "\n".join(part for part in parts if part)

    return show


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else "\n".join(parts)
