"""Record CUDA graphs: the GPU's work for one shape of batch, recorded once and then started by a single launch.

Why: a forward pass is about five hundred launches, and they take the host about 20 ms for any batch. A large GPU
finishes a batch of fewer than about 8,000 tokens sooner. A graph is one launch.

A graph works only for the shapes that were recorded. So a batch goes into the smallest bucket that holds it. A
bucket bounds three numbers: the tokens, the texts, and the tokens of the longest text. The attention kernel takes
the last one as a plain number, and a graph of a smaller number would ignore the rest of a longer text without an
error. The bucket's missing texts are empty: each begins where the last real text ends. The tokens after the real
texts belong to no text. Their results stay in their own rows, which are not read.

Each graph is checked at the start: its logits for a batch are compared with those of the model without graphs.

All graphs share one memory pool, and the largest is recorded first, so that together they take the memory of the
largest one. They may share it because they never run at the same time, and a result is copied before the next run.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import torch

from worker.classifier.packed import RELATIVE_ERRORS_MAX, Layout, PackedBatch, relative_error

Run = Callable[[PackedBatch], torch.Tensor]
"""The model: a packed batch to ``[B, L]`` logits, both on the device."""

TOKENS = (256, 512, 1024, 2048, 3072, 4096, 6144, 8192)
LENGTHS = (32, 128, 512)
# Twice WORKER_BATCH__RECORDS_MAX by default: a short message has at most two rows, as received and as a reader sees
# it. Empty texts cost the kernel almost nothing. A batch with more texts runs without a graph, and is as right.
TEXTS = 2048
RUNS_BEFORE = 2  # the first runs choose kernels and allocate memory, which is not allowed in a recording


class Bucket(NamedTuple):
    """The shape of a graph.

    Attributes:
        tokens: Tokens of the batch.
        texts: Texts of the batch.
        length_max: Tokens of the longest text.
    """

    tokens: int
    texts: int
    length_max: int


def buckets(*, tokens_max: int, text_tokens_max: int) -> list[Bucket]:
    """Return the buckets that are worth a graph, the largest first.

    Args:
        tokens_max: Largest number of tokens of a batch.
        text_tokens_max: Largest number of tokens of a text.
    """
    lengths = sorted({min(length, text_tokens_max) for length in LENGTHS})
    return [
        Bucket(tokens, min(tokens, TEXTS), length)
        for tokens, length in product(reversed(TOKENS), reversed(lengths))
        if length <= tokens <= tokens_max
    ]


def bucket_for(tokens: int, texts: int, length_max: int, among: Mapping[Bucket, object]) -> Bucket | None:
    """Return the smallest bucket that holds a batch, by tokens first; None when no bucket holds it."""
    fitting = (
        bucket
        for bucket in among
        if bucket.tokens >= tokens and bucket.texts >= texts and bucket.length_max >= length_max
    )
    return min(fitting, default=None)


def blank_batch(bucket: Bucket, device: torch.device) -> PackedBatch:
    """Return a batch with a bucket's shape, of texts with one token, to record with."""
    return PackedBatch(
        input_ids=torch.zeros((1, bucket.tokens), dtype=torch.int64, device=device),
        position_ids=torch.zeros((1, bucket.tokens), dtype=torch.int64, device=device),
        layout=Layout(
            groups=(),
            cu_seqlens=torch.arange(bucket.texts + 1, dtype=torch.int32, device=device),
            last_token_indices=torch.arange(bucket.texts, device=device),
            length_max=bucket.length_max,
        ),
    )


def fill(into: PackedBatch, batch: PackedBatch) -> None:
    """Copy a batch into a bucket's batch; the copies are asynchronous."""
    tokens, texts = batch.input_ids.shape[1], len(batch.layout.last_token_indices)
    into.input_ids[:, :tokens].copy_(batch.input_ids)
    into.position_ids[:, :tokens].copy_(batch.position_ids)
    into.layout.cu_seqlens[: texts + 1].copy_(batch.layout.cu_seqlens)
    into.layout.cu_seqlens[texts + 1 :].fill_(tokens)
    into.layout.last_token_indices[:texts].copy_(batch.layout.last_token_indices)
    into.layout.last_token_indices[texts:].fill_(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorded:
    graph: torch.cuda.CUDAGraph
    batch: PackedBatch
    logits: torch.Tensor


class CudaGraphs:
    """The recorded graphs of a model.

    Args:
        run: The model to record.
        device: A GPU.

    Attributes:
        padding: Tokens computed so far only to fill a bucket.
    """

    def __init__(self, run: Run, device: torch.device) -> None:
        self.padding = 0
        self._run = run
        self._device = device
        self._recorded: dict[Bucket, _Recorded] = {}

    def record(self, wanted: list[Bucket]) -> Iterator[Bucket]:
        """Record a graph for each bucket in turn, and yield each bucket when its graph is recorded.

        Raises:
            RuntimeError: CUDA cannot record a graph. The earlier graphs can still be used.
        """
        pool = torch.cuda.graph_pool_handle()
        for bucket in wanted:
            with torch.cuda.device(self._device):
                self._recorded[bucket] = self._record(blank_batch(bucket, self._device), pool)
            yield bucket

    def _record(self, batch: PackedBatch, pool: Any) -> _Recorded:
        side_stream = torch.cuda.Stream()  # type: ignore[no-untyped-call] # torch does not type it
        side_stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side_stream):
            for _ in range(RUNS_BEFORE):
                self._run(batch)
        torch.cuda.current_stream().wait_stream(side_stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            logits = self._run(batch)
        return _Recorded(graph=graph, batch=batch, logits=logits)

    def run(self, batch: PackedBatch) -> torch.Tensor:
        """Return the logits of a batch. The next call overwrites them."""
        tokens, texts = batch.input_ids.shape[1], len(batch.layout.last_token_indices)
        bucket = bucket_for(tokens, texts, batch.layout.length_max, self._recorded)
        if bucket is None:
            return self._run(batch)
        recorded = self._recorded[bucket]
        fill(recorded.batch, batch)
        self.padding += bucket.tokens - tokens
        recorded.graph.replay()
        return recorded.logits[:texts]

    def check(self, batch: PackedBatch) -> None:
        """Compare the logits of a batch with those of the model without graphs.

        Raises:
            RuntimeError: The logits differ.
        """
        error = relative_error(self.run(batch), self._run(batch))
        if not error <= RELATIVE_ERRORS_MAX[torch.bfloat16]:
            raise RuntimeError(f"logits have a relative error of {error:.2g} against the model without graphs")
