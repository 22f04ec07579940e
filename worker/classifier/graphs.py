"""CUDA graphs: what a GPU is to do for a batch of some shape, recorded once and then started by a single call.

Why: a forward pass is some five hundred launches, about 20 ms for the host whatever the batch holds, and a big GPU
is done sooner than that with less than some 8,000 tokens. A graph is one launch.

A graph has the shapes that it was recorded with, so a batch goes into the smallest bucket that holds it: of tokens,
of texts, and of the longest text, which the attention kernel takes as a plain number (a graph of a shorter one
would leave the rest of a longer text out, without an error). The texts of the bucket that are not there are empty:
each begins where the last true one ends. The tokens behind are nobody's: what the model makes of them stays in
their own rows, and no result is read from there.

Nothing is taken on trust: at the start each graph's answer for a batch is compared with the one without graphs.

All graphs share one pool of memory, the largest recorded first, so that together they take what that one takes:
they never run at the same time, and an answer is copied before the next begins.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import torch

from worker.classifier.packed import DISTANCES, Layout, Row, distance

Run = Callable[[Row], torch.Tensor]
"""A row to ``[B, L]`` logits, both on the device."""

TOKENS = (256, 512, 1024, 2048, 3072, 4096, 6144, 8192)
LENGTHS = (32, 128, 512)
TEXTS = 1024  # what a batch has by default; empty ones cost the kernel nearly nothing
RUNS_BEFORE = 2  # the first ones choose kernels and allocate, which a recording must not


class Bucket(NamedTuple):
    """The shape of a graph: tokens, texts, and tokens of the longest text."""

    tokens: int
    texts: int
    length_max: int


def buckets(*, tokens_max: int, text_tokens_max: int) -> list[Bucket]:
    """Those worth a graph, the largest first.

    Args:
        tokens_max: Tokens of a batch.
        text_tokens_max: Tokens of a text.
    """
    lengths = sorted({min(length, text_tokens_max) for length in LENGTHS})
    return [
        Bucket(tokens, min(tokens, TEXTS), length)
        for tokens, length in product(reversed(TOKENS), reversed(lengths))
        if length <= tokens <= tokens_max
    ]


def bucket_for(tokens: int, texts: int, length_max: int, among: Mapping[Bucket, object]) -> Bucket | None:
    """The smallest that holds such a batch, the fewest tokens first; None: it goes without a graph."""
    fitting = (
        bucket
        for bucket in among
        if bucket.tokens >= tokens and bucket.texts >= texts and bucket.length_max >= length_max
    )
    return min(fitting, default=None)


def blank(bucket: Bucket, device: torch.device) -> Row:
    """A row of that shape, of texts of one token; what it is recorded with."""
    return Row(
        ids=torch.zeros((1, bucket.tokens), dtype=torch.int64, device=device),
        positions=torch.zeros((1, bucket.tokens), dtype=torch.int64, device=device),
        layout=Layout(
            groups=(),
            offsets=torch.arange(bucket.texts + 1, dtype=torch.int32, device=device),
            last=torch.arange(bucket.texts, device=device),
            length_max=bucket.length_max,
        ),
    )


def fill(into: Row, row: Row) -> None:
    """Puts a batch into a bucket's row; enqueued, and not waited for."""
    tokens, texts = row.ids.shape[1], len(row.layout.last)
    into.ids[:, :tokens].copy_(row.ids)
    into.positions[:, :tokens].copy_(row.positions)
    into.layout.offsets[: texts + 1].copy_(row.layout.offsets)
    into.layout.offsets[texts + 1 :].fill_(tokens)
    into.layout.last[:texts].copy_(row.layout.last)
    into.layout.last[texts:].fill_(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorded:
    graph: torch.cuda.CUDAGraph
    row: Row
    answer: torch.Tensor


class Graphs:
    """The recorded graphs of a model.

    Args:
        run: What is recorded.
        device: A GPU.

    Attributes:
        padding: Tokens that were computed so far only to fill up a bucket.
    """

    def __init__(self, run: Run, device: torch.device) -> None:
        self.padding = 0
        self._run = run
        self._device = device
        self._recorded: dict[Bucket, _Recorded] = {}

    def record(self, wanted: list[Bucket]) -> Iterator[Bucket]:
        """Records them in turn, and tells of each as it is done.

        Raises:
            RuntimeError: CUDA can't. The graphs so far stay.
        """
        pool = torch.cuda.graph_pool_handle()
        for bucket in wanted:
            with torch.cuda.device(self._device):
                self._recorded[bucket] = self._record(blank(bucket, self._device), pool)
            yield bucket

    def _record(self, row: Row, pool: Any) -> _Recorded:
        beside = torch.cuda.Stream()  # type: ignore[no-untyped-call] # theirs to type
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(RUNS_BEFORE):
                self._run(row)
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            answer = self._run(row)
        return _Recorded(graph=graph, row=row, answer=answer)

    def run(self, row: Row) -> torch.Tensor:
        """As the model without graphs; the answer holds until the next call."""
        tokens, texts = row.ids.shape[1], len(row.layout.last)
        bucket = bucket_for(tokens, texts, row.layout.length_max, self._recorded)
        if bucket is None:
            return self._run(row)
        recorded = self._recorded[bucket]
        fill(recorded.row, row)
        self.padding += bucket.tokens - tokens
        recorded.graph.replay()
        return recorded.answer[:texts]

    def check(self, row: Row) -> None:
        """Compares an answer with that of the model without graphs.

        Raises:
            RuntimeError: They differ.
        """
        apart = distance(self.run(row), self._run(row))
        if not apart <= DISTANCES[torch.bfloat16]:
            raise RuntimeError(f"an answer is {apart:.2g} away from the one without")
