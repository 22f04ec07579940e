"""Read a YAML file that people write, and report every fault with its line and column. Pure.

The reader is stricter than YAML: a document has no tags, no anchors, no aliases and no duplicate keys. A plain
scalar is null, a boolean, a number or a string by YAML 1.2's core schema. So ``off``, ``yes`` and ``2027-01-31``
are strings.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from worker.errors import not_utf8
from worker.moderation.yaml_events import YamlFault, YamlFaults, fault_at, node_events, place_of

Path = tuple[str | int, ...]
"""The keys and indexes that lead from the top of a document to a node."""

_Model = TypeVar("_Model", bound=BaseModel)

_FIRST = (1, 1)
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULLS = {"", "~", "null", "Null", "NULL"}
_INTEGER = re.compile("[-+]?[0-9]{1,18}")
_WANTED = {
    "model_type": "wants keys and values",
    "dict_type": "wants keys and values",
    "list_type": "wants a list",
    "string_type": "wants a string",
    "bool_type": "wants true or false",
    "int_type": "wants a whole number",
}
_LENGTH = re.compile(r"^(?:Value|List|String) should have at (least|most) (\d+) .*")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
_SHOWN_CHARACTERS_MAX = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlDocument:
    """The content of a YAML file.

    Attributes:
        data: Objects, arrays and scalars.
        keys: The line and column of each key of an object, by the key's path.
        written: What the file has for each number and boolean, by the value's path: ``007`` for 7.
        values: The line and column of each value, by the value's path.
    """

    data: Any
    keys: Mapping[Path, tuple[int, int]]
    written: Mapping[Path, str]
    values: Mapping[Path, tuple[int, int]]

    def fault(self, path: Path, message: str) -> YamlFault:
        """Return a fault at a value. A value that is absent has the place of the object that lacks it."""
        while path and path not in self.values:
            path = path[:-1]
        line, column = self.values.get(path, _FIRST)
        return YamlFault(line=line, column=column, message=message)

    def faults_of(self, error: ValidationError, model: type[BaseModel]) -> list[YamlFault]:
        """Return what pydantic found wrong with the document as a model, each fault at its place."""
        return [self._fault_of(one, model) for one in error.errors(include_url=False, include_context=False)]

    def _fault_of(self, error: Any, model: type[BaseModel]) -> YamlFault:
        path = self._path(error["loc"])
        name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
        if error["type"] == "extra_forbidden":
            line, column = self.keys.get(path, _FIRST)
            hint = near(str(path[-1]), _known_keys(model, path[:-1]))
            return YamlFault(line=line, column=column, message=f"unknown key {path[-1]!r}{hint}")
        if error["type"] == "missing":
            return self.fault(path, f"the key {error['loc'][-1]!r} is missing")
        message = _wanted(error)
        if message.startswith("wants "):
            message = self._got(path, error["input"]) + message
        if error["type"] == "string_type" and path in self.written:
            message += f"; write '{self.written[path]}' in quotes"
        return self.fault(path, f"{name}: {message}" if name else message)

    def _got(self, path: Path, value: object) -> str:
        """Return what the file has at a path in place of what is wanted; nothing for a list or an object."""
        if path in self.written:
            return f"got {self.written[path]}; "
        if value is None:
            return "got null; "
        if isinstance(value, str):
            return f"got {value[:_SHOWN_CHARACTERS_MAX]!r}; "
        return ""

    def _path(self, loc: Sequence[str | int]) -> Path:
        """Return pydantic's location without the names of the union members, which are not in the document."""
        path: Path = ()
        for part in loc:
            if (*path, part) in self.values:
                path = (*path, part)
        return path


def read_yaml(content: str | bytes) -> YamlDocument:
    """Return the document in a text, or in the content of a file.

    Raises:
        YamlFaults: The content is not UTF-8, or not one YAML document, or holds what this reader refuses.
    """
    try:
        text = content if isinstance(content, str) else content.decode()
    except UnicodeDecodeError as error:
        line, column, said = not_utf8(error)
        raise YamlFaults([YamlFault(line=line, column=column, message=said)]) from None
    text = text.removeprefix("\ufeff")  # libyaml does not count it in its marks
    places = _Places({}, {}, {})
    faults: list[YamlFault] = []
    events = node_events(text, faults)
    root = next(events, None)
    if root is None:
        raise YamlFaults([YamlFault(line=1, column=1, message="the file is empty; wants keys and values")])
    data = _constructed(root, events, (), places, faults)
    next(events, None)  # reads on to the end of the file: a second document is a fault
    if faults:
        raise YamlFaults(faults)
    return YamlDocument(data=data, **places._asdict())


def validated(model: type[_Model], document: YamlDocument, further: Sequence[YamlFault] = ()) -> _Model:
    """Return a document as its pydantic model.

    Args:
        model: The model.
        document: The document.
        further: What is wrong with the document in addition, for one report.

    Raises:
        YamlFaults: The document does not fit the model, or there are further faults.
    """
    try:
        found = model.model_validate(document.data)
    except ValidationError as error:
        raise YamlFaults([*document.faults_of(error, model), *further]) from None
    if further:
        raise YamlFaults(further)
    return found


class _Places(NamedTuple):
    """The places of a document, while it is read: the attributes of ``YamlDocument``."""

    keys: dict[Path, tuple[int, int]]
    values: dict[Path, tuple[int, int]]
    written: dict[Path, str]


def _constructed(event: Any, events: Iterator[Any], path: Path, places: _Places, faults: list[YamlFault]) -> Any:
    """Return the node that an event begins. The node's other events are taken from the iterator."""
    places.values[path] = place_of(event.start_mark)
    if isinstance(event, yaml.SequenceStartEvent):
        return [
            _constructed(one, events, (*path, at), places, faults) for at, one in enumerate(_inner_nodes(events))
        ]
    if isinstance(event, yaml.MappingStartEvent):
        return _mapping(events, path, places, faults)
    scalar = _scalar(event)
    if isinstance(scalar, int | float):
        places.written[path] = event.value
    return scalar


def _mapping(events: Iterator[Any], path: Path, places: _Places, faults: list[YamlFault]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in _inner_nodes(events):
        if isinstance(key, yaml.CollectionStartEvent):
            faults.append(fault_at(key.start_mark, "a key that is not a scalar is not allowed; write a word"))
            _constructed(key, events, (), _Places({}, {}, {}), faults)
            _constructed(next(events), events, (), _Places({}, {}, {}), faults)
            continue
        name = _written(key)
        if name in found:
            faults.append(fault_at(key.start_mark, f"the key {name!r} occurs twice; write it once"))
        places.keys[(*path, name)] = place_of(key.start_mark)
        found[name] = _constructed(next(events), events, (*path, name), places, faults)
    return found


def _inner_nodes(events: Iterator[Any]) -> Iterator[Any]:
    """Yield the first event of each node of a collection. The caller takes the node's other events."""
    for event in events:
        if isinstance(event, yaml.CollectionEndEvent):
            return
        yield event


def _written(event: Any) -> str:
    """Return the characters of a scalar, or of an alias. An alias is a fault; reading goes on behind it."""
    text: str = f"*{event.anchor}" if isinstance(event, yaml.AliasEvent) else event.value
    return text


def _scalar(event: Any) -> Any:
    text = _written(event)
    if isinstance(event, yaml.AliasEvent) or event.style:  # quoted, or a block
        return text
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _wanted(error: Any) -> str:
    """Return what a value must be, for a fault that pydantic found."""
    if (known := _WANTED.get(error["type"])) is not None:
        return known
    message = re.sub("^Value error, ", "", error["msg"])
    if (length := _LENGTH.match(message)) is not None:
        one, several = ("character", "characters") if isinstance(error["input"], str) else ("entry", "entries")
        return f"wants at {length[1]} {length[2]} {one if length[2] == '1' else several}"
    message = re.sub("^Input should be (a valid )?", "wants ", message)
    return re.sub("^wants (greater|less) ", r"wants a number \1 ", message)


def _known_keys(model: type[BaseModel], path: Path) -> list[str]:
    """Return the keys that an object at a path of a model may have."""
    models = [model]
    for part in path:
        if isinstance(part, str):
            fields = [entry for one in models for entry in one.model_fields.items()]
            own = [field.annotation for name, field in fields if part == (field.alias or name)]
            models = [inner for annotation in own for inner in _models_in(annotation)]
    return [field.alias or name for one in models for name, field in one.model_fields.items()]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the models that an annotation is made of, such as the one in ``list[Model] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _models_in(inner)]


def near(word: str, known: Sequence[str]) -> str:
    """Return a suggestion, with its introduction, for a word that is not known; empty when none is close."""
    found = get_close_matches(word, known, n=1)
    return f"; did you mean {found[0]!r}?" if found else ""
