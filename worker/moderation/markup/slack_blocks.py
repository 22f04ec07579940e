"""Slack's blocks as text: what a reader sees of a message that an app laid out. Pure.

The result is Slack's mrkdwn, so that mentions and quotes are marked as in a message's ``text``.

Source: Slack's developer documentation, "Block Kit", "Rich text block".
"""

from collections.abc import Iterator
from typing import Any

DEPTH_MAX = 16
"""Deepest block that is read. Slack's own go four deep."""
_PARTS = ("title", "label", "text", "description", "fields", "elements", "rows", "accessory")
"""Where a block has words, in the order of the screen."""


def text_of(blocks: object) -> str:
    """Return what a reader sees of blocks; an empty string for anything else."""
    return "\n".join(line for line in _lines(blocks, 0) if line)


def _lines(found: Any, depth: int) -> Iterator[str]:
    if depth > DEPTH_MAX:
        return
    if type(found) is list:
        for one in found:
            yield from _lines(one, depth + 1)
    elif type(found) is dict:
        match found.get("type"):
            case "rich_text_section" | "rich_text_preformatted":
                yield _inline(found)
            case "rich_text_quote":
                yield "\n".join(f"&gt; {line}" for line in _inline(found).split("\n"))
            case _:
                for part in _PARTS:
                    within = found.get(part)
                    yield from (within,) if type(within) is str else _lines(within, depth + 1)


def _inline(section: dict[str, Any]) -> str:
    """Return the pieces of one line: they follow each other without a space."""
    elements = section.get("elements")
    return "".join(map(_piece, elements)) if type(elements) is list else ""


def _piece(element: Any) -> str:
    if type(element) is not dict:
        return ""
    kind = element.get("type")
    for name, before, after in _PIECES.get(kind, ()) if type(kind) is str else ():
        value = element.get(name)
        if type(value) is str and value:
            return f"{before}{value}{after}"
    return ""


_PIECES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "text": (("text", "", ""),),
    "link": (("text", "", ""), ("url", "", "")),
    "emoji": (("name", ":", ":"),),
    "user": (("user_id", "<@", ">"),),
    "channel": (("channel_id", "<#", ">"),),
    "usergroup": (("usergroup_id", "<!subteam^", ">"),),
    "broadcast": (("range", "<!", ">"),),
    "date": (("fallback", "", ""),),
    "color": (("value", "", ""),),
}
"""For each kind of inline element: where its words are, and what stands before and after them."""
