"""Time each stage alone: preparing, the device with growing batches, judging."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from statistics import median
from typing import Generic, TypeVar

import numpy as np

from schemas.labels import CATEGORY_SLUGS
from worker import wiring
from worker.batching import BatchBounds, BatchQueue
from worker.commands.bench.in_memory_loop import consumed, settings_for_samples
from worker.commands.bench.limits import StageRate
from worker.moderation.cache import ScoreCache
from worker.moderation.cached_scoring import score_batch
from worker.records import PreparedRecord, ScoredRecord
from worker.settings import Settings

SHARES = (8, 2, 1)
"""The device scores batches of an eighth of the full size, of half the size, and of the full size."""

Items = TypeVar("Items")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(Generic[Items]):
    """The work of one call.

    Attributes:
        items: The argument of the call.
        messages: Number of messages in the batch.
        tokens: Number of tokens to score, those of equal texts once; 0 for a stage that scores nothing.
    """

    items: Items
    messages: int
    tokens: int = 0


def time_stage(
    name: str,
    work: Callable[[Items], object],
    batches: Sequence[Batch[Items]],
    *,
    seconds: float,
    clock_ns: Callable[[], int] = time.monotonic_ns,
) -> StageRate:
    """Work on the batches in turn for this time, and return the medians. A first batch is not counted."""
    work(batches[0].items)
    timed: list[tuple[Batch[Items], float]] = []
    cpu_ns, begin_ns = time.process_time_ns(), clock_ns()
    for batch in cycle(batches):
        began_ns = clock_ns()
        work(batch.items)
        now_ns = clock_ns()
        timed.append((batch, max(1, now_ns - began_ns) / 1e9))
        if now_ns - begin_ns >= seconds * 1e9:
            break
    busy_ns, took_ns = time.process_time_ns() - cpu_ns, max(1, now_ns - begin_ns)
    return StageRate(
        name=name,
        messages_per_s=median(batch.messages / took_s for batch, took_s in timed),
        batch_messages=median(batch.messages for batch, _ in timed),
        batch_tokens=median(batch.tokens for batch, _ in timed),
        batch_ms=median(took_s for _, took_s in timed) * 1000,
        cpus_busy=busy_ns / took_ns,
    )


def prepare_and_judge(
    settings: Settings, model: wiring.ScoringModel, texts: Sequence[str], *, seconds: float
) -> tuple[StageRate, StageRate]:
    """Time the two stages of the CPU: decoding and tokenising, then judging and encoding."""
    settings = settings_for_samples(settings)
    size = settings.batch.records_max
    prepare = wiring.make_prepare(settings, model, ScoreCache(bytes_max=0))
    messages = consumed(texts)
    parts = [messages[start : start + size] for start in range(0, len(messages) - size + 1, size)] or [messages]
    unprepared = [Batch(items=part, messages=len(part)) for part in parts]
    prepared = time_stage("decode and tokenise", prepare, unprepared, seconds=seconds / 2)
    # Random scores, because the time for judging does not depend on the model.
    records = prepare(parts[0])
    scores = np.random.default_rng(0).random((len(records), len(CATEGORY_SLUGS)), np.float32) / 2
    results = [ScoredRecord(record=record, scores=row) for record, row in zip(records, scores, strict=True)]
    outputs = wiring.make_outputs(settings, model)
    scored = [Batch(items=results, messages=len(results))]
    judged_at = wiring.now_rfc3339()
    return prepared, time_stage(
        "judge and encode", lambda items: outputs.build(items, judged_at=judged_at), scored, seconds=seconds / 2
    )


def score_growing_batches(
    settings: Settings, model: wiring.ScoringModel, records: Sequence[PreparedRecord], *, seconds: float
) -> Iterator[StageRate]:
    """Time the model with growing batches, up to the largest batch that the worker would make.

    Args:
        settings: The bounds of a batch.
        model: An open model.
        records: Records with a text to score.
        seconds: The time for all sizes. A size is left out if one batch of this size would take longer.
    """
    cache, token_s = ScoreCache(bytes_max=0), 0.0
    # The model runs on its own thread, as in the worker. OpenMP has a team of threads for each calling thread. The
    # threads of a team spin while they wait for each other. They spin for less time if there are more OpenMP
    # threads than CPUs, and the thread that warmed up the model has a team too. On a busy machine with 2 CPUs a
    # batch took 0.1 s here and 0.7 to 1.3 s on the main thread.
    with ThreadPoolExecutor(1, "device") as thread:
        for share in SHARES:
            records_max, tokens_max = settings.batch.records_max // share, model.batch_tokens_max // share
            bounds = BatchBounds(records_max=max(1, records_max), tokens_max=tokens_max, wait_ms_max=0)
            batches = batches_of(records, bounds)
            if token_s * batches[0].tokens > seconds:
                return
            name = f"device, batches of {batches[0].messages:,}"
            score = partial(score_batch, model, cache=cache)
            rate = thread.submit(time_stage, name, score, batches, seconds=seconds / len(SHARES)).result()
            token_s = rate.batch_ms / 1000 / rate.batch_tokens
            yield rate


def score_long_texts(
    settings: Settings, model: wiring.ScoringModel, texts: Sequence[str], *, seconds: float
) -> Iterator[StageRate]:
    """Time the model with texts that fill one window, then with texts that fill all windows of one view.

    Args:
        settings: The bounds of windows and batches.
        model: An open model.
        texts: Texts to join until they fill the windows.
        seconds: The time for both lengths.
    """
    bounds = BatchBounds(records_max=settings.batch.records_max, tokens_max=model.batch_tokens_max, wait_ms_max=0)
    characters, joined = settings.input.characters_max, " ".join(texts) + " "
    joined = (joined * (characters // len(joined) + 1))[:characters]
    cache = ScoreCache(bytes_max=0)
    for windows in sorted({1, settings.text.windows_max}):
        given = settings.text.model_copy(update={"views": ("raw",), "windows_max": windows})
        prepare = wiring.make_prepare(
            settings_for_samples(settings).model_copy(update={"text": given}), model, cache
        )
        number = model.batch_tokens_max // (settings.model.tokens_max * windows) + 1
        batches = batches_of(prepare(consumed([f"{one} {joined}" for one in range(number)])), bounds)
        name = f"device, texts of {batches[0].tokens / batches[0].messages:,.0f} tokens"
        yield time_stage(name, partial(score_batch, model, cache=cache), batches, seconds=seconds / 2)


def batches_of(records: Sequence[PreparedRecord], bounds: BatchBounds) -> list[Batch[Sequence[PreparedRecord]]]:
    """Return the full batches that the worker's queue makes of records, or one incomplete batch."""
    queue = BatchQueue(bounds)
    queue.admit(records, now_ms=0)
    full = list(iter(partial(queue.take, now_ms=0, wait_ms=1), []))  # a batch that is not full would have to wait
    return [
        Batch(
            items=batch,
            messages=len(batch),
            tokens=sum({record.text_digest: record.tokens_to_score for record in batch}.values()),
        )
        for batch in full or [queue.take(now_ms=0, wait_ms=0)]
    ]
