"""Convert texts to token ids, exactly as the model card's tokenizer does, with one difference.

The card parses added tokens out of the user's text: a user who types one moves the position that the card pools at,
or writes a control token. Here every added token is text like any other, also one that tokenizer.json does not call
special (``<|fim_pad|>`` and ``<tool_call>`` on Qwen2). transformers' ``split_special_tokens=True`` does the same
for special tokens only.

The tokenizer is transformers' own, serialised once into a copy that nobody else configures: the wrapper sets
truncation and padding on every call, which is not thread-safe.

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
from worker.classifier.model_files import blaming
from worker.errors import ModelError

# Several scripts, an emoji, a combining accent, a special token of each family: what a wrong copy gets wrong.
PROBE = "How do I end a Python process? Привет, 你好, ke\u0301k \U0001f600 <|endoftext|><|begin_of_text|>"


class EncodedText(NamedTuple):
    """A text as the model sees it.

    Attributes:
        tokens: Ids, special tokens that the model wants included, at most ``tokens_max``.
        truncated: Whether the bound took something away.
    """

    tokens: Sequence[int]
    truncated: bool


CHARACTERS_PER_CALL_MAX = 65_536
"""Of a slice. The most expensive slice took 76 MB. A batch of 1,024 chat messages, 60 characters each, is one."""


class TextEncoder:
    """The tokenizer, configured once; for one thread at a time.

    Args:
        document: tokenizer.json.
        tokens_max: The bound, special tokens included.
        truncation_side: ``right`` or ``left``.

    Attributes:
        largest_id: The largest id that a text can give.
    """

    def __init__(self, document: str, *, tokens_max: int, truncation_side: str) -> None:
        parsed = json.loads(document)
        # The post-processor holds the ids of the tokens that the model wants, so that these are still added.
        tokenizer = Tokenizer.from_str(json.dumps({**parsed, "added_tokens": []}))
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length=tokens_max, direction=truncation_side)
        added = {token["id"] for token in parsed["added_tokens"]}
        self.largest_id = max(id_ for id_ in tokenizer.get_vocab().values() if id_ not in added)
        self.tokens_max = tokens_max
        self._tokenizer = tokenizer
        self._first_cut = FirstCut.of(parsed, tokens_max=tokens_max) if truncation_side == "right" else None

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
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        # Reading ``overflowing`` copies it: read it only of a text that fills the bound.
        return [
            EncodedText(ids, len(ids) == self.tokens_max and bool(encoding.overflowing))
            for encoding in encodings
            for ids in (encoding.ids,)
        ]


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
    """Reads the tokenizer in a folder, and makes sure that it is the model's.

    Args:
        folder: Holds ``tokenizer.json``.
        tokens_max: The bound, special tokens included.
        vocabulary: Rows of the model's embedding: an id beyond them would kill a CUDA context.
        bos_wanted: The model was trained with a token in front of every text.

    Raises:
        ModelError: Unreadable, not fast, without the BOS, or of another model.
    """
    with blaming(f"The tokenizer in {folder} can't be read: fetch it again (moderation-worker model fetch)"):
        theirs: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        document: str = theirs.backend_tokenizer.to_str()
        encoder = TextEncoder(document, tokens_max=tokens_max, truncation_side=theirs.truncation_side)
    if encoder.largest_id >= vocabulary:
        raise ModelError(
            f"The tokenizer in {folder} has ids up to {encoder.largest_id}, the model's vocabulary ends at "
            f"{vocabulary - 1}: it belongs to another model. Set WORKER_MODEL__TOKENIZER to this model's."
        )
    _verify(encoder, theirs, folder, bos_wanted=bos_wanted, tokens_max=tokens_max)
    return encoder


def _verify(encoder: TextEncoder, theirs: Any, folder: Path, *, bos_wanted: bool, tokens_max: int) -> None:
    """Refuses a copy that reads a probe otherwise than transformers does, or leaves out the BOS."""
    ids = list(encoder.encode([PROBE])[0].tokens)
    wanted = theirs(PROBE, split_special_tokens=True, truncation=True, max_length=tokens_max).input_ids
    if ids != wanted:
        raise ModelError(
            f"The tokenizer in {folder} reads a text otherwise once it is copied: this worker can't use it."
        )
    if bos_wanted and (theirs.bos_token_id is None or ids[0] != theirs.bos_token_id):
        raise ModelError(
            f"The tokenizer in {folder} puts no BOS in front of a text, which a Llama model needs: "
            "set WORKER_MODEL__TOKENIZER to the one it was trained with."
        )
