"""Texts to measure with: built-in texts, or the texts of a file. No text is ever shown."""

import codecs
from collections.abc import Iterable, Iterator
from itertools import islice, product
from pathlib import Path

from schemas.chat import ChatMessage, Undecodable
from worker.commands.gzipped import UNREADABLE, unpacked, why_unreadable
from worker.errors import ConfigurationError
from worker.moderation.shapes import TEXT_SHAPE, ReadRecord, compile_shape
from worker.scores import DeadLetterReason

TEXTS_MAX = 100_000
"""Largest number of texts that are read from a file. More texts would not change the figures."""

SAMPLES = (
    "gg",
    "hello from Lisbon, first time here",
    "what a save!!! that was so close",
    "can someone tell me which keyboard this is?",
    "the sound is a bit low today, is it just me or does everybody have that?",
    "see you all tomorrow, same time, and thanks for the stream, it was a really nice evening",
    "Guten Abend zusammen, läuft der Bot schon?",
    "¿a qué hora empieza mañana?",
    "merci beaucoup, c'était super",
    "всем привет, как дела",
    "今日の配信も楽しかったです",
    "안녕하세요, 처음 왔어요",
    "lol",
    "I made the soup from last week's recipe and it came out great, only a little more salt next time",
    "wait, go back two minutes, I missed how you did the second part with the blue wire",
    "12 wins in a row, nice",
)
"""Typical chat: short, harmless, in several languages."""

_OPENINGS = (
    *("ok", "oh", "so", "well", "yes", "no", "hey", "haha", "wow", "nice", "true", "right"),
    *("now", "then", "sure", "really", "sorry", "thanks", "please", "maybe", "again", "also", "but", "and"),
)


def built_in_texts() -> list[str]:
    """Return 9,216 different texts with different beginnings, because equal texts are scored once."""
    return [f"{one} {two} {text}" for one, two in product(_OPENINGS, repeat=2) for text in SAMPLES]


def read_texts(path: Path, read: ReadRecord) -> list[str]:
    """Return the first ``TEXTS_MAX`` texts of a file that are not blank, in order.

    Args:
        path: A file, which may be gzipped. Each line is a text; or, if the first line begins with a brace, an input
            message.
        read: Reads an input message.

    Raises:
        ConfigurationError: The file cannot be read, a line is not a text, or the file holds no text.
    """
    try:
        with path.open("rb") as file:
            texts = list(islice(_texts(unpacked(file), read, compile_shape(TEXT_SHAPE)), TEXTS_MAX))
        why = "" if texts else "which holds no text"
    except UNREADABLE as error:
        why = f"which cannot be read ({why_unreadable(error)})"
    except Undecodable as error:
        why = error.message
    if why:
        raise ConfigurationError(
            f"--texts: got {str(path)!r}, {why}; wants a UTF-8 file, gzipped or not, with a text per line, or with "
            "an input message per line"
        )
    return texts


def _texts(lines: Iterable[bytes], read_message: ReadRecord, read_text: ReadRecord) -> Iterator[str]:
    """Yield the texts that are not blank.

    Raises:
        Undecodable: A line is not a text. The message has the number of the line.
    """
    read: ReadRecord | None = None
    for number, line in enumerate(lines, 1):
        value = line.removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n")
        if not value.strip():
            continue
        read = read or (read_message if value.startswith(b"{") else read_text)
        found = read(value, ())
        for item in found if isinstance(found, tuple) else (found,):
            if isinstance(item, DeadLetterReason):
                raise Undecodable(item.reason, f"line {number}: {item.message}")
            if isinstance(item, ChatMessage) and item.text.strip():
                yield item.text
