"""Tokenise with tiktoken: the ids that the library tokenizers gives, in less than a fifth of its time.

Invariant: ``TiktokenEncoder.encode`` returns the ids that tokenizers returns for a text without special tokens.
Every start proves the invariant; ``TiktokenRefused`` says what the proof lacks.

Why it holds:

1. Both ways normalise with the same code, that of tokenizers.
2. Both ways split a text by the same pattern, one of the two in ``split_pattern``. These patterns know only classes
   of characters. ``_same_splits`` shows at every start that both regex engines have the same classes.
3. Within a piece both libraries merge the adjacent pair with the lowest rank, and of equal ranks the leftmost pair.
   tokenizers merges the pairs in its list, and a pair's rank is its place there. tiktoken merges any two tokens
   that together are a token, and the rank is that token's id. Both ways merge the same pairs in the same order:

   a. Merges outside a span of bytes do not change the order of the merges inside the span. So a token's bytes go
      through the same steps in every text, and the last step always merges the same pair.
   b. The ids do not decrease along the list of merges. So both libraries order the listed pairs in the same way.
   c. Suppose that two adjacent tokens are together a token, and their pair is not in the list. Then tokenizers
      divides that token's own bytes into these two tokens, because of (a). ``_ranks`` tokenises each entry of the
      vocabulary, and finds no such entry.

4. tiktoken first looks a whole piece up in the vocabulary. tokenizers does that only with ``ignore_merges`` (Llama
   3). Otherwise the merges lead to the same token: ``_ranks`` leaves out entries that no merges lead to.

tiktoken takes linear time for each of these patterns. Its merges use a heap for a piece of 100 bytes or more.

Rejected: one call for each text. Each call releases the interpreter's lock and waits for it again. So a slice's
texts are joined by a separator that only this process knows, and one call tokenises all of them.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from tokenizers import Regex, Tokenizer, pre_tokenizers
from tokenizers.models import BPE

from worker.classifier.split_pattern import split_pattern

if TYPE_CHECKING:
    from tiktoken import Encoding

PROBES = (
    "How do I end a Python process? good game everyone, I'LL we've they'Re 'S'\u017fx'\u017f",
    "Привет, как дела? Γειά σου Κόσμε! Ողջույն გამარჯობა",  # noqa: RUF001 - Greek
    "你好，世界。今天的直播很好看！こんにちは か\u3099 カ ﾊﾟ 안녕하세요 \u1112\u1161\u11ab",  # noqa: RUF001 - Chinese
    "مرحبا بالعالم שָׁלוֹם नमस्ते दुनिया \u0958 \u09c7\u09be สวัสดีครับ \u0b95\u0bca ខ្មែរ",
    "ke\u0301k k\u00e9k \u0301x e\u0323\u0301 e\u0301\u0323 \u212b \u2126 \ufb2c \u1e9b\u0323",
    "a  b   c\t\td\n\n e\r\n\r\nf \u3000g\u00a0\u00a0h\u2028i\x1cj\x85k \n \n  ",
    "1 22 333 4444 55555 \u0663\u0664\u0665 ½ Ⅷ 12:34 3.14 1,000,000",
    "!!! ?!\n ...\r\n ,;: -- __ == $$ ## @name #tag https://example.com/?q=1&r=2",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \u2764\ufe0f",
    "\U0001d4d0 \ufffd\ufffd \0 \U0010ffff",
)
"""Scripts, normal forms, white space, marks, numbers and signs; ``\\ufffd`` replaces a lone surrogate."""

_CODE_POINTS = (
    *chain(range(0x3400), range(0x9F00, 0xAC40), range(0xD780, 0xD800), range(0xF8C0, 0x10000)),
    *chain(range(0x3400, 0x9F00, 97), range(0x10000, 0x20000, 5), range(0x20000, 0x110000, 251)),
)
"""Code points that every start compares: the first plane without its large blocks (CJK, Hangul, private use), and
some of the others. Unicode adds letters in runs. A test compares all code points with the locked versions."""

_PRINTED = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_LETTERS = dict(
    zip((*_PRINTED, *sorted(set(range(256)) - {*_PRINTED})), (*_PRINTED, *range(0x100, 0x144)), strict=True)
)
"""Byte to the character that writes this byte in a byte-level vocabulary. Source: GPT-2's ``bytes_to_unicode``."""
BYTE_OF_LETTER = {letter: byte for byte, letter in _LETTERS.items()}


class TiktokenRefused(Exception):  # noqa: N818 - an answer, not an error
    """Says why tiktoken can't replace tokenizers for a tokenizer."""


class TiktokenEncoder:
    """Encodes texts with tiktoken. Only one thread at a time may use it.

    Args:
        parsed: tokenizer.json.
        tokenizer: The same tokenizer, without added tokens, as tokenizers opens it.

    Raises:
        TiktokenRefused: tiktoken is not installed, or it could give other ids for a text.
    """

    def __init__(self, parsed: Mapping[str, Any], tokenizer: Tokenizer) -> None:
        pattern = _pattern(parsed)
        if tokenizer.encode("a").ids != tokenizer.encode("").ids + _bare(tokenizer, ["a"])[0]:
            raise TiktokenRefused("the tokenizer adds a token after every text")
        encoding_of = _tiktoken()
        ranks = _ranks(parsed["model"], tokenizer.model)
        if not _same_splits(pattern):
            raise TiktokenRefused("tiktoken and tokenizers know different classes of characters")
        # The first character occurs once, so a separator can't begin in a text and end in a separator.
        self._separator = f"\U0010ffff{secrets.token_hex(16)}"
        self._separator_id = max(ranks.values()) + 1
        self._encoding = encoding_of(
            "moderation-worker",
            pat_str=pattern,
            mergeable_ranks=ranks,
            special_tokens={self._separator: self._separator_id},
        )
        self._allowed = {self._separator}
        self._normalizer: Any = tokenizer.normalizer
        probes = [*PROBES, *(token["content"] for token in parsed["added_tokens"])]
        if self.encode(probes) != _bare(tokenizer, probes):
            raise TiktokenRefused("tiktoken gives other ids for a text of the start-up probe")

    def encode(self, texts: Sequence[str]) -> list[list[int]] | None:
        """Return the ids of each text, in order; None when tiktoken can't encode these texts.

        That is so when white space of about a million characters exceeds the regex engine's stack, or when a text
        holds the separator.
        """
        normalizer = self._normalizer
        if normalizer is not None:
            texts = [text if text.isascii() else normalizer.normalize_str(text) for text in texts]
        try:
            ids = self._encoding.encode(
                self._separator.join(texts), allowed_special=self._allowed, disallowed_special=()
            )
        except ValueError:
            return None
        return self._divided(ids, len(texts))

    def _divided(self, ids: list[int], texts: int) -> list[list[int]] | None:
        """Return the ids of each text from the ids of the joined texts."""
        separator, start, found = self._separator_id, 0, []
        if ids.count(separator) != texts - 1:
            return None
        for _ in range(texts - 1):
            end = ids.index(separator, start)
            found.append(ids[start:end])
            start = end + 1
        found.append(ids[start:])
        return found


def open_tiktoken(
    parsed: Mapping[str, Any], tokenizer: Tokenizer
) -> tuple[TiktokenEncoder | None, tuple[str, ...]]:
    """Return an encoder with tiktoken; or None, with a sentence for the start-up line that says why not.

    Args:
        parsed: tokenizer.json.
        tokenizer: The same tokenizer, without added tokens and without a bound, as tokenizers opens it.
    """
    try:
        return TiktokenEncoder(parsed, tokenizer), ()
    except TiktokenRefused as refused:
        return None, (f"tokenizers tokenises, not tiktoken, which is several times faster: {refused}",)


def _bare(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def _tiktoken() -> "type[Encoding]":
    try:
        from tiktoken import Encoding  # noqa: PLC0415 - a GPU machine may lack it
    except ImportError:
        raise TiktokenRefused("the package tiktoken is not installed") from None
    return Encoding


def _pattern(parsed: Mapping[str, Any]) -> str:
    """Return the pattern that splits a text, if the argument above holds for this kind of tokenizer."""
    pattern = split_pattern(parsed)
    match parsed:
        case {
            "model": {
                "unk_token": None,
                "continuing_subword_prefix": None | "",
                "end_of_word_suffix": None | "",
                "byte_fallback": False,
            }
        } if pattern is not None:
            return pattern
    raise TiktokenRefused(
        "the tokenizer is not a byte-level BPE that splits as Qwen2's or Llama 3's tokenizer does"
    )


def _ranks(model: Mapping[str, Any], bpe: Any) -> dict[bytes, int]:
    """Return the entries of the vocabulary as bytes, with their ids; verify 3 (b), 3 (c) and 4 above.

    Args:
        model: The model of tokenizer.json.
        bpe: The same model, as tokenizers opens it.
    """
    vocabulary: dict[str, int] = model["vocab"]
    pairs = (pair.split(" ", 1) if isinstance(pair, str) else pair for pair in model["merges"])
    ids = [vocabulary[left + right] for left, right in pairs]
    if ids != sorted(ids):
        raise TiktokenRefused("the merges are not in the order of their tokens' ids")
    whole_pieces = bpe.ignore_merges
    bpe.ignore_merges = False
    try:
        parts = {entry: len(bpe.tokenize(entry)) for entry in vocabulary}
    finally:
        bpe.ignore_merges = whole_pieces
    if whole_pieces and 2 in parts.values():  # noqa: PLR2004 - two tokens that tiktoken would merge
        raise TiktokenRefused("the list of merges lacks pairs that tiktoken would merge")
    try:
        ranks = {
            entry.translate(BYTE_OF_LETTER).encode("latin-1"): vocabulary[entry]
            for entry, count in parts.items()
            if count == 1 or whole_pieces
        }
    except UnicodeEncodeError:
        raise TiktokenRefused("an entry of the vocabulary is not bytes") from None
    if not all(bytes([byte]) in ranks for byte in range(256)):
        raise TiktokenRefused("the vocabulary lacks a byte")
    return ranks


@cache
def _same_splits(pattern: str) -> bool:
    """Return whether both regex engines split the texts of ``_CODE_POINTS`` at the same places."""
    return same_splits(pattern, _CODE_POINTS)


def same_splits(pattern: str, code_points: Iterable[int]) -> bool:
    """Return whether both regex engines split texts of these code points at the same places.

    A text is a run of consecutive code points, forwards and backwards. A code point of another class (letter,
    number, white space or other) would change where its piece, or its neighbour's piece, begins. The vocabulary
    makes that visible: it joins the last byte of each character to the first byte of the next one.
    """
    joins = [bytes([last, first]) for last in range(0xC0) for first in range(0xC2, 0xF5)]
    ranks = {entry: rank for rank, entry in enumerate([bytes([byte]) for byte in range(256)] + joins)}
    written = {entry: entry.decode("latin-1").translate(_LETTERS) for entry in ranks}
    merges = [(written[entry[:1]], written[entry[1:]]) for entry in joins]
    tokenizer: Any = Tokenizer(BPE({written[entry]: rank for entry, rank in ranks.items()}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    encoding = _tiktoken()("splits", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    remaining = iter(code_points)
    while run := "".join(map(chr, islice(remaining, 4096))):
        for text in (run, run[::-1]):
            if tokenizer.encode(text).ids != encoding.encode_ordinary(text):
                return False
    return True
