"""Time each stage alone: preparing, the device, judging. Then time all stages together."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle
from statistics import mean, median
from typing import TypeVar

import numpy as np

from schemas.labels import CATEGORY_SLUGS
from worker import wiring
from worker.batching import BatchBounds, BatchQueue
from worker.commands.bench.in_memory_loop import consumed, messages_per_second, settings_for_samples
from worker.commands.bench.limits import Figures, StageRate
from worker.errors import ModelError
from worker.loop import Prepare
from worker.moderation.cache import ScoreCache
from worker.moderation.cached_scoring import score_batch
from worker.records import PreparedRecord, ScoredRecord
from worker.settings import Settings

CHUNKS_MAX = 8
"""Number of polled chunks to prepare. More chunks would need memory and change no figure."""

Item = TypeVar("Item")


def measure(settings: Settings, model: wiring.ScoringModel, texts: Sequence[str], *, seconds: float) -> Figures:
    """Measure each stage alone, then all stages together.

    Raises:
        ModelError: The tokenizer makes no token of any text, or the device is broken.
    """
    settings, size = settings_for_samples(settings), settings.batch.records_max
    prepare, messages = _prepare(settings, model), consumed(texts[: CHUNKS_MAX * size])
    chunks = [messages[start : start + size] for start in range(0, len(messages), size)]
    # A text without a token is never scored.
    records = [record for chunk in chunks for record in prepare(chunk) if record.tokens_to_score]
    if not records:
        raise ModelError(
            "The tokenizer makes no token of any text. Either it belongs to another model, or the file of --texts "
            "holds no chat."
        )
    # Random scores, because the time for judging does not depend on the model.
    scores = np.random.default_rng(0).random((len(records[:size]), len(CATEGORY_SLUGS)), np.float32) / 2
    results = [ScoredRecord(record, row) for record, row in zip(records[:size], scores, strict=True)]
    judge = partial(wiring.make_outputs(settings, model).build, judged_at=wiring.now_rfc3339())
    time_on_cpu = partial(time_stage, tokens_mean=_tokens_mean(records), seconds=seconds * 0.1)
    return Figures(
        prepared=time_on_cpu(prepare, chunks),
        device=time_device(settings, model, records, seconds=seconds * 0.3),
        judged=time_on_cpu(judge, [results]),
        long_texts=[
            time_device(settings, model, long_records(settings, model, texts, windows), seconds=seconds * 0.1)
            for windows in sorted({1, settings.text.windows_max})
        ],
        messages_per_s=messages_per_second(settings, model, texts, seconds=seconds * 0.3),
        texts=len(texts),
        texts_different=len(set(texts)),
        records_max=size,
        tokens_max=model.batch_tokens_max,
    )


def time_stage(
    work: Callable[[Sequence[Item]], object],
    batches: Sequence[Sequence[Item]],
    *,
    tokens_mean: float,
    seconds: float,
    clock_ns: Callable[[], int] = time.monotonic_ns,
) -> StageRate:
    """Work on the batches in turn for this time, and return medians. A first batch is not counted."""
    work(batches[0])
    rates: list[float] = []
    now_ns = begin_ns = clock_ns()
    for batch in cycle(batches):
        began_ns = now_ns
        work(batch)
        now_ns = clock_ns()
        rates.append(len(batch) * 1e9 / max(1, now_ns - began_ns))
        if now_ns - begin_ns >= seconds * 1e9:
            break
    rate, size = median(rates), median(map(len, batches))
    return StageRate(messages_per_s=rate, tokens_mean=tokens_mean, batch_messages=size, batch_ms=1000 * size / rate)


def time_device(
    settings: Settings, model: wiring.ScoringModel, records: Sequence[PreparedRecord], *, seconds: float
) -> StageRate:
    """Time the model with the largest batches that the worker makes of records, which have a text to score."""
    batches = batches_of(records, settings.batch.records_max, model.batch_tokens_max)
    score, tokens_mean = partial(score_batch, model, cache=ScoreCache(bytes_max=0)), _tokens_mean(records)
    # The model runs on its own thread, as in the worker. OpenMP has a team of threads for each calling thread. The
    # threads of a team spin while they wait for each other. They spin for less time if there are more OpenMP
    # threads than CPUs, and the thread that warmed up the model has a team too. On a busy machine with 2 CPUs a
    # batch took 0.1 s here and 0.7 to 1.3 s on the main thread.
    with ThreadPoolExecutor(1, "device") as thread:
        return thread.submit(time_stage, score, batches, tokens_mean=tokens_mean, seconds=seconds).result()


def batches_of(records: Sequence[PreparedRecord], records_max: int, tokens_max: int) -> list[list[PreparedRecord]]:
    """Return the full batches that the worker's queue makes of records, or one incomplete batch."""
    queue = BatchQueue(BatchBounds(records_max=records_max, tokens_max=tokens_max, wait_ms_max=0))
    queue.admit(records, now_ms=0)
    full = list(iter(partial(queue.take, now_ms=0, wait_ms=1), []))  # a batch that is not full would have to wait
    return full or [queue.take(now_ms=0, wait_ms=0)]


def long_records(
    settings: Settings, model: wiring.ScoringModel, texts: Sequence[str], windows: int
) -> list[PreparedRecord]:
    """Return as many texts as fill a batch. Each text fills this number of windows of one view."""
    characters, joined = settings.input.characters_max, " ".join(texts) + " "
    joined = (joined * (characters // len(joined) + 1))[:characters]
    count = model.batch_tokens_max // (settings.model.tokens_max * windows) + 1
    text = settings.text.model_copy(update={"views": ("raw",), "windows_max": windows})
    prepare = _prepare(settings.model_copy(update={"text": text}), model)
    return prepare(consumed([f"{one} {joined}" for one in range(count)]))


def _prepare(settings: Settings, model: wiring.ScoringModel) -> Prepare:
    return wiring.make_prepare(settings, model, ScoreCache(bytes_max=0))


def _tokens_mean(records: Sequence[PreparedRecord]) -> float:
    return mean(record.tokens_to_score for record in records)
