"""Show of a text what its reader sees, and leave out what the platform marks as somebody else's words. Pure."""

from collections.abc import Callable, Mapping
from typing import Literal

Markup = Literal["none", "discord", "slack", "html", "markdown"]

RENDER: Mapping[Markup, Callable[[str], str] | None] = {
    "none": None,
    "discord": None,
    "slack": None,
    "html": None,
    "markdown": None,
}
"""For each markup the function that returns what a reader sees of a text; None where that is the text itself."""

WITHOUT_QUOTES: Mapping[Markup, Callable[[str], str] | None] = {
    "none": None,
    "discord": None,
    "slack": None,
    "html": None,
    "markdown": None,
}
"""For each markup the function that returns a text without quotes, still in markup; None where none are marked."""
