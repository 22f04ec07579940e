"""Token ids to probabilities.

Invariant: a text's scores do not depend on its neighbours (but for the last bits of a sum), and a text that
breaks the model takes no other with it.

Why it holds without a mask: both architectures are causal, so a text's last true token can't see the padding
on its right, and it is there that we pool, before the head. No mask also keeps torch's fast causal attention.
Rejected: transformers' own pooling, which takes the right-most token that isn't the pad token and so moves when
a user types that token; left padding, which needs a mask and shifted positions; softmax, because the twelve
categories are independent.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from worker.classifier.poison import OutOfMemory, TokenBound, attempt, score_or_blame
from worker.classifier.tokenizer import PROBE, Encoded, TextEncoder
from worker.errors import ModelBroken
from worker.records import Fault, ModelIdentity, Scores

log = logging.getLogger(__name__)

# How far a probability may move between two runs of the same text: seven times what was measured in float32
# over batches of every mix (1.4e-6), and a little more than in bfloat16 (1.8e-2), whose noise is the card's own.
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2e-2}

# What torch says where it raises a plain RuntimeError: the allocator of the CPU, cuBLAS, and the driver.
_NO_MEMORY = re.compile("can't allocate memory|CUBLAS_STATUS_ALLOC_FAILED|CUDA error: out of memory")


def chunks(lengths: Sequence[int], *, tokens_max: int, padding_max: int) -> Iterator[list[int]]:
    """Which texts to score together: positions in ``lengths``, shortest first, each once.

    Args:
        lengths: Tokens of each text.
        tokens_max: Tokens of a chunk, padding included; a longer text stands alone.
        padding_max: Tokens of padding that a text may get; at 0 all texts of a chunk are of one length.
    """
    chunk: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        longest = lengths[index]
        if chunk and ((len(chunk) + 1) * longest > tokens_max or longest - lengths[chunk[0]] > padding_max):
            yield chunk
            chunk = []
        chunk.append(index)
    if chunk:
        yield chunk


class Classifier:
    """A model, verified and warm. ``encode`` and ``score`` may run at the same time, each in one thread.

    Attributes:
        identity: What it is.
        batch_tokens_max: Tokens to score at once, padding included, while the memory of the device holds them.
        fallbacks: A sentence for each fall-back taken, for the start-up line.
    """

    def __init__(
        self,
        *,
        identity: ModelIdentity,
        batch_tokens_max: int,
        padding_max: int,
        fallbacks: tuple[str, ...],
        model: PreTrainedModel,
        encoder: TextEncoder,
    ) -> None:
        self.identity = identity
        self.batch_tokens_max = batch_tokens_max
        self.fallbacks = fallbacks
        self._model: Any = model  # its submodules are typed as tensors
        self._encoder = encoder
        self._vocabulary = model.get_input_embeddings().num_embeddings
        self._padding_max = padding_max
        self._bound = TokenBound(whole=batch_tokens_max, tokens=batch_tokens_max)
        self._probe = encoder.encode([PROBE])[0].tokens
        self._probe_scores: NDArray[np.float32] | None = None

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Tokens of each text, in order: cut at the bound, special tokens that a user typed read as text."""
        return self._encoder.encode(texts)

    def score(self, token_lists: Sequence[Sequence[int]]) -> list[Scores | Fault]:
        """Probabilities of each text, in order, or the fault of a text that breaks the model.

        Args:
            token_lists: As ``encode`` gave them; none is empty.

        Raises:
            ModelBroken: The device is broken, no single text is to blame; nothing was scored.
        """
        answers: dict[int, Scores | Fault] = {}
        lengths = [len(tokens) for tokens in token_lists]
        for chunk in chunks(lengths, tokens_max=self._bound.tokens, padding_max=self._padding_max):
            batch = [token_lists[index] for index in chunk]
            answers.update(zip(chunk, self._score_chunk(batch), strict=True))
        return [answers[index] for index in range(len(token_lists))]

    def _score_chunk(self, batch: Sequence[Sequence[int]]) -> list[Scores | Fault]:
        """At once, or cut anew when memory runs out, or has run out since the chunk was cut."""
        tokens = len(batch) * max(map(len, batch))
        if len(batch) == 1 or tokens <= self._bound.tokens:
            try:
                answers = score_or_blame(self._forward, batch, self._probe_ok)
            except OutOfMemory:
                self._bound.ran_out(tokens)
            else:
                if self._bound.went_well():
                    log.warning(
                        "memory has sufficed for a while: up to %d tokens at once again", self._bound.tokens
                    )
                return answers
            log.warning(
                "%s has no memory for %d tokens at once: up to %d for now",
                self.identity.device,
                tokens,
                self._bound.tokens,
            )
            # The error is gone, and with it what its frames held of the failed pass.
            if self._model.device.type == "cuda":
                torch.cuda.empty_cache()
        return self.score(batch)

    def warm_up(self) -> None:
        """Scores a probe, to compare with later, and on a GPU the largest batch, so that its memory is there.

        Raises:
            ModelBroken: It can't score.
        """
        answer = attempt(self._forward, [self._probe])
        if isinstance(answer, str):
            raise ModelBroken(
                f"The model gave {answer} for a harmless text: its weights are damaged, or {self.identity.device} "
                "is broken. Fetch it again, or set WORKER_MODEL__DEVICE or WORKER_MODEL__DTYPE."
            )
        self._probe_scores = answer
        if self._model.device.type == "cpu":
            return
        try:
            full = attempt(self._forward, self._full_batch())
        except OutOfMemory:
            full = "out of memory"
        if isinstance(full, str):
            raise ModelBroken(
                f"A batch of {self.batch_tokens_max} tokens is too much for {self.identity.device} ({full}): "
                "lower WORKER_BATCH__TOKENS_MAX, or free memory of the device."
            )

    def _full_batch(self) -> list[Sequence[int]]:
        """As many tokens as a batch may have, in texts of the greatest length."""
        length = self._encoder.tokens_max
        row = (list(self._probe) * (length // len(self._probe) + 1))[:length]
        return [row] * max(1, self.batch_tokens_max // length)

    def _probe_ok(self) -> bool:
        """Whether the device still scores a harmless text as it did when it was warm."""
        answer = attempt(self._forward, [self._probe])
        if isinstance(answer, str) or self._probe_scores is None:
            return False
        return bool(np.abs(answer - self._probe_scores).max() <= TOLERANCES[self._model.dtype])

    def _forward(self, token_lists: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Probabilities ``[B][L]`` of ``B`` texts, in one pass over the model.

        Raises:
            OutOfMemory: The memory of the device does not hold them.
            ModelBroken: It does not even hold one.
        """
        lengths = np.array([len(tokens) for tokens in token_lists])
        ids = np.zeros((len(token_lists), lengths.max()), dtype=np.int64)
        for row, tokens in zip(ids, token_lists, strict=True):
            row[: len(tokens)] = tokens
        # On a GPU an id beyond the vocabulary kills the whole context: look before it leaves the host.
        if ids.min() < 0 or ids.max() >= self._vocabulary:
            raise ValueError("a token id beyond the vocabulary")
        try:
            return self._probabilities(torch.from_numpy(ids), torch.from_numpy(lengths - 1))
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            if len(token_lists) > 1:
                raise OutOfMemory from error
            raise ModelBroken(
                f"{self.identity.device} has no memory left for one text of {lengths[0]} tokens, though it had at "
                "the start: something else uses it, or WORKER_BATCH__TOKENS_MAX is too high."
            ) from error

    @torch.inference_mode()
    def _probabilities(self, ids: torch.Tensor, last: torch.Tensor) -> NDArray[np.float32]:
        """``[B][T]`` ids and the ``[B]`` positions of their last true tokens to ``[B][L]`` probabilities."""
        device = self._model.device
        hidden = self._model.base_model(input_ids=ids.to(device), use_cache=False).last_hidden_state
        pooled = hidden[torch.arange(len(ids), device=device), last.to(device)]
        logits = self._model.score(pooled).float()
        probabilities: NDArray[np.float32] = torch.sigmoid(logits).cpu().numpy()
        return probabilities


def _is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or bool(_NO_MEMORY.search(str(error)))
