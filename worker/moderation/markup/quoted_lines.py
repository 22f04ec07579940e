"""Quotes that a platform marks at the beginning of a line: Discord's and Slack's. Pure."""

from collections.abc import Callable


def without_lines(*, line: str, rest: str) -> Callable[[str], str]:
    """Return the function that removes the quotes of a text. Lines of a code block stay, whatever they begin with.

    Args:
        line: The sign in front of a quoted line.
        rest: The sign that makes a quote of all that follows it. It contains ``line``.
    """

    def without_quotes(text: str) -> str:
        if line not in text:
            return text
        kept, in_code = [], False
        for one in text.split("\n"):
            if not in_code and one.startswith(rest):
                break
            if in_code or not one.startswith(line):
                kept.append(one)
                in_code ^= one.count("```") % 2 == 1
        return "\n".join(kept)

    return without_quotes
