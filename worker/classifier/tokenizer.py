"""Convert texts to token ids, exactly as the model card's tokenizer does, with one difference.

The card parses added tokens in the user's text. A user who types one writes a control token, or moves the position
that the card pools at. Here every added token in a text is plain text. That includes tokens that tokenizer.json
does not call special (``<|fim_pad|>`` and ``<tool_call>`` on Qwen2). transformers' ``split_special_tokens=True``
does the same, but only for special tokens.

The tokenizer is a copy of transformers' own, serialised once, that nothing else configures. transformers' wrapper
sets truncation and padding on every call, which is not thread-safe. The library tiktoken replaces the copy's own
library, tokenizers, where both certainly give the same ids: ``tiktoken_encoder`` says why.

A call takes up to 1.2 kB of memory per character (of a letter that NFC decomposes, tokenizers 0.23), so texts go to
the tokenizer in slices bounded by characters.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from worker.classifier.first_cut import FirstCut
from worker.classifier.model_files import as_model_error
from worker.classifier.tiktoken_encoder import open_tiktoken
from worker.classifier.word_pieces import WordPieces, word_pieces
from worker.errors import ModelError

# Several scripts, an emoji, a combining accent, a special token of each family: a wrong copy would encode one
# wrongly.
PROBE = "How do I end a Python process? Привет, 你好, ke\u0301k \U0001f600 <|endoftext|><|begin_of_text|>"


class EncodedText(NamedTuple):
    """A text as token ids.

    Attributes:
        tokens: Token ids, including the special tokens that the model needs; at most ``tokens_max``.
        truncated: Whether the bound shortened the text.
    """

    tokens: Sequence[int]
    truncated: bool


class LocatedTokens(NamedTuple):
    """All tokens of a text, without special tokens, and where each is in the text.

    Attributes:
        ids: ``[N]`` token ids.
        starts: ``[N]`` for each token, the offset of its first character. Tokens of one character share it.
        ends: ``[N]`` for each token, the offset after its last character.
    """

    ids: Sequence[int]
    starts: Sequence[int]
    ends: Sequence[int]


CHARACTERS_PER_CALL_MAX = 65_536
"""Characters of a slice. The most expensive slice took 76 MB. 1,024 chat messages of 60 characters are one slice.
"""


class TextEncoder:
    """The tokenizer, configured once. Only one thread at a time may use it.

    Args:
        document: tokenizer.json.
        tokens_max: Largest number of tokens of a text, including special tokens.
        truncation_side: ``right`` or ``left``.

    Attributes:
        largest_id: The largest token id that a text can have.
        fallbacks: A sentence that says why tiktoken does not tokenise; empty when it does.
    """

    def __init__(self, document: str, *, tokens_max: int, truncation_side: str) -> None:
        parsed = json.loads(document)
        # The post-processor holds the ids of the special tokens that the model needs, so these are still added.
        tokenizer = Tokenizer.from_str(json.dumps({**parsed, "added_tokens": []}))
        tokenizer.no_padding()
        self._in_front, self._behind = _special_tokens(tokenizer)
        self._tiktoken, self.fallbacks = open_tiktoken(parsed, tokenizer)
        added = {token["id"] for token in parsed["added_tokens"]}
        self.largest_id = max(id_ for id_ in tokenizer.get_vocab().values() if id_ not in added)
        self.tokens_max = tokens_max
        self._tokenizer = tokenizer
        self._cuts_right = truncation_side == "right"
        self._bound_tokens()
        self._first_cut = FirstCut.of(parsed, tokens_max=tokens_max) if self._cuts_right else None

    @property
    def room(self) -> int:
        """Tokens that a window has, without the special tokens."""
        return self.tokens_max - len(self._in_front) - len(self._behind)

    @property
    def keeps_first_tokens(self) -> bool:
        """Whether the bound keeps the first tokens of a text; otherwise the last ones."""
        return self._cuts_right

    def tokens_in(self, text: str) -> LocatedTokens:
        """Return all tokens of a text, with their places: with tokenizers, because tiktoken gives no places."""
        self._tokenizer.no_truncation()
        try:
            encoding = self._tokenizer.encode(text, add_special_tokens=False)
        finally:
            self._bound_tokens()
        starts, ends = zip(*encoding.offsets, strict=True) if encoding.ids else ((), ())
        return LocatedTokens(encoding.ids, starts, ends)

    def framed(self, ids: Sequence[int]) -> list[int]:
        """Return the tokens of a window with the special tokens that the model needs."""
        return [*self._in_front, *ids, *self._behind]

    def _bound_tokens(self) -> None:
        side = "right" if self._cuts_right else "left"
        self._tokenizer.enable_truncation(max_length=self.tokens_max, direction=side)

    def word_pieces(self) -> WordPieces:
        """Return the words and endings of the vocabulary."""
        return word_pieces(self._tokenizer.get_vocab(with_added_tokens=False))

    @property
    def library(self) -> str:
        """The library that tokenises: ``tiktoken`` or ``tokenizers``."""
        return "tokenizers" if self._tiktoken is None else "tiktoken"

    def encode(self, texts: Sequence[str]) -> list[EncodedText]:
        """Return the tokens of each text, in order."""
        if sum(map(len, texts)) <= CHARACTERS_PER_CALL_MAX:
            return self._encode(texts)
        if self._first_cut is None:
            return self._encode_slices(texts)
        heads = [self._first_cut.head(text) for text in texts]
        answers = self._encode_slices(heads)
        cut = [index for index, text in enumerate(texts) if len(heads[index]) < len(text)]
        # A head that fills the bound gives the text's first tokens, and the rest of the text has at least one more.
        for index in cut:
            answers[index] = answers[index]._replace(truncated=True)
        short = [index for index in cut if len(answers[index].tokens) < self.tokens_max]
        for index, whole in zip(short, self._encode_slices([texts[index] for index in short]), strict=True):
            answers[index] = whole
        return answers

    def _encode_slices(self, texts: Sequence[str]) -> list[EncodedText]:
        return [encoded for part in slices(texts) for encoded in self._encode(part)]

    def _encode(self, texts: Sequence[str]) -> list[EncodedText]:
        found = None if self._tiktoken is None else self._tiktoken.encode(texts)
        if found is not None:
            return [self._bounded(ids) for ids in found]
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        # Reading ``overflowing`` copies it: read it only of a text that fills the bound.
        return [
            EncodedText(ids, len(ids) == self.tokens_max and bool(encoding.overflowing))
            for encoding in encodings
            for ids in (encoding.ids,)
        ]

    def _bounded(self, ids: list[int]) -> EncodedText:
        """Put the tokens that the model needs in front, and cut the text's tokens to the rest of the bound."""
        room = self.tokens_max - len(self._in_front)
        if len(ids) <= room:
            return EncodedText(self._in_front + ids, truncated=False)
        kept = ids[:room] if self._cuts_right else ids[len(ids) - room :]
        return EncodedText(self._in_front + kept, truncated=True)


def _special_tokens(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Return the special tokens that the model needs in front of a text, and those behind it."""
    ids, text_ids = tokenizer.encode("a").ids, tokenizer.encode("a", add_special_tokens=False).ids
    in_front = len(ids) - len(text_ids)
    while ids[in_front : in_front + len(text_ids)] != text_ids:
        in_front -= 1
    return ids[:in_front], ids[in_front + len(text_ids) :]


def slices(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Split texts into slices of at most ``CHARACTERS_PER_CALL_MAX`` characters; a longer text is alone in one."""
    start = characters = 0
    for index, text in enumerate(texts):
        characters += len(text)
        if characters > CHARACTERS_PER_CALL_MAX and index > start:
            yield texts[start:index]
            start, characters = index, len(text)
    if start < len(texts):
        yield texts[start:]


def open_tokenizer(folder: Path, *, tokens_max: int, vocabulary: int, bos_wanted: bool) -> TextEncoder:
    """Return the tokenizer in a folder, and verify that it is the model's.

    Args:
        folder: A folder with ``tokenizer.json``.
        tokens_max: Largest number of tokens of a text, including special tokens.
        vocabulary: Rows of the model's embedding: an id beyond them would break a CUDA context.
        bos_wanted: Whether the model was trained with a token in front of every text (BOS).

    Raises:
        ModelError: The tokenizer cannot be read, is not a fast one, lacks the BOS, or is of another model.
    """
    with as_model_error(f"The tokenizer in {folder} can't be read: fetch it again (moderation-worker model fetch)"):
        original: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        document: str = original.backend_tokenizer.to_str()
        encoder = TextEncoder(document, tokens_max=tokens_max, truncation_side=original.truncation_side)
    if encoder.largest_id >= vocabulary:
        raise ModelError(
            f"The tokenizer in {folder} has ids up to {encoder.largest_id}, but the model's vocabulary ends at "
            f"{vocabulary - 1}: it belongs to another model. Set WORKER_MODEL__TOKENIZER to this model's."
        )
    _verify(encoder, original, folder, bos_wanted=bos_wanted, tokens_max=tokens_max)
    return encoder


def _verify(encoder: TextEncoder, original: Any, folder: Path, *, bos_wanted: bool, tokens_max: int) -> None:
    """Refuse a copy that encodes a probe text differently from transformers, or that leaves out the BOS."""
    ids = list(encoder.encode([PROBE])[0].tokens)
    wanted = original(PROBE, split_special_tokens=True, truncation=True, max_length=tokens_max).input_ids
    if ids != wanted:
        raise ModelError(
            f"The tokenizer in {folder} encodes a text differently after it is copied, so this worker can't "
            "use it. Set WORKER_MODEL__TOKENIZER to another one."
        )
    if bos_wanted and (original.bos_token_id is None or ids[0] != original.bos_token_id):
        raise ModelError(
            f"The tokenizer in {folder} puts no BOS in front of a text, which a Llama model needs: "
            "set WORKER_MODEL__TOKENIZER to the tokenizer that the model was trained with."
        )
