"""Texts to token ids, exactly as the model card's tokenizer gives them, but for one thing.

The card parses special tokens out of the user's text: whoever types one moves the position that the card
pools at. Here they are text like any other (``encode_special_tokens``), which is what ``split_special_tokens=True``
does on the slow path.

The tokenizer is transformers' own, serialised once into a copy that nobody else configures: the wrapper sets
truncation and padding on every call, which is not safe beside another thread.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from worker.classifier.source import blaming
from worker.errors import ModelBroken

# Several scripts, an emoji, a combining accent, a special token of each family: what a wrong copy gets wrong.
PROBE = "How do I end a Python process? Привет, 你好, ke\u0301k \U0001f600 <|endoftext|><|begin_of_text|>"


class Encoded(NamedTuple):
    """A text as the model sees it.

    Attributes:
        tokens: Ids, special tokens that the model wants included, at most ``tokens_max``.
        truncated: Whether the bound took something away.
    """

    tokens: Sequence[int]
    truncated: bool


class TextEncoder:
    """The tokenizer, configured once; for one thread at a time."""

    def __init__(self, tokenizer: Tokenizer, *, tokens_max: int, truncation_side: str) -> None:
        tokenizer.encode_special_tokens = True
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length=tokens_max, direction=truncation_side)
        self._tokenizer = tokenizer
        self.tokens_max = tokens_max

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Tokens of each text, in order."""
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        # What overflows is copied when it is asked for: ask only a text that fills the bound.
        return [
            Encoded(ids, len(ids) == self.tokens_max and bool(encoding.overflowing))
            for encoding in encodings
            for ids in (encoding.ids,)
        ]


def open_tokenizer(folder: Path, *, tokens_max: int, vocabulary: int, bos_wanted: bool) -> TextEncoder:
    """Reads the tokenizer in a folder, and makes sure that it is the model's.

    Args:
        folder: Holds ``tokenizer.json``.
        tokens_max: The bound, special tokens included.
        vocabulary: Rows of the model's embedding: an id beyond them would kill a CUDA context.
        bos_wanted: The model was trained with a token in front of every text.

    Raises:
        ModelBroken: Unreadable, not fast, without the BOS, or of another model.
    """
    with blaming(f"The tokenizer in {folder} can't be read: fetch it again (moderation-worker model fetch)"):
        theirs: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        ours = Tokenizer.from_str(theirs.backend_tokenizer.to_str())
    largest = _largest_id(ours)
    if largest >= vocabulary:
        raise ModelBroken(
            f"The tokenizer in {folder} has ids up to {largest}, the model's vocabulary ends at {vocabulary - 1}: "
            "it belongs to another model. Set WORKER_MODEL__TOKENIZER to this model's."
        )
    encoder = TextEncoder(ours, tokens_max=tokens_max, truncation_side=theirs.truncation_side)
    _verify(encoder, theirs, folder, bos_wanted=bos_wanted, tokens_max=tokens_max)
    return encoder


def _verify(encoder: TextEncoder, theirs: Any, folder: Path, *, bos_wanted: bool, tokens_max: int) -> None:
    """Refuses a copy that reads a probe otherwise than transformers does, or leaves out the BOS."""
    ids = list(encoder.encode([PROBE])[0].tokens)
    wanted = theirs(PROBE, split_special_tokens=True, truncation=True, max_length=tokens_max).input_ids
    if ids != wanted:
        raise ModelBroken(
            f"The tokenizer in {folder} reads a text otherwise once it is copied: this worker can't use it."
        )
    if bos_wanted and (theirs.bos_token_id is None or ids[0] != theirs.bos_token_id):
        raise ModelBroken(
            f"The tokenizer in {folder} puts no BOS in front of a text, which a Llama model needs: "
            "set WORKER_MODEL__TOKENIZER to the one it was trained with."
        )


def _largest_id(tokenizer: Tokenizer) -> int:
    """Of the ids that a text can give: special ones only come from the tokenizer itself."""
    special = {id_ for id_, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    return max(id_ for id_ in tokenizer.get_vocab(with_added_tokens=True).values() if id_ not in special)
