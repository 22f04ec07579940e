"""Texts with the labels that people gave them: the input of `evaluate` and `calibrate`. Pure except for reading.

A label is known or unknown. A category that a line does not name is unknown, not false: the text then counts in no
figure of that category. ``unsafe: false`` says that no category applies, so it makes every category known.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.chat import Undecodable, read_json
from schemas.labels import CATEGORY_SLUGS
from worker.commands.gzipped import read_unpacked
from worker.errors import ConfigurationError, not_utf8
from worker.moderation.yaml_document import near


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledText:
    """A text with its labels.

    Attributes:
        text: The text; never blank.
        labels: Category slug to whether the category applies. A category that is not a key is unknown.
        unsafe: Whether any category applies; None when it is unknown.
        language: The language of the text, as the file names it; None when the file names none.
        group: Texts of one group belong together, for example a text and its translations; None when the text is
            a group of its own.
    """

    text: str
    labels: Mapping[str, bool] = field(default_factory=dict)
    unsafe: bool | None = None
    language: str | None = None
    group: str | None = None

    @property
    def is_unsafe(self) -> bool | None:
        """Whether any category applies: what the file says, or what follows from the labels; None if unknown."""
        if self.unsafe is not None:
            return self.unsafe
        if any(self.labels.values()):
            return True
        return False if len(self.labels) == len(CATEGORY_SLUGS) else None


UNKNOWN = np.int8(-1)
"""A label that is not known."""


def label_matrix(texts: Sequence[LabelledText]) -> NDArray[np.int8]:
    """Return ``[N, L]`` labels of ``N`` texts: 1, 0, or ``UNKNOWN``."""
    matrix = np.full((len(texts), len(CATEGORY_SLUGS)), UNKNOWN, np.int8)
    for row, one in zip(matrix, texts, strict=True):
        if one.unsafe is False:
            row[:] = 0
        for slug, label in one.labels.items():
            row[CATEGORY_SLUGS.index(slug)] = label
    return matrix


def unsafe_column(texts: Sequence[LabelledText]) -> NDArray[np.int8]:
    """Return ``[N]`` whether each text is unsafe: 1, 0, or ``UNKNOWN``."""
    answers = (one.is_unsafe for one in texts)
    return np.array([UNKNOWN if answer is None else answer for answer in answers], np.int8)


def read_text_file(path: Path) -> str:
    """Return the content of a UTF-8 file, which may be gzipped.

    Raises:
        ConfigurationError: The file can't be read, or its content is not UTF-8.
    """
    try:
        return read_unpacked(path, "a file with labelled texts").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column, said = not_utf8(error)
        raise ConfigurationError(f"{path}:{line}:{column}: {said}") from None


def read_json_lines(path: Path) -> list[LabelledText]:
    """Return the labelled texts of a JSON Lines file. Lines with a blank text are left out: nobody scores them.

    Raises:
        ConfigurationError: The file can't be read, or a line is not a labelled text; one line for each fault.
    """
    faults: list[str] = []
    found = list(_lines(path, faults))
    if faults:
        shown = faults[:_FAULTS_SHOWN]
        more = len(faults) - len(shown)
        raise ConfigurationError("\n".join([*shown, *([f"{path}: {more} more lines are wrong"] if more else [])]))
    return found


_FAULTS_SHOWN = 10


def _lines(path: Path, faults: list[str]) -> Iterator[LabelledText]:
    for number, line in enumerate(read_text_file(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            one = _labelled(read_json(line))  # as the worker reads a message: half an emoji becomes U+FFFD
        except Undecodable:
            faults.append(f"{path}:{number}: this line is not JSON; write an object a line")
        except ValueError as error:
            faults.append(f"{path}:{number}: {error}")
        else:
            if one.text.strip():
                yield one


def _labelled(document: Any) -> LabelledText:
    """Return a line as a labelled text. Fields that this reader does not know are ignored.

    Raises:
        ValueError: The line lacks a text or a label, or a field has the wrong type.
    """
    if not isinstance(document, dict):
        raise ValueError('wants an object, such as {"text": "...", "unsafe": true}')  # noqa: TRY004 - a fault of the file
    text, labels, unsafe = document.get("text"), document.get("labels"), document.get("unsafe")
    if not isinstance(text, str):
        raise ValueError('"text" wants a string')  # noqa: TRY004
    if labels is None and unsafe is None:
        raise ValueError('wants "labels" or "unsafe", such as "unsafe": true')
    if unsafe is not None and not isinstance(unsafe, bool):
        raise ValueError('"unsafe" wants true or false')
    known = _labels({} if labels is None else labels)
    if unsafe is False and any(known.values()):
        raise ValueError('"unsafe" is false, but a category in "labels" is true')
    return LabelledText(
        text=text,
        labels=known,
        unsafe=unsafe,
        language=_name(document, "language"),
        group=_name(document, "group"),
    )


def _labels(given: Any) -> dict[str, bool]:
    """Return the known labels. A null label is unknown, as an absent one."""
    if not isinstance(given, dict):
        raise ValueError('"labels" wants an object of category slugs, such as {"hate": true}')  # noqa: TRY004
    if unknown := given.keys() - set(CATEGORY_SLUGS):
        slug = min(unknown)
        known = f"the categories are {', '.join(CATEGORY_SLUGS)}"
        raise ValueError(f'"labels": unknown category {slug!r}{near(slug, CATEGORY_SLUGS)}; {known}')
    if any(label is not None and not isinstance(label, bool) for label in given.values()):
        raise ValueError('a label in "labels" wants true, false or null')
    return {slug: label for slug, label in given.items() if label is not None}


def _name(document: Mapping[str, Any], key: str) -> str | None:
    value = document.get(key)
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ValueError(f'"{key}" wants a string')
