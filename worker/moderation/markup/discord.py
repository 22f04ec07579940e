"""Discord's markup: its own kind of Markdown, with spoilers, custom emoji, mentions and time stamps. Pure.

Source: Discord's developer documentation, "Message Formatting"; Discord's help centre, "Markdown Text 101".
"""

import re
from collections.abc import Callable, Mapping

from worker.moderation.markup.inline import CodeSpans, Delimiters, VisibleText

_ANY = re.compile(r"[*_~|\\`<\[>#-]")
_TOKEN = re.compile(
    r"(?P<start>^(?:>>> |> |#{1,3} |-# ))"
    r"|(?P<escape>\\[!-/:-@\[-`{-~])"
    r"|(?P<code>`+)"
    r"|<a?:(?P<emoji>\w{1,64}):\d{1,20}>"
    r"|<(?P<mention>@!?|@&|#)\d{1,20}>"
    r"|</(?P<command>[^<>:\n]{1,100}):\d{1,20}>"
    r"|<id:(?P<guide>[a-z]{1,32})>"
    r"|<t:(?P<time>-?\d{1,20})(?::[a-zA-Z])?>"
    r"|<(?P<link>https?://[^\s<>]+)>"
    r"|(?P<bracket>\[)"
    r"|(?P<target>\]\((?:<[^<>\s]*>|[^\s()<>]*(?:\([^\s()<>]*\)[^\s()<>]*)?)(?: +\"[^\"]*\")? *\))"
    r"|(?P<run>\*+|_+|~~+|\|\|+)",
    re.MULTILINE,
)
_MENTIONS = {"@": "@user", "@!": "@user", "@&": "@role", "#": "#channel"}
"""The name of whom a mention means is not in the text."""
_WORDS: Mapping[str, Callable[[re.Match[str]], str]] = {
    "start": lambda _: "",
    "escape": lambda found: found["escape"][1:],
    "emoji": lambda found: f":{found['emoji']}:",
    "mention": lambda found: _MENTIONS[found["mention"]],
    "command": lambda found: "/" + found["command"],
    "guide": lambda found: "#" + found["guide"],
    "time": lambda _: "[time]",
    "link": lambda found: found["link"],
}
"""What a reader sees in place of a token."""
_RULES = Delimiters(inside_words=frozenset("*"), pairs=frozenset("~|"))


def render(text: str) -> str:
    """Return what a reader sees: no emphasis, spoilers open, code as text, emoji and mentions as words."""
    if _ANY.search(text) is None:
        return text
    seen, spans = VisibleText(_RULES), CodeSpans(text)
    done = 0
    while seen.has_room() and (found := _TOKEN.search(text, done)) is not None:
        seen.add(text[done : found.start()])
        done = found.end()
        kind = found.lastgroup
        if kind == "run":
            seen.add_run(found[0], text[found.start() - 1 : found.start()], text[done : done + 1])
        elif kind == "code":
            close = spans.close_of(found.start())
            seen.add(found[0] if close < 0 else _code(text[done:close], fenced=len(found[0]) > 2))  # noqa: PLR2004
            done = done if close < 0 else close + len(found[0])
        elif kind == "bracket":
            seen.add_bracket("[")
        elif kind == "target":
            seen.add("" if seen.close_link() else found[0])
        else:
            seen.add(_WORDS[kind or ""](found))
    seen.add(text[done:])
    return seen.text()


_LANGUAGE = re.compile(r"[a-zA-Z0-9+#._-]{1,32}\n")


def _code(content: str, *, fenced: bool) -> str:
    """Return the characters of a code span. The language in front of a code block is not shown."""
    named = _LANGUAGE.match(content) if fenced else None
    return content[named.end() :] if named else content
