"""Verdicts by exact text: chat repeats itself, and what was scored once need not be tokenised and scored again.

Invariant: what ``find`` gives for a text is, bit for bit, what the model gave for that very text in this process,
in which its revision, dtype and token bound are constant, and so not part of the name. (In bfloat16 another
batch might move the last bits; the contract's rule on flags near a threshold covers it.) Faults are never learned:
a text that breaks the model is asked again.

No text is kept, only its name: a hash of 128 bits, salted anew in each process, so that nobody can look for two
texts of one name beforehand, and whoever reads the names can't tell the texts without the salt.

Why two threads may share it, the only thing but for their hand-offs: the preparer finds, the device finds and
learns, each under one lock, taken once a chunk or batch and never across other work; an entry never changes.
Between the two an entry may vanish, so the preparer hands on what it found and nobody looks it up twice; or it may
appear, so the device looks again before it scores. ``hits`` and ``misses`` are the device's; others only read them.
"""

import secrets
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from struct import Struct
from threading import Lock

import numpy as np

from worker.records import CachedScores, DeadLetterReason, PreparedMessage, Scores

ENTRY_BYTES = 448
"""What an entry takes at worst: the most resident memory that full caches of 10,000 to 500,000 entries ever had in
CPython 3.11, with the table's empty places and, while it grows, its copy; 320 to 410 of them last. The name has 64,
the value 96, the table and the list of recency the rest. All entries are of one size, so they need only be counted.
"""

_TAIL = Struct("=I?3x")


class ScoreCache:
    """The last texts that were met, as many as there is room for.

    Attributes:
        hits: Texts that came with their scores, or shared those of their like in the batch.
        misses: Texts that the model was asked about.
    """

    def __init__(self, *, bytes_max: int) -> None:
        self.hits = 0
        self.misses = 0
        self._entries_max = bytes_max // ENTRY_BYTES
        self._entries: OrderedDict[bytes, bytes] = OrderedDict()  # the least recent first
        self._lock = Lock()
        self._salted = blake2b(digest_size=16, salt=secrets.token_bytes(blake2b.SALT_SIZE))

    def digest(self, text: str) -> bytes:
        """What stands for a text: the whole of it, before any cut."""
        hasher = self._salted.copy()
        hasher.update(text.encode())
        return hasher.digest()

    def get_many(self, names: Iterable[bytes]) -> dict[bytes, CachedScores]:
        """What is known of these texts, which are thereby the most recent."""
        found = {}
        with self._lock:
            for name in names:
                if (packed := self._entries.get(name)) is not None:
                    self._entries.move_to_end(name)
                    found[name] = packed
        return {name: _unpacked(packed) for name, packed in found.items()}

    def put_many(self, asked: Sequence[PreparedMessage], answers: Sequence[Scores | DeadLetterReason]) -> None:
        """Keeps the scores of these texts, and lets go of the least recent for them."""
        learned = {
            message.text_digest: _packed(message, scores)
            for message, scores in zip(asked, answers, strict=True)
            if isinstance(scores, np.ndarray)
        }
        with self._lock:
            self._entries.update(learned)
            while len(self._entries) > self._entries_max:
                self._entries.popitem(last=False)


def _packed(message: PreparedMessage, scores: Scores) -> bytes:
    """Bytes of its own: a row of the batch's scores would keep the whole batch alive."""
    return scores.tobytes() + _TAIL.pack(len(message.tokens), message.truncated)


def _unpacked(packed: bytes) -> CachedScores:
    tokens, truncated = _TAIL.unpack_from(packed, len(packed) - _TAIL.size)
    scores = np.frombuffer(packed[: -_TAIL.size], np.float32)
    return CachedScores(scores=scores, tokens=tokens, truncated=truncated)
