"""Token ids to probabilities.

Invariant: a text's scores do not depend on its neighbours (but for the last bits of a sum), and a text that
breaks the model takes no other with it. How texts share a pass without seeing each other is ``packed``'s matter.
Rejected: softmax, because the twelve categories are independent.
"""

import logging
import math
import re
import time
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from worker.classifier.batch_tokens import SECONDS_MAX, find_bound
from worker.classifier.graphs import Graphs, Run, buckets
from worker.classifier.packed import VARLEN, Row, logits_of, row_of, vocabulary_of
from worker.classifier.poison import OutOfMemory, TokenBound, attempt, score_or_blame
from worker.classifier.tokenizer import PROBE, EncodedText, TextEncoder
from worker.errors import ModelError
from worker.records import DeadLetterReason, DeviceUsage, ModelIdentity, Scores

log = logging.getLogger(__name__)

# How far a probability may move between two runs of the same text: seven times what was measured in float32
# over batches of every mix (1.4e-6), and a little more than in bfloat16 (1.8e-2), whose noise is the card's own.
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2e-2}

# Where the bound ends, by device. A GPU spends about 20 ms on launches whatever the batch holds, which 8,000 tokens
# and more hide; the rest is room for one that is faster. On a CPU the gain ends with the caches.
TOKENS_MAX = {"cpu": 8192, "cuda": 32768}

CHAT_LENGTHS = (1, 2, 2, 3, 4, 5, 7, 9, 14, 33)
"""Tokens of messages of live chat, a tenth each (Twitch, Qwen2's tokenizer)."""

# What torch says where it raises a plain RuntimeError: the allocator of the CPU, cuBLAS, and the driver.
_NO_MEMORY = re.compile("can't allocate memory|CUBLAS_STATUS_ALLOC_FAILED|CUDA error: out of memory")


def chunks(lengths: Sequence[int], *, tokens_max: int) -> Iterator[list[int]]:
    """Which texts to score together: positions in ``lengths``, shortest first, each once.

    Args:
        lengths: Tokens of each text.
        tokens_max: Tokens of a chunk; a longer text stands alone.
    """
    chunk: list[int] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if chunk and tokens + lengths[index] > tokens_max:
            yield chunk
            chunk, tokens = [], 0
        chunk.append(index)
        tokens += lengths[index]
    if chunk:
        yield chunk


class Classifier:
    """A model, verified and warm. ``encode`` and ``score`` may run at the same time, each in one thread.

    Args:
        identity: What it is.
        batch_tokens_max: The bound; None: the warm-up finds it.
        fallbacks: Those taken so far.
        model: Prepared by ``pack``.
        encoder: Its tokenizer.

    Attributes:
        identity: What it is.
        batch_tokens_max: Tokens to score at once, while the memory of the device holds them.
        fallbacks: A sentence for each fall-back taken, for the start-up line.
    """

    def __init__(
        self,
        *,
        identity: ModelIdentity,
        batch_tokens_max: int | None,
        fallbacks: tuple[str, ...],
        model: PreTrainedModel,
        encoder: TextEncoder,
    ) -> None:
        self.identity = identity
        self.batch_tokens_max = batch_tokens_max or TOKENS_MAX[model.device.type]
        self.fallbacks = fallbacks
        self._to_be_found = batch_tokens_max is None
        self._model = model
        self._encoder = encoder
        self._vocabulary = vocabulary_of(model)
        self._run: Run = partial(logits_of, model)
        self._graphs: Graphs | None = None
        self._tokens_scored = 0
        self._bound = TokenBound(whole=self.batch_tokens_max, tokens=self.batch_tokens_max)
        self._probe = encoder.encode([PROBE])[0].tokens
        self._probe_scores: NDArray[np.float32] | None = None

    @property
    def usage(self) -> DeviceUsage:
        """What the device has done and holds, from any thread."""
        device = self._model.device
        return DeviceUsage(
            tokens=self._tokens_scored,
            padding=0 if self._graphs is None else self._graphs.padding,
            memory_bytes=torch.cuda.memory_reserved(device) if device.type == "cuda" else None,
        )

    def encode(self, texts: Sequence[str]) -> list[EncodedText]:
        """Tokens of each text, in order: cut at the bound, special tokens that a user typed read as text."""
        return self._encoder.encode(texts)

    def score(self, token_lists: Sequence[Sequence[int]]) -> list[Scores | DeadLetterReason]:
        """Probabilities of each text, in order, or the fault of a text that breaks the model.

        Args:
            token_lists: As ``encode`` gave them; none is empty.

        Raises:
            ModelError: The device is broken, no single text is to blame; nothing was scored.
        """
        answers: dict[int, Scores | DeadLetterReason] = {}
        lengths = [len(tokens) for tokens in token_lists]
        for chunk in chunks(lengths, tokens_max=self._bound.tokens):
            batch = [token_lists[index] for index in chunk]
            answers.update(zip(chunk, self._score_chunk(batch), strict=True))
        return [answers[index] for index in range(len(token_lists))]

    def _score_chunk(self, batch: Sequence[Sequence[int]]) -> list[Scores | DeadLetterReason]:
        """At once, or cut anew when memory runs out, or has run out since the chunk was cut."""
        tokens = sum(map(len, batch))
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
        """Scores a probe, to compare with later; on a GPU records graphs; finds the bound, and tries it.

        Raises:
            ModelError: It can't score.
        """
        answer = attempt(self._forward, [self._probe])
        if isinstance(answer, str):
            raise ModelError(
                f"The model gave {answer} for a harmless text: its weights are damaged, or {self.identity.device} "
                f"is broken. Fetch it again, or set another WORKER_MODEL__DEVICE ({self.identity.device}) or "
                f"WORKER_MODEL__DTYPE ({self.identity.dtype})."
            )
        self._probe_scores = answer
        if self.identity.attention == VARLEN:
            self._record_graphs()
        if self._to_be_found:
            self.batch_tokens_max = find_bound(self._seconds_of, largest=self.batch_tokens_max)
            self._bound = TokenBound(whole=self.batch_tokens_max, tokens=self.batch_tokens_max)
        if self._model.device.type == "cuda":
            self._try_the_bound()
        self._tokens_scored = 0  # those were nobody's

    def _record_graphs(self) -> None:
        """Has small batches run as graphs, if these answer as the model does without them."""
        graphs = Graphs(self._run, self._model.device)
        shapes = buckets(tokens_max=self.batch_tokens_max, text_tokens_max=self._encoder.tokens_max)
        try:
            with torch.inference_mode():
                for bucket in graphs.record(shapes):
                    graphs.check(self._row(chat(self._probe, bucket.tokens // 2, bucket.length_max)))
        except RuntimeError as error:
            self.fallbacks += (f"no CUDA graphs, so small batches take longer to start ({error})",)
            return
        self._graphs, self._run = graphs, graphs.run

    def _seconds_of(self, tokens: int) -> float:
        """What a batch of about so many tokens of chat takes; the second time, unless the first was long."""
        texts = chat(self._probe, tokens, self._encoder.tokens_max)
        seconds = math.inf
        for _ in range(2):
            began = time.perf_counter()
            try:
                if isinstance(attempt(self._forward, texts), str):
                    return math.inf
            except OutOfMemory:
                return math.inf
            seconds = time.perf_counter() - began
            if seconds > SECONDS_MAX:
                break
        return seconds

    def _try_the_bound(self) -> None:
        """Scores as many tokens as a batch may have, in the longest texts, so that their memory is there.

        Raises:
            ModelError: It is not there.
        """
        length = min(self._encoder.tokens_max, self.batch_tokens_max)
        row = (list(self._probe) * (length // len(self._probe) + 1))[:length]
        try:
            full = attempt(self._forward, [row] * (self.batch_tokens_max // length))
        except OutOfMemory:
            full = "out of memory"
        if isinstance(full, str):
            raise ModelError(
                f"A batch of {self.batch_tokens_max} tokens is too much for {self.identity.device} ({full}): "
                f"lower WORKER_BATCH__TOKENS_MAX ({self.batch_tokens_max}), or free memory of the device."
            )

    def _probe_ok(self) -> bool:
        """Whether the device still scores a harmless text as it did when it was warm."""
        answer = attempt(self._forward, [self._probe])
        if isinstance(answer, str) or self._probe_scores is None:
            return False
        return bool(np.abs(answer - self._probe_scores).max() <= TOLERANCES[self._model.dtype])

    def _row(self, token_lists: Sequence[Sequence[int]]) -> Row:
        return row_of(token_lists, vocabulary=self._vocabulary, device=self._model.device)

    @torch.inference_mode()
    def _forward(self, token_lists: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Probabilities ``[B][L]`` of ``B`` texts, in one pass over the model.

        Raises:
            OutOfMemory: The memory of the device does not hold them.
            ModelError: It does not even hold one.
        """
        try:
            # The only place where the host waits for the device.
            logits = self._run(self._row(token_lists)).cpu()
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            if len(token_lists) > 1:
                raise OutOfMemory from error
            raise ModelError(
                f"{self.identity.device} has no memory left for one text of {len(token_lists[0])} tokens, though "
                "it had at the start: something else uses it, or WORKER_BATCH__TOKENS_MAX "
                f"({self.batch_tokens_max}) is too high."
            ) from error
        self._tokens_scored += sum(map(len, token_lists))
        probabilities: NDArray[np.float32] = torch.sigmoid(logits).numpy()
        return probabilities


def chat(tokens: Sequence[int], total: int, length_max: int) -> list[Sequence[int]]:
    """Texts as long as those of live chat, shortest first, of about so many tokens in all, none above a length."""
    lengths: list[int] = []
    while sum(lengths) < total:
        lengths += [min(length, length_max) for length in CHAT_LENGTHS]
    endless = list(tokens) * (length_max // len(tokens) + 1)
    return [endless[:length] for length in sorted(lengths)]


def _is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or bool(_NO_MEMORY.search(str(error)))
