"""Score texts: token ids to probabilities.

Invariant: the scores of a text do not depend on its neighbours, except for the last bits of a sum. A text that
breaks the model does not affect the scores of others. ``packed`` explains how texts share a pass without seeing
each other.
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

from worker.classifier.batch_tokens import SECONDS_MAX, find_batch_tokens
from worker.classifier.graphs import CudaGraphs, Run, buckets
from worker.classifier.packed import VARLEN, PackedBatch, pack_texts, packed_logits, vocabulary_of
from worker.classifier.poison import OutOfMemory, TokenBound, attempt, score_or_blame
from worker.classifier.tokenizer import PROBE, EncodedText, TextEncoder
from worker.errors import ModelError
from worker.reported import DeviceUsage, ModelIdentity
from worker.scores import DeadLetterReason, Scores

log = logging.getLogger(__name__)

# Largest difference of a probability between two runs of the same text. In float32 seven times the measured
# difference over mixed batches (1.4e-6). In bfloat16 a little more than the measured one (1.8e-2), which the model
# card's own code has too.
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2e-2}

# Largest number of tokens of a batch, by device. A GPU spends about 20 ms on launches for any batch. About 8,000
# tokens hide that time; the rest is for faster GPUs. On a CPU a batch larger than the caches gains nothing.
TOKENS_MAX = {"cpu": 8192, "cuda": 32768}

TRIALS_MIN, TRIALS_MAX, TRIALS_S_MAX = 2, 6, 0.4
"""Runs of a batch whose time is measured: at least, at most, and no further one after so many seconds."""

CHAT_LENGTHS = (1, 2, 2, 3, 4, 5, 7, 9, 14, 33)
"""Deciles of the number of tokens of a message of live chat (Twitch, Qwen2's tokenizer)."""

# Messages of a plain RuntimeError for lack of memory: from the CPU's allocator, cuBLAS, and the driver.
_NO_MEMORY = re.compile("can't allocate memory|CUBLAS_STATUS_ALLOC_FAILED|CUDA error: out of memory")


def chunks(lengths: Sequence[int], *, tokens_max: int) -> Iterator[list[int]]:
    """Yield which texts to score in one pass, as indices of ``lengths``: the shortest first, each text once.

    Args:
        lengths: Number of tokens of each text.
        tokens_max: Largest number of tokens of a chunk. A longer text is a chunk of its own.
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
    """A verified and warmed-up model. ``encode`` and ``score`` may run at the same time, each in one thread.

    Args:
        identity: Which model it is, and where it runs.
        batch_tokens_max: Largest number of tokens of a batch; None to let the warm-up find it.
        fallbacks: A sentence for each fall-back so far.
        model: Prepared by ``pack``.
        encoder: The model's tokenizer.

    Attributes:
        identity: Which model it is, and where it runs.
        batch_tokens_max: Largest number of tokens of a batch, if the device's memory holds it.
        fallbacks: A sentence for each fall-back, for the start-up line.
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
        self._run: Run = partial(packed_logits, model)
        self._graphs: CudaGraphs | None = None
        self._tokens_scored = self._rows_scored = 0
        self._bound = TokenBound(tokens_max=self.batch_tokens_max, tokens=self.batch_tokens_max)
        self._probe = encoder.encode([PROBE])[0].tokens
        self._probe_scores: NDArray[np.float32] | None = None

    @property
    def usage(self) -> DeviceUsage:
        """What the device has computed and what memory it holds. Any thread may read it."""
        device = self._model.device
        return DeviceUsage(
            tokens=self._tokens_scored,
            rows=self._rows_scored,
            padding=0 if self._graphs is None else self._graphs.padding,
            memory_bytes=torch.cuda.memory_reserved(device) if device.type == "cuda" else None,
        )

    def encode(self, texts: Sequence[str]) -> list[EncodedText]:
        """Return the token ids of each text, in order. A special token that a user typed is plain text."""
        return self._encoder.encode(texts)

    @property
    def long_texts(self) -> TextEncoder:
        """The tokenizer, for texts that are divided into windows. Only one thread at a time may use it."""
        return self._encoder

    def score(self, token_lists: Sequence[Sequence[int]]) -> list[Scores | DeadLetterReason]:
        """Return the probabilities of each text, in order; or the reason why the text breaks the model.

        Args:
            token_lists: Token ids from ``encode``; none is empty.

        Raises:
            ModelError: The device is broken, and no single text is to blame. No scores are returned.
        """
        answers: dict[int, Scores | DeadLetterReason] = {}
        lengths = [len(tokens) for tokens in token_lists]
        for chunk in chunks(lengths, tokens_max=self._bound.tokens):
            batch = [token_lists[index] for index in chunk]
            answers.update(zip(chunk, self._score_chunk(batch), strict=True))
        return [answers[index] for index in range(len(token_lists))]

    def _score_chunk(self, batch: Sequence[Sequence[int]]) -> list[Scores | DeadLetterReason]:
        """Score a chunk in one pass; divide it again if memory runs out, or ran out since the chunk was cut."""
        tokens = sum(map(len, batch))
        if len(batch) == 1 or tokens <= self._bound.tokens:
            try:
                answers = score_or_blame(self._forward, batch, self._probe_ok)
            except OutOfMemory:
                self._bound.ran_out_of_memory(tokens)
            else:
                if self._bound.succeeded():
                    log.warning(
                        "%s has had memory for many batches: scoring up to %d tokens in one pass again",
                        self.identity.device,
                        self._bound.tokens,
                    )
                return answers
            log.warning(
                "%s has no memory for %d tokens in one pass: scoring up to %d tokens in one pass for now",
                self.identity.device,
                tokens,
                self._bound.tokens,
            )
            # The exception is deleted here, and with it the tensors that its frames held.
            if self._model.device.type == "cuda":
                torch.cuda.empty_cache()
        return self.score(batch)

    def warm_up(self) -> None:
        """Score a probe text to compare with later; on a GPU record graphs; find the batch size, and try it.

        Raises:
            ModelError: The model cannot score.
        """
        answer = attempt(self._forward, [self._probe])
        if isinstance(answer, str):
            raise ModelError(
                f"The model gave {answer} for a harmless text: its weights are damaged, or {self.identity.device} "
                f"is broken. Fetch the model again, or set another WORKER_MODEL__DEVICE ({self.identity.device}) "
                f"or WORKER_MODEL__DTYPE ({self.identity.dtype})."
            )
        self._probe_scores = answer
        if self.identity.attention == VARLEN:
            self._record_graphs()
        if self._to_be_found:
            self.batch_tokens_max = find_batch_tokens(self._seconds_of, largest=self.batch_tokens_max)
            self._bound = TokenBound(tokens_max=self.batch_tokens_max, tokens=self.batch_tokens_max)
        if self._model.device.type == "cuda":
            self._try_the_bound()
        self._tokens_scored = self._rows_scored = 0  # those so far were of no message

    def _record_graphs(self) -> None:
        """Run small batches as CUDA graphs, if their logits agree with the model's."""
        graphs = CudaGraphs(self._run, self._model.device)
        shapes = buckets(tokens_max=self.batch_tokens_max, text_tokens_max=self._encoder.tokens_max)
        try:
            with torch.inference_mode():
                for bucket in graphs.record(shapes):
                    graphs.check(self._pack(synthetic_texts(self._probe, bucket.tokens // 2, bucket.length_max)))
        except RuntimeError as error:
            self.fallbacks += (f"no CUDA graphs ({error}): small batches take longer to start",)
            return
        self._graphs, self._run = graphs, graphs.run

    def _seconds_of(self, tokens: int) -> float:
        """Return the seconds that a batch of about ``tokens`` tokens takes; infinity if it cannot be scored.

        The first run does not count, unless it is slow. Other work on the machine makes a run slower, never faster:
        so the best run counts, and a short batch has more of them.
        """
        texts = synthetic_texts(self._probe, tokens, self._encoder.tokens_max)
        runs_s: list[float] = []
        while len(runs_s) < TRIALS_MIN or (len(runs_s) < TRIALS_MAX and sum(runs_s) < TRIALS_S_MAX):
            began = time.perf_counter()
            try:
                if isinstance(attempt(self._forward, texts), str):
                    return math.inf
            except OutOfMemory:
                return math.inf
            runs_s.append(time.perf_counter() - began)
            if runs_s[-1] > SECONDS_MAX:
                return runs_s[-1]
        return min(runs_s[1:])

    def _try_the_bound(self) -> None:
        """Score the largest batch of the longest texts, to verify that the device's memory holds it.

        Raises:
            ModelError: The memory does not hold it.
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
                f"lower WORKER_BATCH__TOKENS_MAX ({self.batch_tokens_max}), or free memory on the device."
            )

    def _probe_ok(self) -> bool:
        """Return whether the device still scores the probe text as it did at the warm-up."""
        answer = attempt(self._forward, [self._probe])
        if isinstance(answer, str) or self._probe_scores is None:
            return False
        return bool(np.abs(answer - self._probe_scores).max() <= TOLERANCES[self._model.dtype])

    def _pack(self, token_lists: Sequence[Sequence[int]]) -> PackedBatch:
        return pack_texts(token_lists, vocabulary=self._vocabulary, device=self._model.device)

    @torch.inference_mode()
    def _forward(self, token_lists: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return ``[B, L]`` probabilities of ``B`` texts, from one pass.

        Raises:
            OutOfMemory: The texts do not fit into the device's memory.
            ModelError: Not even one text fits.
        """
        try:
            # Only here the host waits for the device.
            logits = self._run(self._pack(token_lists)).cpu()
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            if len(token_lists) > 1:
                raise OutOfMemory from error
            raise ModelError(
                f"{self.identity.device} has no memory left for one text of {len(token_lists[0])} tokens, though "
                "it had at the start: another process uses it, or WORKER_BATCH__TOKENS_MAX "
                f"({self.batch_tokens_max}) is too high."
            ) from error
        self._tokens_scored += sum(map(len, token_lists))
        self._rows_scored += len(token_lists)
        probabilities: NDArray[np.float32] = torch.sigmoid(logits).numpy()
        return probabilities


def synthetic_texts(tokens: Sequence[int], total: int, length_max: int) -> list[Sequence[int]]:
    """Return token lists with the lengths of live chat, shortest first.

    Args:
        tokens: Token ids to repeat.
        total: About how many tokens all texts have together.
        length_max: Tokens of the longest text.
    """
    lengths: list[int] = []
    while sum(lengths) < total:
        lengths += [min(length, length_max) for length in CHAT_LENGTHS]
    endless = list(tokens) * (length_max // len(tokens) + 1)
    return [endless[:length] for length in sorted(lengths)]


def _is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or bool(_NO_MEMORY.search(str(error)))
