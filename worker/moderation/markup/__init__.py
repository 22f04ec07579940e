"""Markup: what a reader sees of a text, and which part of a text is a quote of somebody else's words. Pure.

Every function takes any string, never raises and works in linear time. It returns the same string when it has
nothing to do. Platforms render more than this package does: tables, mathematics and highlighted code stay as they
were typed. Read ``inline.py`` first: Discord, Slack and Markdown share it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from worker.moderation.markup import discord, html_text, markdown, slack
from worker.moderation.markup.quoted_lines import without_lines
from worker.moderation.text_views.rules import Rule, edited

Markup = Literal["none", "discord", "slack", "html", "markdown"]

RulesOf = Callable[[str], Sequence[Rule]]
"""Returns what changes in a text for a reader: rules that are applied one after the other."""


RULES: Mapping[Markup, RulesOf | None] = {
    "none": None,
    "discord": discord.rules,
    "slack": slack.rules,
    "html": html_text.rules,
    "markdown": markdown.rules,
}
"""For each markup, what changes for a reader; None where that is nothing."""


def render(text: str, markup: Markup) -> str:
    """Return what a reader sees of a text; the same string if that is the text itself."""
    if (rules_of := RULES[markup]) is not None:
        for rule in rules_of(text):
            text = edited(text, rule(text))
    return text


WITHOUT_QUOTES: Mapping[Markup, Callable[[str], str] | None] = {
    "none": None,
    "discord": without_lines(line="> ", rest=">>> "),
    "slack": without_lines(line="&gt;", rest="&gt;&gt;&gt;"),
    "html": html_text.without_quotes,
    "markdown": markdown.without_quotes,
}
"""For each markup, the function that removes the quotes of a text, which keeps its markup; None: no quotes."""
