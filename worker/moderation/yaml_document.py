"""Read a YAML file that people write, and report every fault with its line and column. Pure.

The reader is stricter than YAML: a document has no tags, no anchors, no aliases and no duplicate keys. A plain
scalar is null, a boolean, a number or a string by YAML 1.2's core schema. So ``off``, ``yes`` and ``2027-01-31``
are strings.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from worker.errors import ConfigurationError

Path = tuple[str | int, ...]
"""The keys and indexes that lead from the top of a document to a node."""

_Model = TypeVar("_Model", bound=BaseModel)

_FIRST = (1, 1)
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULLS = {"", "~", "null", "Null", "NULL"}
_INTEGER = re.compile("[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
_DEPTH_MAX = 50
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml takes a tenth of the time


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlFault:
    """What is wrong in a YAML file.

    Attributes:
        line: The line, from 1.
        column: The column, from 1.
        message: What is wrong and what to write, as a sentence without its full stop.
    """

    line: int
    column: int
    message: str


class YamlFaults(ValueError):  # noqa: N818 - it carries faults of a file, it is not an error of the program
    """A file is not a document that this worker reads.

    Attributes:
        faults: All faults, in the order of the file.
    """

    def __init__(self, faults: Sequence[YamlFault]) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = tuple(sorted(faults, key=lambda fault: (fault.line, fault.column)))

    def configuration_error(self, file: str) -> ConfigurationError:
        """Return the error that ends the process, with one line for each fault."""
        return ConfigurationError(
            "\n".join(f"{file}:{one.line}:{one.column}: {one.message}" for one in self.faults)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlDocument:
    """The content of a YAML file.

    Attributes:
        data: Objects, arrays and scalars.
        keys: The line and column of each key of an object, by the key's path.
        values: The line and column of each value, by the value's path.
    """

    data: Any
    keys: Mapping[Path, tuple[int, int]]
    values: Mapping[Path, tuple[int, int]]

    def fault(self, path: Path, message: str) -> YamlFault:
        """Return a fault at a value. A value that is absent has the place of the object that lacks it."""
        while path and path not in self.values:
            path = path[:-1]
        line, column = self.values.get(path, _FIRST)
        return YamlFault(line=line, column=column, message=message)

    def faults_of(self, error: ValidationError, model: type[BaseModel]) -> list[YamlFault]:
        """Return what pydantic found wrong with the document as a model, each fault at its place."""
        known = [field.alias or name for name, field in model.model_fields.items()]
        return [self._fault_of(one, known) for one in error.errors(include_url=False, include_context=False)]

    def _fault_of(self, error: Any, known: Sequence[str]) -> YamlFault:
        path = self._path(error["loc"])
        name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
        if error["type"] == "extra_forbidden":
            line, column = self.keys.get(path, _FIRST)
            hint = near(str(path[-1]), known) if len(path) == 1 else ""
            return YamlFault(line=line, column=column, message=f"unknown key {path[-1]!r}{hint}")
        if error["type"] == "missing":
            return self.fault(path, f"the key {error['loc'][-1]!r} is missing")
        message = re.sub("^Value error, ", "", error["msg"])
        message = re.sub("^Input should be (a valid )?", "wants ", message).replace("wants list", "wants a list")
        message = re.sub("^wants (greater|less) ", r"wants a number \1 ", message)
        return self.fault(path, f"{name}: {message}" if name else message)

    def _path(self, loc: Sequence[str | int]) -> Path:
        """Return pydantic's location without the names of the union members, which are not in the document."""
        path: Path = ()
        for part in loc:
            if (*path, part) in self.values:
                path = (*path, part)
        return path


def read_yaml(text: str) -> YamlDocument:
    """Return the document in a text.

    Raises:
        YamlFaults: The text is not one YAML document, or holds what this reader refuses.
    """
    try:
        refused = list(_refused(text))
        node = None if refused else yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise YamlFaults([_marked(error)]) from None
    except yaml.reader.ReaderError as error:
        line = text.encode().count(b"\n", 0, error.position) + 1
        raise YamlFaults([YamlFault(line=line, column=1, message="a character that YAML forbids")]) from None
    if refused:
        raise YamlFaults(refused)
    if node is None:
        raise YamlFaults([YamlFault(line=1, column=1, message="the file is empty; wants keys and values")])
    keys: dict[Path, tuple[int, int]] = {}
    values: dict[Path, tuple[int, int]] = {}
    faults: list[YamlFault] = []
    data = _constructed(node, (), keys, values, faults)
    if faults:
        raise YamlFaults(faults)
    return YamlDocument(data=data, keys=keys, values=values)


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


def _refused(text: str) -> Iterator[YamlFault]:
    """Yield what YAML allows and this reader does not, and every second document."""
    documents = depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        wrong = ""
        if isinstance(event, yaml.AliasEvent):
            wrong = f"the alias *{event.anchor} is not allowed; write the value itself"
        elif isinstance(event, yaml.NodeEvent) and event.anchor:
            wrong = f"the anchor &{event.anchor} is not allowed; write the value itself where it is needed"
        elif isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag:
            wrong = f"the tag {event.tag} is not allowed; write the value without a tag"
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            wrong = "a second document is not allowed; write one document in a file" if documents > 1 else ""
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEPTH_MAX:
            raise YamlFaults([_at(event.start_mark, f"more than {_DEPTH_MAX} levels are not allowed")])
        if wrong:
            yield _at(event.start_mark, wrong)


def _constructed(
    node: yaml.Node,
    path: Path,
    keys: dict[Path, tuple[int, int]],
    values: dict[Path, tuple[int, int]],
    faults: list[YamlFault],
) -> Any:
    values[path] = _place(node.start_mark)
    if isinstance(node, yaml.SequenceNode):
        return [_constructed(one, (*path, at), keys, values, faults) for at, one in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return _scalar(node)
    found: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            faults.append(_at(key.start_mark, "a key that is not a scalar is not allowed; write a word"))
            continue
        if key.value in found:
            faults.append(_at(key.start_mark, f"the key {key.value!r} occurs twice; write it once"))
        keys[(*path, key.value)] = _place(key.start_mark)
        found[key.value] = _constructed(value, (*path, key.value), keys, values, faults)
    return found


def _scalar(node: Any) -> Any:
    text: str = node.value
    if node.style:  # quoted, or a block
        return text
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def near(word: str, known: Sequence[str]) -> str:
    """Return a suggestion, with its introduction, for a word that is not known; empty when none is close."""
    found = get_close_matches(word, known, n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def _place(mark: Any) -> tuple[int, int]:
    return mark.line + 1, mark.column + 1


def _at(mark: Any, message: str) -> YamlFault:
    line, column = _place(mark)
    return YamlFault(line=line, column=column, message=message)


def _marked(error: yaml.MarkedYAMLError) -> YamlFault:
    mark = error.problem_mark or error.context_mark
    said = " ".join(part for part in (error.context, error.problem) if part)
    return _at(mark, f"not YAML: {said}") if mark else YamlFault(line=1, column=1, message=f"not YAML: {said}")
