"""Read, split and vary the labelled texts that the demonstration model is trained on."""

import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.labels import CATEGORY_SLUGS

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Labelled texts.

    Attributes:
        texts: ``[N]`` texts.
        labels: ``[N, L]``: 1, 0, or NaN when the label is unknown.
        groups: ``[N]`` names of groups; the text itself when the data names no group.
        sources: ``[N]`` names of sources; empty when the data names no source.
    """

    texts: list[str]
    labels: Floats
    groups: list[str]
    sources: list[str]

    def where(self, mask: NDArray[np.bool_]) -> "Rows":
        """Return the rows that an ``[N]`` mask selects."""
        kept = np.flatnonzero(mask).tolist()
        return Rows(
            texts=[self.texts[i] for i in kept],
            labels=self.labels[kept],
            groups=[self.groups[i] for i in kept],
            sources=[self.sources[i] for i in kept],
        )

    def of(self, sources: Sequence[str]) -> NDArray[np.bool_]:
        """Return an ``[N]`` mask of the rows from these sources."""
        return np.isin(np.array(self.sources, dtype=object), list(sources))


def read_rows(path: Path) -> Rows:
    """Return the rows of a JSON Lines file, gzipped or not."""
    raw = path.read_bytes()
    lines = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    return Rows(
        texts=[row["text"] for row in rows],
        labels=np.array([row["labels"] for row in rows], dtype=np.float32).reshape(-1, len(CATEGORY_SLUGS)),
        groups=[str(row.get("group") or row["text"]) for row in rows],
        sources=[str(row.get("source") or "") for row in rows],
    )


def tenths(rows: Rows, seed: int) -> NDArray[np.int64]:
    """Return ``[N]`` numbers from 0 to 9, equal within a group: 0 tests, 1 calibrates, the others train."""
    digests = (hashlib.sha256(f"{seed}:{group}".encode()).digest() for group in rows.groups)
    return np.array([int.from_bytes(digest[:8]) % 10 for digest in digests], dtype=np.int64)


def also_as_typed(rows: Rows) -> Rows:
    """Return the rows, and each row again in lower case without a full stop, as people type in a chat.

    Otherwise the model learns that capitals and full stops mean danger.
    """
    typed = [text.lower().rstrip(".!?") or text for text in rows.texts]
    return Rows(
        texts=rows.texts + typed,
        labels=np.concatenate([rows.labels, rows.labels]),
        groups=rows.groups * 2,
        sources=rows.sources * 2,
    )
