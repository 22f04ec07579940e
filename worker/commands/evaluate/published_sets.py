"""Loaders of the six sets of DuoGuard's published evaluation, as their files are published.

Source of the classes and of the joined text: evaluation/evaluate_duoguard.py in github.com/yihedeng9/DuoGuard.
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import orjson

from schemas.labels import CATEGORY_SLUGS
from worker.commands.evaluate.labelled_texts import LabelledText, read_json_lines, read_text_file
from worker.errors import ConfigurationError

SetFormat = Literal["jsonl", "xstest", "openai", "toxicchat", "beavertails", "rtp-lx", "xsafety"]
"""The formats of a file of labelled texts."""

FORMATS: tuple[SetFormat, ...] = get_args(SetFormat)

_CATEGORY_KEY = re.compile(r"C([0-9]{1,2})\b")


def read_labelled_texts(path: Path, file_format: SetFormat) -> list[LabelledText]:
    """Return the labelled texts of a file. Blank texts are left out.

    A row of a published set has the number of the row as its group: translations of a set have the same rows.

    Raises:
        ConfigurationError: The file can't be read, has another format, or holds no text.
    """
    texts = read_json_lines(path) if file_format == "jsonl" else _read_set(path, file_format)
    if not texts:
        raise ConfigurationError(
            f"{path} holds no labelled text in the format {file_format}: name another file, or another --format"
        )
    return texts


def _read_set(path: Path, file_format: SetFormat) -> list[LabelledText]:
    rows, convert = _SETS[file_format]
    try:
        converted = [(number, *convert(row)) for number, row in enumerate(rows(read_text_file(path)), 1)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        said = f"{type(error).__name__}: {error}".replace("\n", " ")[:100]
        raise ConfigurationError(
            f"{path} is not a file of the format {file_format} ({said}): name another file, or another --format"
        ) from None
    return [
        LabelledText(text=text, labels=labels, unsafe=unsafe, group=str(number))
        for number, text, labels, unsafe in converted
        if text.strip()
    ]


Row = Mapping[str, Any]
_Converted = tuple[str, Mapping[str, bool], bool]


def _json_array(content: str) -> Iterator[Row]:
    document = orjson.loads(content)
    if not isinstance(document, list):
        raise TypeError("the file is not a JSON array")
    return iter(document)


def _json_lines(content: str) -> Iterator[Row]:
    return (orjson.loads(line) for line in content.split("\n") if line.strip())


def _csv(content: str) -> Iterator[Row]:
    return csv.DictReader(io.StringIO(content, newline=""))


def _xstest(row: Row) -> _Converted:
    """XSTest: the types whose names begin with ``contrast_`` are unsafe."""
    return row["prompt"], {}, row["type"].startswith("contrast_")


def _beavertails(row: Row) -> _Converted:
    """BeaverTails: the text is the prompt, a space, and the response."""
    return f"{row['prompt']} {row['response']}", {}, not _boolean(row["is_safe"])


def _class(row: Row) -> _Converted:
    """RTP-LX and XSafety: the class is the label."""
    return row["prompt"], {}, _boolean(row["class"])


def _moderation(row: Row) -> _Converted:
    """OpenAI's and ToxicChat's sets: the flag is the label, and parsed_result has the categories of some rows."""
    unsafe = _boolean(row["moderation_flag"])
    result = (row.get("parsed_result") or {}).get("MODERATION_RESULT")
    labels = _labels(result) if unsafe and isinstance(result, dict) else {}
    return row["prompt"], labels, unsafe


def _labels(result: Row) -> dict[str, bool]:
    """Return the labels by the number in each key, such as ``C7(Intellectual Property)``: the order can differ."""
    found = {}
    for key, value in result.items():
        match = _CATEGORY_KEY.match(key)
        if match and isinstance(value, bool) and 1 <= int(match[1]) <= len(CATEGORY_SLUGS):
            found[CATEGORY_SLUGS[int(match[1]) - 1]] = value
    return found


def _boolean(value: object) -> bool:
    if isinstance(value, bool) or value in {0, 1}:
        return bool(value)
    raise ValueError("a class wants 0, 1, true or false")


_SETS: Mapping[str, tuple[Callable[[str], Iterator[Row]], Callable[[Row], _Converted]]] = {
    "xstest": (_csv, _xstest),
    "openai": (_json_array, _moderation),
    "toxicchat": (_json_array, _moderation),
    "beavertails": (_json_lines, _beavertails),
    "rtp-lx": (_json_array, _class),
    "xsafety": (_json_array, _class),
}
