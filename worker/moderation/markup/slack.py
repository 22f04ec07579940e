"""Slack's mrkdwn. Pure.

Source: Slack's developer documentation, "Formatting message text".
"""

import re
from collections.abc import Iterable, Sequence

from worker.moderation.markup.inline import CodeSpans, Delimiters, VisibleText, next_token
from worker.moderation.text_views.rules import Edit, Rule

_ANY = re.compile(r"[*_~`<&]")
_SIGNS = re.compile(r"[*_~`<&\n]")
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
_ENTITY = re.compile("|".join(_ENTITIES))
_WORDS = {"@": "@user", "#": "#channel"}
"""The name of whom a mention means is often not in the text."""
_RULES = Delimiters(inside_words=frozenset(), pairs=frozenset())


def edits(text: str) -> Iterable[Edit]:
    """Give what changes for a reader: no emphasis, code as text, links by their label, mentions as words."""
    seen, spans = VisibleText(text, _RULES), CodeSpans(text)
    done = 0
    while seen.has_room() and (found := next_token(_TOKEN, _SIGNS, text, done)) is not None:
        seen.add_text(found.start())
        done = found.end()
        if found["run"]:
            seen.add_run(done)
        elif found["code"]:
            if (close := spans.close_of(found.start())) < 0:
                seen.add_text(done)
                continue
            seen.add("", done)
            for entity in _ENTITY.finditer(text, done, close):
                seen.add_text(entity.start())
                seen.add(_ENTITIES[entity[0]], entity.end())
            seen.add_text(close)
            done = close + len(found["code"])
            seen.add("", done)
        elif found["line"]:
            seen.add_text(done)
            seen.end_block()
        elif found["entity"]:
            seen.add(_ENTITIES[found["entity"]], done)
        elif found["target"]:
            seen.add(_plain(_label(found)), done)
        else:
            seen.add("", done)
    seen.add_text(len(text))
    return seen.edits()


_EDITS = (edits,)


def rules(text: str) -> Sequence[Rule]:
    """Return the rules for a text; none if it has no markup."""
    return _EDITS if _ANY.search(text) else ()


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
