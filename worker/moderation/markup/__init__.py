"""Markup: what a reader sees of a text, and which part of a text is a quote of somebody else's words. Pure.

Every function takes any string, never raises and works in linear time. It returns the same string when it has
nothing to do. Platforms render more than this package does: tables, mathematics and highlighted code stay as they
were typed. Read ``inline.py`` first: Discord, Slack and Markdown share it.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

from worker.moderation.markup import discord, html_text, markdown, slack
from worker.moderation.markup.quoted_lines import without_quoted_lines

Markup = Literal["none", "discord", "slack", "html", "markdown"]

RENDER: Mapping[Markup, Callable[[str], str] | None] = {
    "none": None,
    "discord": discord.render,
    "slack": slack.render,
    "html": html_text.render,
    "markdown": markdown.render,
}
"""For each markup, the function that returns what a reader sees of a text; None where that is the text itself."""

WITHOUT_QUOTES: Mapping[Markup, Callable[[str], str] | None] = {
    "none": None,
    "discord": partial(without_quoted_lines, line="> ", rest=">>> "),
    "slack": partial(without_quoted_lines, line="&gt;", rest="&gt;&gt;&gt;"),
    "html": html_text.without_quotes,
    "markdown": markdown.without_quotes,
}
"""For each markup, the function that removes the quotes of a text, which keeps its markup; None: no quotes."""
