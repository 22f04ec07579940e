"""Scores that outlast a run: a file to which each batch is added, so that a run that was cut off goes on.

Each line has the digest of a text, the key of the scoring and the scores. The key covers what changes scores: the
model's files, the dtype, the token bound and the settings of the text. So one file can hold several models.
The file holds no text. Its digests are not salted, so a person who guesses a text can recognise its digest.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import orjson

from schemas.labels import CATEGORY_SLUGS
from worker.errors import ConfigurationError
from worker.scores import Scores


def text_key(text: str) -> str:
    """Return the SHA-256 of a text as hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def scoring_key(facts: Mapping[str, object]) -> str:
    """Return a digest of everything that changes scores."""
    return hashlib.sha256(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


class ScoreFile:
    """The scores of one scoring, in a file or only in memory. Use it in a ``with`` statement.

    Args:
        path: The file, which is made if it does not exist; None to keep the scores in memory.
        key: The key of the scoring. Lines with another key are kept in the file and not read.

    Raises:
        ConfigurationError: The file can't be read or written, or it is another kind of file.
    """

    def __init__(self, path: Path | None, key: str) -> None:
        self._key = key
        self._found: dict[str, Scores] = {}
        self._sink = None
        if path is None:
            return
        try:
            self._found, size_bytes = _read(path, key) if path.exists() else ({}, 0)
            self._sink = path.open("r+b" if path.exists() else "wb")
            self._sink.truncate(size_bytes)
            self._sink.seek(size_bytes)
        except OSError as error:
            raise ConfigurationError(
                f"{path} can't be opened ({error.strerror}): name another score file."
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._sink is not None:
            self._sink.close()

    def __contains__(self, key: str) -> bool:
        return key in self._found

    def get(self, key: str) -> Scores | None:
        """Return the scores of a text by its key; None if the text has none."""
        return self._found.get(key)

    def add(self, keys: Sequence[str], scores: Sequence[Scores]) -> None:
        """Keep the scores of these texts, and write them to the file before returning."""
        self._found.update(zip(keys, scores, strict=True))
        if self._sink is None:
            return
        for key, one in zip(keys, scores, strict=True):
            line = {"text": key, "scoring": self._key, "scores": one}
            self._sink.write(orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE))
        self._sink.flush()


def _read(path: Path, key: str) -> tuple[dict[str, Scores], int]:
    """Return the scores with this key, and the bytes of the complete lines: a cut-off last line is dropped."""
    found: dict[str, Scores] = {}
    size_bytes = 0
    with path.open("rb") as source:
        for number, line in enumerate(source, 1):
            if not line.endswith(b"\n"):
                break
            try:
                document = orjson.loads(line)
                if document["scoring"] == key:
                    scores = np.array(document["scores"], np.float32)
                    found[document["text"]] = scores.reshape(len(CATEGORY_SLUGS))
            except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
                raise ConfigurationError(
                    f"{path}:{number}: this line holds no scores, so this is not a score file: name another one."
                ) from None
            size_bytes += len(line)
    return found, size_bytes
