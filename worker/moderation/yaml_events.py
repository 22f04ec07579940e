"""Read the events of a YAML text, and report what YAML allows and this worker does not. Pure."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from worker.errors import ConfigurationError

DEPTH_MAX = 50
_SEARCHED_MAX = 200
"""Characters on each side of a mark that are searched for the value at it."""
_BEFORE = re.compile(r"""(?:\[[^\[\]\s,]*\]|[^\s,\[\]{}"'])*\Z""")
_BEHIND = re.compile(r"""(?:[*&!@%`]|\[[^\[\]\s,]*\])(?:\[[^\[\]\s,]*\]|[^\s,\[\]{}"'])*""")
_GOES_ON = re.compile(r"[^\s,\[\]{}:]|[ \t]+[^\s,\]}#]")
_COMMENTED = re.compile(r"(?:[\[{,]|:[ ])[ \t]*(#[^\s,\]}]+)")
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


def node_events(text: str, faults: list[YamlFault]) -> Iterator[Any]:
    """Yield the events of the first document's nodes.

    Args:
        text: The text.
        faults: Where to add a fault for each tag, anchor and alias, and for a second document.

    Raises:
        YamlFaults: The text is not YAML, or has more than ``DEPTH_MAX`` levels.
    """
    depth = documents = 0
    try:
        for event in yaml.parse(text, Loader=_Loader):
            documents += isinstance(event, yaml.DocumentStartEvent)
            if documents > 1:
                said = "a second document is not allowed; write one document in a file"
                faults.append(fault_at(event.start_mark, said))
                return
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEPTH_MAX:
                said = f"more than {DEPTH_MAX} levels are not allowed"
                raise YamlFaults([*faults, fault_at(event.start_mark, said)])
            if isinstance(event, yaml.NodeEvent):
                faults += _refusals(event, text)
                yield event
            elif isinstance(event, yaml.CollectionEndEvent):
                yield event
    except yaml.MarkedYAMLError as error:
        raise YamlFaults([*faults, _marked(error, text)]) from None
    except yaml.reader.ReaderError as error:
        raise YamlFaults([_forbidden(error, text)]) from None


def place_of(mark: Any) -> tuple[int, int]:
    """Return the line and the column of a mark of YAML, both from 1."""
    return mark.line + 1, mark.column + 1


def fault_at(mark: Any, message: str) -> YamlFault:
    """Return a fault at a mark of YAML."""
    line, column = place_of(mark)
    return YamlFault(line=line, column=column, message=message)


def _refusals(event: Any, text: str) -> Iterator[YamlFault]:
    """Yield the alias, the anchor and the tag of a node."""
    is_alias = isinstance(event, yaml.AliasEvent)
    if not (is_alias or event.anchor or event.tag):
        return  # nearly every node: looking for quotes would take most of the time
    mark = event.start_mark
    quoted = _quoted(text, mark)
    hint = f"; if it is a text, put it in quotes: {quoted}" if quoted else ""
    if is_alias:
        yield fault_at(mark, f"the alias *{event.anchor} is not allowed; write the value itself{hint}")
        return
    if event.anchor:
        said = f"the anchor &{event.anchor} is not allowed; write the value itself where it is needed{hint}"
        yield fault_at(mark, said)
    if event.tag:
        yield fault_at(mark, f"the tag {event.tag} is not allowed; write the value without a tag{hint}")


def _marked(error: yaml.MarkedYAMLError, text: str) -> YamlFault:
    """Return the fault of a text that is not YAML, with what to write where a value lacks its quotes."""
    said = "not YAML: " + " ".join(part for part in (error.context, error.problem) if part)
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return YamlFault(line=1, column=1, message=said)
    if text[mark.index : mark.index + 1] == "\t":
        return fault_at(mark, "not YAML: a tab is not allowed here; indent with spaces")
    for place in (error.context_mark, mark):
        if place is not None and (quoted := _quoted(text, place)):
            return fault_at(place, f"not YAML: put the value in quotes: {quoted}")
    return _commented(error, text) or fault_at(mark, said)


def _quoted(text: str, mark: Any) -> str:
    """Return the value at a mark in quotes, if its unquoted sign has a meaning in YAML; empty otherwise."""
    before = _BEFORE.search(text[max(0, mark.index - _SEARCHED_MAX) : mark.index])
    behind = _BEHIND.match(text[mark.index : mark.index + _SEARCHED_MAX])
    begin, end = before[0] if before else "", behind[0] if behind else ""
    is_directive = end[:1] == "%" and mark.column == 0
    if not end or (end[0] == "[" and not begin) or is_directive:
        return ""
    more = " …" if _GOES_ON.match(text, mark.index + len(end)) else ""
    return json.dumps((begin + end).rstrip(":") + more, ensure_ascii=False)


def _commented(error: yaml.MarkedYAMLError, text: str) -> YamlFault | None:
    """Return the fault of a value that begins with ``#`` in braces or brackets: the end of its line is hidden."""
    if error.context_mark is None or error.problem_mark is None or "flow" not in (error.context or ""):
        return None
    end = error.problem_mark.index
    last_line = text.rfind("\n", 0, len(text[:end].rstrip())) + 1  # the mark may be after it
    found = _COMMENTED.search(text, min(error.context_mark.index, last_line), end)
    if found is None:
        return None
    line, column = _place_behind(text[: found.start(1)])
    value = json.dumps(found[1], ensure_ascii=False)
    said = f"not YAML: # begins a comment, which hides the rest of the line; put the value in quotes: {value}"
    return YamlFault(line=line, column=column, message=said)


def _forbidden(error: yaml.reader.ReaderError, text: str) -> YamlFault:
    """Return the fault of a character that YAML forbids. libyaml counts bytes."""
    line, column = _place_behind(text.encode()[: error.position].decode(errors="ignore"))
    code = error.character if isinstance(error.character, int) else ord(error.character)
    said = f"the character U+{code:04X} is not allowed in YAML; remove it"
    return YamlFault(line=line, column=column, message=said)


def _place_behind(before: str) -> tuple[int, int]:
    """Return the line and the column of what follows a text, both from 1."""
    return before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1
