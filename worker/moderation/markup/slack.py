"""Slack's mrkdwn. Pure.

Source: Slack's developer documentation, "Formatting message text".
"""

import re

from worker.moderation.markup.inline import CodeSpans, Delimiters, VisibleText

_ANY = re.compile(r"[*_~`<&]")
_TOKEN = re.compile(
    r"(?P<line>\n)"
    r"|(?P<quote>^(?:&gt;){1,3} ?)"
    r"|(?P<entity>&(?:amp|lt|gt);)"
    r"|(?P<code>`+)"
    r"|<(?P<sign>[@#!]?)(?P<target>[^<>|\n]+)(?:\|(?P<label>[^<>\n]*))?>"
    r"|(?P<run>\*+|_+|~+)",
    re.MULTILINE,
)
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">"}
"""The only character references that Slack writes."""
_WORDS = {"@": "@user", "#": "#channel"}
"""The name of whom a mention means is often not in the text."""
_RULES = Delimiters(inside_words=frozenset(), pairs=frozenset())


def render(text: str) -> str:
    """Return what a reader sees: no emphasis, code as text, links by their label, mentions as words."""
    if _ANY.search(text) is None:
        return text
    seen, spans = VisibleText(_RULES), CodeSpans(text)
    done = 0
    while seen.has_room() and (found := _TOKEN.search(text, done)) is not None:
        seen.add(text[done : found.start()])
        done = found.end()
        if found["run"]:
            seen.add_run(found["run"], text[found.start() - 1 : found.start()], text[done : done + 1])
        elif found["code"]:
            close = spans.close_of(found.start())
            seen.add(found["code"] if close < 0 else _plain(text[done:close]))
            done = done if close < 0 else close + len(found["code"])
        elif found["line"]:
            seen.add("\n")
            seen.end_block()
        elif found["entity"]:
            seen.add(_ENTITIES[found["entity"]])
        elif found["target"]:
            seen.add(_plain(_label(found)))
    seen.add(text[done:])
    return seen.text()


def _plain(text: str) -> str:
    """Return the text with Slack's character references decoded."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") if "&" in text else text


def _label(found: re.Match[str]) -> str:
    """Return what a reader sees of what stands in angle brackets."""
    sign, target, label = found["sign"], found["target"], found["label"]
    if label:
        return label if sign in ("", "!") or label.startswith(sign) else sign + label
    if sign == "!":
        return "@" + target.split("^")[0]
    return _WORDS.get(sign) or target.removeprefix("mailto:").removeprefix("tel:")
