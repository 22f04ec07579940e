"""The words and endings in a tokenizer's vocabulary, for parts that must know words and not the model. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

from worker.classifier.tiktoken_encoder import BYTE_OF_LETTER


class WordPieces(NamedTuple):
    """Tokens of letters only, in lower case; the most frequent first.

    Attributes:
        words: Tokens that begin a word, without the space in front.
        endings: Tokens that continue a word.
    """

    words: tuple[str, ...]
    endings: tuple[str, ...]


def word_pieces(vocabulary: Mapping[str, int]) -> WordPieces:
    """Return the pieces of a byte-level vocabulary; none of another kind of vocabulary.

    A token with a lower id was merged earlier, so it is more frequent.

    Args:
        vocabulary: Token, as tokenizer.json writes it, to id.
    """
    words: dict[str, None] = {}
    endings: dict[str, None] = {}
    for token in sorted(vocabulary, key=vocabulary.__getitem__):
        try:
            text = token.translate(BYTE_OF_LETTER).encode("latin-1").decode().lower()
        except UnicodeError:  # part of a character, or a vocabulary of another kind
            continue
        if text.startswith(" ") and text[1:].isalpha():
            words[text[1:]] = None
        elif text.isalpha():
            endings[text] = None
    return WordPieces(tuple(words), tuple(endings)) if words else WordPieces((), ())
