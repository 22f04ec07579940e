"""Scores by exact text: chat repeats itself, and an equal text is not tokenised and scored again.

Invariant: the cached scores of a text are, bit for bit, what the model returned for that text in this process. The
revision, dtype, token bound, views and windows are constant in a process, so they are not part of the key. (In
bfloat16 another batch could change the last bits; the contract's rule on flags near a threshold covers that.) Only
scores are cached, with the parts of the text that gave them: the model is asked again about a text that broke it.

The cache does not hold texts. Its keys are 128-bit hashes with a new salt in each process. So nobody can prepare
two texts with the same key, and nobody can recognise a text by its key without the salt.

Why the two threads may share the cache:

1. The preparer calls ``get_many``; the device calls ``get_many`` and ``put_many``. Each call holds one lock, once a
   chunk or batch, and does no other work meanwhile. An entry never changes.
2. An entry can be evicted after the preparer found it. So the preparer passes the scores on, and the device does
   not look them up again.
3. An entry can appear after the preparer missed it. So the device looks again before it scores.
4. Only the device's thread writes ``hits`` and ``misses``.
"""

import secrets
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import chain
from struct import Struct
from threading import Lock
from types import MappingProxyType

import numpy as np

from schemas.labels import CATEGORY_SLUGS
from worker.moderation.text_rows import PLAIN, RAW
from worker.records import CachedScores, PreparedMessage
from worker.scores import DeadLetterReason, Evidence, Passage, Scores

ENTRY_BYTES = 448
"""Largest memory of an entry, in bytes.

It is the highest resident memory of full caches of 10,000 to 500,000 entries in CPython 3.11, measured with the
empty places of the table and with the copy that the table makes while it grows. 320 to 410 bytes of it last. The
digest takes 64 bytes, the value 96, the table and the list of recency the rest. All entries have the same size, so
the cache only counts them.
"""

_EVIDENCE = Struct("=HB" + len(CATEGORY_SLUGS) * "BII")
VIEWS = (RAW, PLAIN)
_VIEW_NUMBERS = {view: number for number, view in enumerate(VIEWS)}
NO_EVIDENCE: Mapping[bytes, Evidence] = MappingProxyType({})
_ENTRY = np.dtype([("scores", np.float32, len(CATEGORY_SLUGS)), ("tokens", np.uint32), ("truncated", np.bool_)])


class ScoreCache:
    """Scores of the most recent texts.

    Args:
        bytes_max: Memory for all entries, in bytes; 0 for a cache that holds nothing.

    Attributes:
        hits: Texts whose scores came from the cache, or from an equal text in the same batch.
        misses: Texts that the model scored.
    """

    def __init__(self, *, bytes_max: int) -> None:
        self.hits = 0
        self.misses = 0
        self._entries_max = bytes_max // ENTRY_BYTES
        self._entries: OrderedDict[bytes, bytes] = OrderedDict()  # the least recent first
        self._with_evidence = 0
        self._lock = Lock()
        self._salted = blake2b(digest_size=16, salt=secrets.token_bytes(blake2b.SALT_SIZE))

    def digest(self, text: str) -> bytes:
        """Return the key of a text: of the whole text, before any cut."""
        hasher = self._salted.copy()
        hasher.update(text.encode())
        return hasher.digest()

    def get_many(self, digests: Iterable[bytes]) -> dict[bytes, CachedScores]:
        """Return the cached scores of these texts by digest, and make these texts the most recent."""
        if not self._entries_max:
            return {}
        found = {}
        with self._lock:
            get, move_to_end = self._entries.get, self._entries.move_to_end
            for digest in digests:
                if (packed := get(digest)) is not None:
                    move_to_end(digest)
                    found[digest] = packed
        return dict(zip(found, _unpacked(found.values()), strict=True)) if found else {}

    def put_many(
        self,
        messages: Sequence[PreparedMessage],
        answers: Sequence[Scores | DeadLetterReason],
        evidence: Mapping[bytes, Evidence] = NO_EVIDENCE,
    ) -> None:
        """Cache the scores of these messages' texts, and evict the least recent texts to make room."""
        if not self._entries_max:
            return
        scored = _packed(messages, answers)
        several = evidence.keys() & scored.keys()
        for digest in several:
            scored[digest] += _packed_evidence(evidence[digest])
        with self._lock:
            self._with_evidence += sum([digest not in self._entries for digest in several])
            self._entries.update(scored)
            # An entry with evidence takes less memory than two entries without it.
            while len(self._entries) + self._with_evidence > self._entries_max:
                _, packed = self._entries.popitem(last=False)
                self._with_evidence -= len(packed) > _ENTRY.itemsize


def _packed(
    messages: Sequence[PreparedMessage], answers: Sequence[Scores | DeadLetterReason]
) -> dict[bytes, bytes]:
    """Return an ``_ENTRY`` for each text with scores. A view of the scores would keep the whole batch in memory."""
    kept = [(one, scores) for one, scores in zip(messages, answers, strict=True) if isinstance(scores, np.ndarray)]
    if not kept:
        return {}
    entries, size = np.empty(len(kept), _ENTRY), _ENTRY.itemsize
    entries["scores"] = np.concatenate([scores for _, scores in kept]).reshape(len(kept), -1)
    entries["tokens"] = [message.tokens_to_score for message, _ in kept]
    entries["truncated"] = [message.truncated for message, _ in kept]
    packed = entries.tobytes()
    return {
        message.text_digest: packed[at : at + size]
        for (message, _), at in zip(kept, range(0, len(packed), size), strict=True)
    }


def _packed_evidence(evidence: Evidence) -> bytes:
    places = [(_VIEW_NUMBERS[passage.view], passage.start, passage.end) for passage in evidence.passages]
    views = sum([1 << _VIEW_NUMBERS[view] for view in evidence.views])
    return _EVIDENCE.pack(evidence.windows, views, *chain.from_iterable(places))


def _unpacked(packed: Collection[bytes]) -> Iterator[CachedScores]:
    size = _ENTRY.itemsize
    rows = np.frombuffer(b"".join([one[:size] for one in packed]), _ENTRY)
    evidence = [None if len(one) == size else _unpacked_evidence(one[size:]) for one in packed]
    return map(CachedScores, rows["scores"], rows["tokens"].tolist(), rows["truncated"].tolist(), evidence)


@lru_cache(maxsize=4096)
def _unpacked_evidence(packed: bytes) -> Evidence:
    """Return the evidence. It is remembered: texts of equal length have the same if one part decides all scores."""
    windows, views, *places = _EVIDENCE.unpack(packed)
    passages = [
        Passage(VIEWS[view], start, end)
        for view, start, end in zip(places[::3], places[1::3], places[2::3], strict=True)
    ]
    return Evidence(windows, [view for number, view in enumerate(VIEWS) if views >> number & 1], passages)
