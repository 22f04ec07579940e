"""Time each stage alone: preparing, the device, judging. Then time all stages together."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, islice
from statistics import mean, median
from typing import TypeVar

from worker import wiring
from worker.batching import BatchBounds, BatchQueue
from worker.commands.bench.in_memory_loop import messages_per_second
from worker.commands.bench.limits import DEVICE, JUDGING, PREPARING, TOGETHER, Figures, StageRate
from worker.commands.text_records import records_of, settings_for_texts
from worker.errors import ModelError
from worker.moderation.cache import ScoreCache
from worker.moderation.cached_scoring import score_batch
from worker.records import PreparedRecord, ScoredRecord
from worker.settings import Settings

CHUNKS_MAX = 8
"""Number of polled chunks to prepare. More chunks would need memory and change no figure."""
NO_CACHE = ScoreCache(bytes_max=0)

Item = TypeVar("Item")


def measure(settings: Settings, model: wiring.ScoringModel, texts: Sequence[str], *, seconds: float) -> Figures:
    """Measure each stage alone, then all stages together.

    Raises:
        ModelError: The tokenizer makes no token of any text, or the device is broken.
    """
    given, size = settings_for_texts(settings), settings.batch.records_max
    sources = records_of(texts[: CHUNKS_MAX * size])
    chunks = [sources[start : start + size] for start in range(0, len(sources), size)]
    markup = wiring.input_shape(settings).markup
    prepare = wiring.make_prepare(given, model, NO_CACHE, markup=markup)
    records = [record for record in prepare(sources) if record.tokens_to_score]  # the others are never scored
    if not records:
        raise ModelError(
            "The tokenizer makes no token of any text. Either it belongs to another model, or the file of --texts "
            "holds no chat."
        )
    bounds = BatchBounds(records_max=size, tokens_max=model.batch_tokens_max, wait_ms_max=0)
    batches, tokens_mean = batches_of(records, bounds), mean(record.tokens_to_score for record in records)
    judge = partial(wiring.make_outputs(given, model).build, judged_at=wiring.now_rfc3339())
    # The model runs on its own thread, as in the worker. OpenMP has a team of threads for each calling thread. The
    # threads of a team spin while they wait for each other. They spin for less time if there are more OpenMP
    # threads than CPUs, and the thread that warmed up the model has a team too. On a busy machine with 2 CPUs a
    # batch took 0.1 s here and 0.7 to 1.3 s on the main thread.
    with ThreadPoolExecutor(1, "device") as thread:

        def score(batch: Sequence[PreparedRecord]) -> list[ScoredRecord]:
            return thread.submit(score_batch, model, batch, NO_CACHE).result()

        stages = [
            StageRate(PREPARING, time_stage(prepare, chunks, seconds=seconds * 0.1), tokens_mean),
            StageRate(DEVICE, time_stage(score, batches, seconds=seconds * 0.3), tokens_mean),
            StageRate(JUDGING, time_stage(judge, [score(batches[0])], seconds=seconds * 0.1), tokens_mean),
        ]
        long_texts = []
        for windows in sorted({1, settings.text.windows_max}):
            long = batches_of(long_records(given, model, texts, windows), bounds)
            tokens, rate = long[0][0].tokens_to_score, time_stage(score, long, seconds=seconds * 0.1)
            long_texts.append(StageRate(f"device, texts of {tokens:,} tokens", rate, tokens))
    rate = messages_per_second(settings, model, texts, seconds=seconds * 0.3)
    batch_messages = median(map(len, batches))
    return Figures(
        stages=stages,
        long_texts=long_texts,
        together=StageRate(TOGETHER, rate, tokens_mean),
        texts=len(texts),
        texts_different=len(set(texts)),
        records_max=size,
        tokens_max=bounds.tokens_max,
        batch_messages=batch_messages,
        batch_ms=1000 * batch_messages / stages[1].messages_per_s,
    )


def time_stage(
    work: Callable[[Sequence[Item]], object],
    batches: Sequence[Sequence[Item]],
    *,
    seconds: float,
    clock_ns: Callable[[], int] = time.monotonic_ns,
) -> float:
    """Work on the batches in turn for this time, and return the median of messages a second.

    A first batch is not counted, because it is slower.
    """
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
    return median(rates)


def batches_of(records: Sequence[PreparedRecord], bounds: BatchBounds) -> list[list[PreparedRecord]]:
    """Return the full batches that the worker's queue makes of records, or one incomplete batch."""
    queue = BatchQueue(bounds)
    queue.admit(records, now_ms=0)
    full = list(iter(partial(queue.take, now_ms=0, wait_ms=1), []))  # a batch that is not full would have to wait
    return full or [queue.take(now_ms=0, wait_ms=0)]


def long_records(
    settings: Settings, model: wiring.ScoringModel, texts: Sequence[str], windows: int
) -> list[PreparedRecord]:
    """Return as many texts as fill a batch. Each text fills this number of windows of one view."""
    long_text = "".join(islice(cycle(" ".join(texts) + " "), settings.input.characters_max))
    count = model.batch_tokens_max // (settings.model.tokens_max * windows) + 1
    text = settings.text.model_copy(update={"views": ("raw",), "windows_max": windows})
    prepare = wiring.make_prepare(settings.model_copy(update={"text": text}), model, NO_CACHE)
    return prepare(records_of([f"{number} {long_text}" for number in range(count)]))
