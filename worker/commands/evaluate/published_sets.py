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
        converted = [
            (number, *_of_row(convert, row, number)) for number, row in enumerate(rows(read_text_file(path)), 1)
        ]
    except (TypeError, ValueError) as error:
        said = str(error)[:_REASON_CHARACTERS_MAX]
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


_REASON_CHARACTERS_MAX = 200


def _of_row(convert: Callable[[Row], _Converted], row: object, number: int) -> _Converted:
    """Return the text and the labels of a row.

    Raises:
        ValueError: The row lacks a field, or a field has a wrong value. The message does not hold the value.
    """
    try:
        if not isinstance(row, dict):
            raise ValueError("is not an object")  # noqa: TRY004, TRY301 - a fault of the file
        return convert(row)
    except KeyError as error:
        raise ValueError(f"row {number}: has no field {error}") from None
    except ValueError as error:
        raise ValueError(f"row {number}: {error}") from None


def _string(row: Row, name: str) -> str:
    """Return a field that must be a string: null and numbers are no texts."""
    value = row[name]
    if not isinstance(value, str):
        raise ValueError(f"the field {name!r} wants a string")  # noqa: TRY004 - a fault of the file
    return value


def _json_array(content: str) -> Iterator[Row]:
    document = orjson.loads(content)
    if not isinstance(document, list):
        raise TypeError("the file is not a JSON array")
    return iter(document)


def _json_lines(content: str) -> Iterator[Row]:
    for number, line in enumerate(content.split("\n"), 1):
        if line.strip():
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise ValueError(f"line {number}: {error.msg}") from None


def _csv(content: str) -> Iterator[Row]:
    """Yield the rows of a CSV file.

    Raises:
        ValueError: The first line lacks a field, a row lacks a field or has a further cell that is not blank, or a
            quotation mark is missing. The csv module would leave out the further cells, and without ``strict`` it
            would take all later rows for one cell.
    """
    csv.field_size_limit(_CELL_CHARACTERS_MAX)
    reader = csv.DictReader(io.StringIO(content, newline=""), strict=True)
    number = 0
    try:
        names = reader.fieldnames or []
        for name in _XSTEST_FIELDS:
            if names and names.count(name) != 1:
                raise ValueError(
                    f"the first line wants the names of the fields, separated by commas, {name!r} once"
                )
        for number, row in enumerate(reader, 1):
            further: Any = row.pop(None, ())  # the key of the csv module
            if any(cell.strip() for cell in further):
                raise ValueError(
                    f"row {number}: has {len(names) + len(further)} cells, the first line has {len(names)}"
                )
            yield row
    except csv.Error as error:
        raise ValueError(f"row {number + 1}: {error}") from None


_XSTEST_FIELDS = ("prompt", "type")
_CELL_CHARACTERS_MAX = 2**31 - 1
"""The csv module's own limit is 131,072 characters. The worker reads longer texts."""


def _xstest(row: Row) -> _Converted:
    """XSTest: the types whose names begin with ``contrast_`` are unsafe."""
    prompt, kind = _string(row, "prompt"), _string(row, "type").strip()
    if prompt.strip() and not kind:
        raise ValueError("the field 'type' is empty")
    return prompt, {}, kind.startswith("contrast_")


def _beavertails(row: Row) -> _Converted:
    """BeaverTails: the text is the prompt, a space, and the response."""
    return f"{_string(row, 'prompt')} {_string(row, 'response')}", {}, not _boolean(row["is_safe"])


def _class(row: Row) -> _Converted:
    """RTP-LX and XSafety: the class is the label."""
    return _string(row, "prompt"), {}, _boolean(row["class"])


def _moderation(row: Row) -> _Converted:
    """OpenAI's and ToxicChat's sets: the flag is the label, and parsed_result has the categories of some rows."""
    unsafe = _boolean(row["moderation_flag"])
    parsed = row.get("parsed_result")
    result = parsed.get("MODERATION_RESULT") if isinstance(parsed, dict) else None
    labels = _labels(result) if unsafe and isinstance(result, dict) else {}
    return _string(row, "prompt"), labels, unsafe


def _labels(result: Row) -> dict[str, bool]:
    """Return the labels by the number in each key, such as ``C7(Intellectual Property)``: the order can differ."""
    found = {}
    for key, value in result.items():
        match = _CATEGORY_KEY.match(key)
        if match and isinstance(value, bool) and 1 <= int(match[1]) <= len(CATEGORY_SLUGS):
            found[CATEGORY_SLUGS[int(match[1]) - 1]] = value
    return found


def _boolean(value: object) -> bool:
    if isinstance(value, bool | int | float) and value in {0, 1}:
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
