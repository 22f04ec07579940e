"""HTML as chat platforms use it. Pure.

This is a tokenizer, not a parser. It looks for tags, and it needs no tree. A parser repairs wrong nesting, and that
work can grow with the square of the text.

Source: HTML Living Standard, section 13.2.5, "Tokenization"; Matrix client-server specification, "m.room.message
msgtypes" and "Rich replies"; Microsoft Graph, resource type "chatMessage".
"""

import re

from worker.moderation.markup.inline import decoded

_ANY = re.compile("[<&]")
_TAG = re.compile(r"<(?:!--|(?P<end>/?)(?P<name>[A-Za-z][^\s<>/]{0,63})(?P<rest>[^<>]*)>|[!?/][^<>]*>)")
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
_UNSEEN = frozenset(("head", "iframe", "noscript", "object", "script", "style", "template", "title"))
"""Elements whose content a reader does not see."""
_PICTURES = frozenset(("img", "emoji"))
_QUOTES = frozenset(("blockquote", "mx-reply"))


def render(text: str) -> str:
    """Return what a reader sees: no tags, characters decoded, a picture or custom emoji as its alternative text."""
    if _ANY.search(text) is None:
        return text
    pieces: list[str] = []
    done = 0
    while (found := _TAG.search(text, done)) is not None:
        pieces.append(decoded(text[done : found.start()]))
        done = found.end()
        name = (found["name"] or "").lower()
        if found[0] == "<!--":
            done = _after(text, "-->", done)
        elif not found["end"] and name in _UNSEEN:
            done = _after_element(text, name, done)
        else:
            pieces.append(_shown(name, found))
    pieces.append(decoded(text[done:]))
    lines = (line.strip() for line in "".join(pieces).split("\n"))
    return "\n".join(line for line in lines if line)


def _shown(name: str, found: re.Match[str]) -> str:
    """Return what a tag itself adds to what a reader sees."""
    if name in _LINES:
        return "\n"
    if name in _CELLS and not found["end"]:
        return " "
    alternative = _ALT.search(found["rest"]) if name in _PICTURES else None
    return decoded(next((one for one in alternative.groups() if one), "")) if alternative else ""


def _after(text: str, end: str, start: int) -> int:
    """Return the place after ``end``; the end of the text if it does not come."""
    place = text.find(end, start)
    return len(text) if place < 0 else place + len(end)


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
    depth = done = 0
    for found in _TAG.finditer(text):
        name = (found["name"] or "").lower()
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
