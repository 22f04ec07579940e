"""Markdown as chat platforms use it (Mattermost, Rocket.Chat, Stream, Zulip). Pure.

Source: CommonMark 0.31.2; GitHub Flavored Markdown, section 6.5; Zulip's help centre, "Message formatting".
"""

import re
from collections.abc import Iterable, Sequence

from worker.moderation.markup import html_text
from worker.moderation.markup.inline import CodeSpans, Delimiters, VisibleText, decoded
from worker.moderation.text_views.rules import Edit, Rule

_ANY = re.compile(r"[*_~\\`<\[>#&!]")
_RENDERED = re.compile(r"\s*<(?:p|div|ul|ol|h[1-6]|blockquote|pre|table|hr)\b[^<>]*>", re.IGNORECASE)
"""The begin of HTML that a platform made of Markdown: Zulip sends one or the other."""
_TOKEN = re.compile(
    r"(?P<block>\n[ \t]*\n)"
    r"|(?P<start>^ {0,3}(?:(?:> ?)+|#{1,6} ))"
    r"|(?P<fence>^ {0,3}(?:`{3,}|~{3,})[ \t]*(?:[\w+#.-]{1,32}[ \t]*)?\n)"
    r"|(?P<escape>\\[!-/:-@\[-`{-~])"
    r"|(?P<code>`+)"
    r"|(?P<entity>&(?:#(?:[xX][0-9a-fA-F]{1,8}|[0-9]{1,8})|[A-Za-z][A-Za-z0-9]{1,31});)"
    r"|(?P<sign>@_?|#)\*\*(?P<name>[^*|\n]{1,200})(?:\|\d{1,20})?\*\*"
    r"|<(?P<link>(?:https?://|mailto:)[^\s<>]+)>"
    r"|(?P<bracket>!?\[)"
    r"|(?P<target>\]\((?:<[^<>\s]*>|[^\s()<>]*(?:\([^\s()<>]*\)[^\s()<>]*)?)(?: +\"[^\"]*\")? *\))"
    r"|(?P<run>\*+|_+|~~+)",
    re.MULTILINE,
)
_RULES = Delimiters(inside_words=frozenset("*"), pairs=frozenset("~"))


def rules(text: str) -> Sequence[Rule]:
    """Return the rules for a text: those of HTML where a platform made HTML of Markdown; none without markup."""
    if _ANY.search(text) is None:
        return ()
    return html_text.RULES if _RENDERED.match(text) else _EDITS


def edits(text: str) -> Iterable[Edit]:
    """Give what changes for a reader: no emphasis, code as text, links by their label, mentions as words."""
    seen, spans = VisibleText(text, _RULES), CodeSpans(text)
    done = 0
    while seen.has_room() and (found := _TOKEN.search(text, done)) is not None:
        seen.add_text(found.start())
        done = found.end()
        match found.lastgroup:
            case "run":
                seen.add_run(done)
            case "block":
                seen.add_text(done)
                seen.end_block()
            case "fence":
                close, end = _fence_end(text, found)
                seen.add("", done)
                seen.add_text(close)
                seen.add("", done := end)
            case "code":
                if (close := spans.close_of(found.start())) < 0:
                    seen.add_text(done)
                else:
                    seen.add("", done)
                    seen.add_text(close)
                    seen.add("", done := close + len(found[0]))
            case "bracket":
                seen.add_bracket(done)
            case "target":
                seen.add("" if seen.close_link() else found[0], done)
            case kind:
                seen.add(_word(kind, found), done)
    seen.add_text(len(text))
    return seen.edits()


_EDITS = (edits,)


def _word(kind: str | None, found: re.Match[str]) -> str:
    match kind:
        case "start":
            return ""
        case "escape":
            return found["escape"][1:]
        case "entity":
            return decoded(found["entity"])
        case "name":
            return found["sign"][0] + found["name"]
        case _:
            return found["link"].removeprefix("mailto:")


def _fence_end(text: str, opening: re.Match[str]) -> tuple[int, int]:
    """Return where the content of a code block ends, and where the block ends. Both can be the end of the text."""
    fence = opening[0].strip()[:3]
    closing = re.compile(rf"^ {{0,3}}{fence}{fence[0]}*[ \t]*$", re.MULTILINE).search(text, opening.end())
    return closing.span() if closing else (len(text), len(text))


_QUOTED = re.compile(r" {0,3}>")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)", re.DOTALL)


def without_quotes(text: str) -> str:
    """Return the text without quoted lines, and without Zulip's blocks that are marked as a quote.

    A code block may show lines that begin with ``>``; they stay.
    """
    if ">" not in text and "quote" not in text:
        return text
    if _RENDERED.match(text):
        return html_text.without_quotes(text)
    kept, fence, quoted = [], "", False
    for line in text.split("\n"):
        found = _FENCE.match(line) if "```" in line or "~~~" in line else None
        if fence:
            if not quoted:
                kept.append(line)
            if found and found[1].startswith(fence) and not found[2].strip():
                fence, quoted = "", False
        elif found and (found[1][0] == "~" or "`" not in found[2]):
            fence, quoted = found[1], found[2].strip().lower() == "quote"
            if not quoted:
                kept.append(line)
        elif not _QUOTED.match(line):
            kept.append(line)
    return text if len(kept) == text.count("\n") + 1 else "\n".join(kept)
