"""HTML as chat platforms use it. Pure.

This is a tokenizer, not a parser. It looks for tags, and it needs no tree. A parser repairs wrong nesting, and that
work can grow with the square of the text.

Source: HTML Living Standard, section 13.2.5, "Tokenization"; Matrix client-server specification, "m.room.message
msgtypes" and "Rich replies"; Microsoft Graph, resource type "chatMessage".
"""

import re
from collections.abc import Iterator, Sequence
from html import unescape

from worker.moderation.markup.inline import ENTITY, decoded
from worker.moderation.text_views.rules import Edit, Rule

_ANY = re.compile("[<&]")
_TAG = re.compile(
    r"<(?:!--|(?P<end>/?)(?P<name>[A-Za-z][^\s<>/]{0,63})"
    r"(?P<rest>[^\s>/]*+(?:[\s/]++|[^\s>/][^\s>/=]*+(?:\s*+=\s*+(?:\"[^\"]*+\"|'[^']*+'|[^\s>\"'][^\s>]*+)?)?)*+)"
    r"(?P<close>>?)|[!?/][^<>]*>)"
)
"""A tag, or the begin of a comment. A quoted value of an attribute may have ``<`` and ``>``. A ``=`` where a name
is expected begins a name. A tag without a close reaches to the end of the text, so the search takes linear time."""
_COMMENT_END = re.compile("(?<=<!--)>|(?<=<!---)>|--!?>")
"""``<!-->`` and ``<!--->`` are whole comments."""
_ALT = re.compile(r"\balt\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))", re.IGNORECASE)
_LINES = frozenset(
    [
        *("address", "article", "aside", "blockquote", "br", "caption", "dd", "details", "div", "dl", "dt"),
        *("figcaption", "figure", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main"),
        *("mx-reply", "nav", "ol", "p", "pre", "section", "summary", "table", "tr", "ul"),
    ]
)
"""Elements that begin on a line of their own."""
_CELLS = frozenset(("td", "th"))
_UNSEEN = frozenset(("script", "style"))
"""Elements whose content a reader does not see. Clients remove other tags, such as ``<title>``, and show what is
between them."""
_PICTURES = frozenset(("img", "emoji"))
_QUOTES = frozenset(("blockquote", "mx-reply"))


def _tags(text: str) -> Iterator[Edit]:
    """Give what changes for a reader: no tags, characters decoded, a picture or emoji as its alternative text."""
    done = 0
    while (found := _next_tag(text, done)) is not None:
        yield from _references(text, done, found.start())
        name = (found["name"] or "").lower()
        done = _end(text, found, name)
        is_hidden = done > found.end()
        yield found.start(), done, "" if is_hidden else _shown(name, found)
    yield from _references(text, done, len(text))


def _next_tag(text: str, start: int) -> re.Match[str] | None:
    """Return the next tag or begin of a comment. A tag that never closes is none, and no tag follows it."""
    found = _TAG.search(text, start)
    return None if found and found["name"] and not found["close"] else found


def _end(text: str, found: re.Match[str], name: str) -> int:
    """Return where a tag ends, or the comment or the element without visible content that it begins."""
    if found[0] == "<!--":
        closed = _COMMENT_END.search(text, found.end())
        return closed.end() if closed else len(text)
    return _after_element(text, name, found.end()) if not found["end"] and name in _UNSEEN else found.end()


def _references(text: str, start: int, end: int) -> Iterator[Edit]:
    """Give the character references in a part of a text, decoded."""
    for found in ENTITY.finditer(text, start, end):
        if (character := unescape(found[0])) != found[0]:
            yield found.start(), found.end(), character


def _lines(text: str) -> Iterator[Edit]:
    """Give what changes so that no line is blank, or has white space at its ends."""
    for found in _BLANK.finditer(text):
        is_inside = found.start() > 0 and found.end() < len(text)
        shown = "" if not is_inside else "\n" if "\n" in found[0] else found[0]
        if shown != found[0]:
            yield found.start(), found.end(), shown


_BLANK = re.compile(r"\s+")


RULES: tuple[Rule, ...] = (_tags, _lines)
"""What changes for a reader, in two passes."""


def rules(text: str) -> Sequence[Rule]:
    """Return the rules for a text; none if it has no markup."""
    return RULES if _ANY.search(text) else ()


def _shown(name: str, found: re.Match[str]) -> str:
    """Return what a tag itself adds to what a reader sees."""
    if name in _LINES:
        return "\n"
    if name in _CELLS and not found["end"]:
        return " "
    alternative = _ALT.search(found["rest"]) if name in _PICTURES else None
    return decoded(next((one for one in alternative.groups() if one), "")) if alternative else ""


def _after_element(text: str, name: str, start: int) -> int:
    """Return the place after the end tag of an element; the end of the text if it does not come."""
    found = re.compile(f"</{name}[^<>]*>", re.IGNORECASE).search(text, start)
    return found.end() if found else len(text)


_FALLBACK = re.compile(r"> (?:\* )?<@[^\s<>]+>")
"""The begin of a Matrix reply as plain text, which repeats the message that it answers."""


def without_quotes(text: str) -> str:
    """Return the text without block quotes and without the repeated message of a Matrix reply."""
    if text.startswith("> ") and _FALLBACK.match(text):
        return _without_fallback(text)
    if "<" not in text:
        return text
    kept: list[str] = []
    depth = done = read = 0
    while (found := _next_tag(text, read)) is not None:
        name = (found["name"] or "").lower()
        read = _end(text, found, name)
        if name not in _QUOTES:
            continue
        if found["end"]:
            if depth == 1:
                done = found.end()
            depth = max(0, depth - 1)
        else:
            if depth == 0:
                kept.append(text[done : found.start()])
            depth += 1
    if not kept:
        return text
    if depth == 0:
        kept.append(text[done:])
    return "".join(kept)


def _without_fallback(text: str) -> str:
    lines = text.split("\n")
    first = next((number for number, line in enumerate(lines) if not line.startswith(">")), len(lines))
    if first < len(lines) and not lines[first].strip():
        first += 1
    return "\n".join(lines[first:])
