"""Measure the verdict cache on a recorded chat: ``python -m tests.bench.cache LOG --tokenizer tokenizer.json``.

LOG has one JSON object with ``text`` on each line, and may be gzipped. It goes through the worker's own preparing
and scoring, with a model that answers immediately. As many batches are prepared ahead of the device as the worker
has in memory. The ideal for comparison is an LRU cache of as many texts, which sees one message after the other and
knows each text before the next comes. (A small cache of the worker may be better: a batch knows all of its own
texts.)
"""

import argparse
import gzip
import os
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import orjson

from tests.bench import side_by_side
from tests.bench.pictures import draw
from tests.shapes import plain
from worker.classifier.tokenizer import TextEncoder
from worker.loop_wiring import BATCHES_IN_MEMORY
from worker.moderation.cache import ENTRY_BYTES, ScoreCache
from worker.moderation.cached_scoring import score_batch
from worker.moderation.preprocessing import prepare
from worker.moderation.text_rows import first_rows_only
from worker.records import ConsumedRecord, Partition, PreparedMessage, PreparedRecord
from worker.scores import Scores

RECORDS_MAX = 1024
TOKENS_MAX = 512
SIZES_BYTES = (0, 256 * 1024, 1024**2, 4 * 1024**2, 64 * 1024**2)


class Model:
    """Answers immediately, and counts the tokens."""

    def __init__(self) -> None:
        self.tokens = 0

    def score(self, token_lists: Sequence[Sequence[int]]) -> Sequence[Scores]:
        """Return the same scores for every text."""
        self.tokens += sum(map(len, token_lists))
        return list(np.zeros((len(token_lists), 12), np.float32))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The figures of one cache size. Shares are of all texts or of all tokens."""

    bytes_max: int
    entries_max: int
    hit_share: float
    ideal_hit_share: float
    of_ideal: float | None
    tokens_saved_share: float
    ideal_tokens_saved_share: float
    cpu_us_a_message: float


def ideal(texts: Sequence[str], lengths: Sequence[int], entries_max: int) -> tuple[int, int]:
    """Return the hits of the ideal cache, and the tokens that they save."""
    kept: OrderedDict[str, None] = OrderedDict()
    hits = tokens = 0
    for text, length in zip(texts, lengths, strict=True):
        if text in kept:
            hits, tokens = hits + 1, tokens + length
            kept.move_to_end(text)
        kept[text] = None
        if len(kept) > entries_max:
            kept.popitem(last=False)
    return hits, tokens


def replay(chunks: Sequence[Sequence[ConsumedRecord]], encoder: TextEncoder, cache: ScoreCache) -> int:
    """Return the number of tokens that the model scored."""
    model = Model()
    ahead: deque[list[PreparedRecord]] = deque()
    for chunk in chunks:
        ahead.append(
            prepare(chunk, read=plain(), encode=first_rows_only(encoder.encode, 128 * TOKENS_MAX), cache=cache)
        )
        if len(ahead) == BATCHES_IN_MEMORY:
            score_batch(model, ahead.popleft(), cache)
    for batch in ahead:
        score_batch(model, batch, cache)
    return model.tokens


def row(
    bytes_max: int, chunks: Sequence[Sequence[ConsumedRecord]], encoder: TextEncoder, texts: Sequence[str]
) -> Row:
    """Compare the worker's cache with the ideal."""
    cache = ScoreCache(bytes_max=bytes_max)
    lengths = [len(encoded.tokens) for encoded in encoder.encode(texts)]
    began_s = time.process_time()
    scored = replay(chunks, encoder, cache)
    took_s = time.process_time() - began_s
    assert cache.hits + cache.misses == len(texts)
    hits, tokens = ideal(texts, lengths, bytes_max // ENTRY_BYTES)
    return Row(
        bytes_max=bytes_max,
        entries_max=bytes_max // ENTRY_BYTES,
        hit_share=round(cache.hits / len(texts), 4),
        ideal_hit_share=round(hits / len(texts), 4),
        of_ideal=round(cache.hits / hits, 4) if hits else None,
        tokens_saved_share=round(1 - scored / sum(lengths), 4),
        ideal_tokens_saved_share=round(tokens / sum(lengths), 4),
        cpu_us_a_message=round(took_s * 1e6 / len(texts), 2),
    )


def full_cache_bytes(bytes_max: int) -> int:
    """Return the resident memory of a full cache in bytes, on Linux."""
    before = _resident_bytes()
    cache = ScoreCache(bytes_max=bytes_max)
    for start in range(0, 2 * bytes_max // ENTRY_BYTES, RECORDS_MAX):
        asked = [_message(cache.digest(str(number))) for number in range(start, start + RECORDS_MAX)]
        cache.put_many(asked, list(np.zeros((RECORDS_MAX, 12), np.float32)))
    return _resident_bytes() - before


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _message(name: bytes) -> PreparedMessage:
    return PreparedMessage(
        message_id="",
        channel_id=None,
        user_id=None,
        sent_at=None,
        characters=1,
        text_digest=name,
        tokens=(1,),
        truncated=False,
    )


def _fetched(offset: int, text: str) -> ConsumedRecord:
    return ConsumedRecord(
        partition=Partition("chat", 0),
        assignment_epoch=1,
        previous_next_offset=offset,
        offset=offset,
        timestamp_ms=None,
        key=None,
        value=orjson.dumps({"text": text}),
        headers=(),
    )


def main() -> None:
    """Measure each size, then draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True)
    options = parser.parse_args()
    memory_bytes = full_cache_bytes(SIZES_BYTES[-1])
    opened = gzip.open if options.log.suffix == ".gz" else open
    with opened(options.log, "rb") as lines:
        texts = [text for line in lines if (text := orjson.loads(line)["text"]).strip()]
    sources = [_fetched(offset, text) for offset, text in enumerate(texts)]
    chunks = [sources[start : start + RECORDS_MAX] for start in range(0, len(sources), RECORDS_MAX)]
    encoder = TextEncoder(
        options.tokenizer.read_text(encoding="utf-8"), tokens_max=TOKENS_MAX, truncation_side="right"
    )
    rows = [row(size, chunks, encoder, texts) for size in SIZES_BYTES]
    side_by_side.write(
        "cache",
        {
            "log": options.log.name,
            "texts": len(texts),
            "records_max": RECORDS_MAX,
            "batches_ahead": BATCHES_IN_MEMORY,
            "entry_bytes": ENTRY_BYTES,
            "resident_bytes_of_a_full_cache": {SIZES_BYTES[-1]: memory_bytes},
            "rows": [asdict(one) for one in rows],
        },
    )
    draw("bench-cache")


if __name__ == "__main__":
    main()
