"""What is timed: each stage by itself, the device over shapes of batches, and the whole, without Kafka."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import median
from typing import Generic, TypeVar

import numpy as np
import orjson

from schemas.labels import CATEGORY_SLUGS
from worker import wiring
from worker.commands.bench.limits import Row
from worker.kafka.quarantine import error_if_all_quarantined
from worker.moderation.cache import ScoreCache
from worker.records import ConsumedRecord, DeadLetterExcess, OutputRecord, Partition, ScoredRecord
from worker.settings import Settings
from worker.settings.groups import INT32_MAX

RECORDS = (1, 8, 64, 256, 1024)
TOKENS = (256, 1024, 4096, 16_384, 65_536)
FIRST_ROUND = 16
"""Messages; the smallest worth handing to three threads."""

Items = TypeVar("Items")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(Generic[Items]):
    """What is worked on at once; ``tokens`` is 0 where none are counted."""

    items: Items
    messages: int
    tokens: int = 0


def timed(
    name: str,
    work: Callable[[Items], object],
    batches: Sequence[Batch[Items]],
    *,
    seconds: float,
    clock_ns: Callable[[], int] = time.monotonic_ns,
) -> Row:
    """Works on the batches in turn for so long, after the first one has warmed up."""
    work(batches[0].items)
    counted: list[tuple[Batch[Items], float]] = []
    cpu_ns, until_ns = time.process_time_ns(), clock_ns() + round(seconds * 1e9)
    for batch in cycle(batches):
        began_ns = clock_ns()
        work(batch.items)
        now_ns = clock_ns()
        counted.append((batch, max(1, now_ns - began_ns) / 1e9))
        if now_ns >= until_ns:
            break
    cpu_us = (time.process_time_ns() - cpu_ns) / 1000
    return Row(
        name=name,
        messages=median(batch.messages for batch, _ in counted),
        tokens=median(batch.tokens for batch, _ in counted),
        ms=median(took_s for _, took_s in counted) * 1000,
        messages_per_s=median(batch.messages / took_s for batch, took_s in counted),
        tokens_per_s=median(batch.tokens / took_s for batch, took_s in counted),
        cpu_us=cpu_us / sum(batch.messages for batch, _ in counted),
    )


def stages(
    settings: Settings, model: wiring.ScoringModel, texts: Sequence[str], *, seconds: float
) -> Iterator[Row]:
    """What the CPU does beside the model: tokenising, preparing (which tokenises too), judging.

    Args:
        settings: The user's.
        model: Open.
        texts: As they come.
        seconds: For all of it.
    """
    size = settings.batch.records_max
    plain = [Batch(items=part, messages=len(part)) for part in _cut(texts, size)]
    yield timed("tokenise", model.encode, plain, seconds=seconds / 3)
    settings = _of_our_own(settings)
    prepare = wiring.make_prepare(settings, model.encode, ScoreCache(bytes_max=0))
    fetched = [Batch(items=part, messages=len(part)) for part in _cut(_fetched(texts), size)]
    yield timed("decode and tokenise", prepare, fetched, seconds=seconds / 3)
    # Made-up scores: what judging takes does not depend on where they come from.
    records = prepare(fetched[0].items)
    scores = np.random.default_rng(0).random((len(records), len(CATEGORY_SLUGS)), np.float32) / 2
    results = [ScoredRecord(record=record, scores=row) for record, row in zip(records, scores, strict=True)]
    judge = wiring.make_judge(wiring.make_outputs(settings, model))
    ready = [Batch(items=results, messages=len(results))]
    yield timed("judge and encode", lambda items: judge(items, {}), ready, seconds=seconds / 3)


def device(
    settings: Settings, model: wiring.ScoringModel, token_lists: Sequence[Sequence[int]], *, seconds: float
) -> Iterator[Row | str]:
    """The model alone, over the shapes of batches that the worker could give it, the smallest first.

    Args:
        settings: The user's.
        model: Open.
        token_lists: Of texts as they come; of equal ones in a batch the first is scored, as in the worker.
        seconds: For all of it; a shape that would take it up with one batch is left out.

    Yields:
        A row, or the name of a shape that is left out.
    """
    kinds = [*shapes(token_lists, settings.batch.records_max, model.batch_tokens_max)]
    kinds.sort(key=lambda kind: kind[1][0].tokens)
    pace_s = 0.0  # for a token
    # On a thread of its own, as in the worker. OpenMP's threads spin while they wait for each other, and for less
    # time once there are more of them than CPUs, as there are beside those of the thread that warmed the model up:
    # on a busy machine of 2 CPUs a batch took 0.1 s here and 0.7 to 1.3 s on the main thread.
    with ThreadPoolExecutor(1, "device") as thread:
        for name, batches in kinds:
            if pace_s * batches[0].tokens > seconds:
                yield name
                continue
            row = thread.submit(timed, name, model.score, batches, seconds=seconds / len(kinds)).result()
            pace_s = 1 / row.tokens_per_s
            yield row


def shapes(
    token_lists: Sequence[Sequence[int]], records_max: int, tokens_max: int
) -> Iterator[tuple[str, list[Batch[Sequence[Sequence[int]]]]]]:
    """Batches of so many messages, then of so many tokens, within both bounds, as far as the texts fill them."""
    mean = sum(map(len, token_lists)) / len(token_lists)
    for records in sorted({*RECORDS, records_max}):
        if records <= min(records_max, max(1, tokens_max / mean), len(token_lists)):
            yield f"{records:,} message{'s' * (records > 1)}", _batches(token_lists, records, tokens_max)
    for tokens in sorted({*TOKENS, tokens_max}):
        if mean < tokens <= min(tokens_max, mean * records_max, mean * len(token_lists)):
            yield f"{tokens:,} tokens", _batches(token_lists, records_max, tokens)


def whole(
    settings: Settings,
    model: wiring.ScoringModel,
    texts: Sequence[str],
    *,
    seconds: float,
    clock_ns: Callable[[], int] = time.monotonic_ns,
) -> float:
    """Messages a second through the worker's own loop and its three threads, with a log in memory.

    The verdict cache is off: the texts come round again, and it would soon know them all. The number of messages
    doubles until a round takes half of the time; the best of at least two rounds counts, so that neither the first
    one's surprises nor the machine's other work are taken for the worker.

    Raises:
        ModelError: The device is broken.
    """
    log = _Memory(_fetched(texts))
    loop = wiring.open_loop(_of_our_own(settings), model, log)
    rates: list[float] = []
    messages = FIRST_ROUND
    while True:
        began_ns = clock_ns()
        log.feed(messages)
        while log.owed:
            loop.turn()
        took_s = max(1, clock_ns() - began_ns) / 1e9
        rates.append(messages / took_s)
        if took_s >= seconds / 2 and len(rates) > 1:
            return max(rates)
        messages *= 2


class _Memory:
    """A log that gives the same messages again and again, as many as it is fed, and takes what they owe.

    Attributes:
        owed: Messages given, or still to give, whose outputs have not been published.
    """

    def __init__(self, messages: Sequence[ConsumedRecord]) -> None:
        self.invalidations = 0
        self.rejected: Mapping[tuple[Partition, int], str] = {}
        self.exempt_below: Mapping[Partition, int] = {}
        self.owed = 0
        self._messages = cycle(messages)
        self._left = 0
        self._paused = False

    def feed(self, messages: int) -> None:
        self.owed += messages
        self._left += messages

    def poll(self, *, records_max: int, wait_ms: int) -> list[ConsumedRecord]:
        assert self._left or not wait_ms  # noqa: S101 - the loop waits only when all is published
        count = 0 if self._paused else min(records_max, self._left)
        self._left -= count
        return list(islice(self._messages, count))

    def owns(self, _fetched: ConsumedRecord) -> bool:
        return True

    def ready(self) -> bool:
        return True

    def publish(self, records: Sequence[ConsumedRecord], _outputs: Sequence[OutputRecord]) -> bool:
        self.owed -= len(records)
        return True

    def rewind(self) -> None:
        raise AssertionError("nothing is lost here")

    def quarantine(self, excesses: Sequence[DeadLetterExcess]) -> None:
        error = error_if_all_quarantined(excesses[0], 1, 1, lambda: 1)
        assert error is not None  # noqa: S101 - the only partition is bad
        raise error

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False


def _of_our_own(settings: Settings) -> Settings:
    """For our own messages, in the contract's form, which is longer than a text alone, and each to be scored."""
    bounds = {"bytes_max": INT32_MAX, "characters_max": settings.input.characters_max}
    form = Settings().input.model_copy(update=bounds)
    cache = settings.cache.model_copy(update={"bytes_max": 0})
    return settings.model_copy(update={"input": form, "cache": cache})


def _fetched(texts: Sequence[str]) -> list[ConsumedRecord]:
    return [
        ConsumedRecord(
            partition=Partition("bench", 0),
            assignment_epoch=0,
            previous_next_offset=offset,
            offset=offset,
            timestamp_ms=0,
            key=b"channel",
            value=orjson.dumps(
                {"message_id": f"m-{offset}", "channel_id": "channel", "user_id": "user", "text": text}
            ),
            headers=(),
        )
        for offset, text in enumerate(texts)
    ]


def _cut(items: Sequence[Items], size: int) -> list[Sequence[Items]]:
    """Parts of that size, whole ones only, if there is one."""
    whole_ones = [items[start : start + size] for start in range(0, len(items) - size + 1, size)]
    return whole_ones or [items]


def _batches(
    token_lists: Sequence[Sequence[int]], records_max: int, tokens_max: int
) -> list[Batch[Sequence[Sequence[int]]]]:
    """Prefixes within the bounds, as the worker's line gives them, without what is left, unless that is all."""
    found: list[Batch[Sequence[Sequence[int]]]] = []
    start = tokens = 0
    for index, one in enumerate(token_lists):
        if index > start and (index - start == records_max or tokens + len(one) > tokens_max):
            found.append(_batch(token_lists[start:index]))
            start, tokens = index, 0
        tokens += len(one)
    return found or [_batch(token_lists)]


def _batch(token_lists: Sequence[Sequence[int]]) -> Batch[Sequence[Sequence[int]]]:
    different = list(dict(zip(map(tuple, token_lists), token_lists, strict=True)).values())
    return Batch(items=different, messages=len(token_lists), tokens=sum(map(len, different)))
