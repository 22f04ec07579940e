"""Quotes that a platform marks at the beginning of a line: Discord's and Slack's. Pure."""


def without_quoted_lines(text: str, *, line: str, rest: str) -> str:
    """Return the text without its quotes. A code block may show such lines; they stay.

    Args:
        text: The text, in the platform's markup.
        line: The sign in front of a quoted line.
        rest: The sign that makes a quote of all that follows it. It contains ``line``.
    """
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
