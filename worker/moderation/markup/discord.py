"""Discord's markup: its own kind of Markdown, with spoilers, custom emoji, mentions and time stamps. Pure.

Source: Discord's developer documentation, "Message Formatting"; Discord's help centre, "Markdown Text 101".
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from worker.moderation.markup.inline import CodeSpans, Delimiters, VisibleText, next_token
from worker.moderation.text_views.rules import Edit, Rule

_ANY = re.compile(r"[*_~|\\`<\[>#](?:(?<![>#])|(?= ))")
"""A character that can begin markup. A heading and a small line have ``# ``, and a quote ``> ``: chat is full of
dashes, arrows and hashtags that begin nothing."""
_SIGNS = re.compile(r"[*_~|\\`<\[\]>#-]")
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
_LANGUAGE = re.compile(r"[a-zA-Z0-9+#._-]{1,32}\n")
"""The language in front of a code block, which is not shown."""
_RULES = Delimiters(inside_words=frozenset("*"), pairs=frozenset("~|"))


def edits(text: str) -> Iterable[Edit]:
    """Give what changes for a reader: no emphasis, spoilers open, code as text, emoji and mentions as words."""
    seen, spans = VisibleText(text, _RULES), CodeSpans(text)
    done = 0
    while seen.has_room() and (found := next_token(_TOKEN, _SIGNS, text, done)) is not None:
        seen.add_text(found.start())
        done = found.end()
        kind = found.lastgroup
        if kind == "run":
            seen.add_run(done)
        elif kind == "code" and (close := spans.close_of(found.start())) >= 0:
            named = _LANGUAGE.match(text, done, close) if len(found[0]) > 2 else None  # noqa: PLR2004 - a block
            seen.add("", named.end() if named else done)
            seen.add_text(close)
            done = close + len(found[0])
            seen.add("", done)
        elif kind == "bracket":
            seen.add_bracket(done)
        elif kind == "target":
            seen.add("" if seen.close_link() else found[0], done)
        else:
            seen.add(found[0] if kind == "code" else _WORDS[kind or ""](found), done)
    seen.add_text(len(text))
    return seen.edits()


_EDITS = (edits,)


def rules(text: str) -> Sequence[Rule]:
    """Return the rules for a text; none if it has no markup."""
    return _EDITS if _ANY.search(text) else ()
