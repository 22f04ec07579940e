"""Load shape files and envelope files: the built-in ones by name, and a team's own by path."""

import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from worker.errors import ConfigurationError
from worker.moderation.shapes.shape_file import Envelope, Shape, contradictions
from worker.moderation.yaml_document import near, read_yaml, validated
from worker.moderation.yaml_events import YamlFaults

_Model = TypeVar("_Model", bound=BaseModel)

_SHAPES = files("worker.moderation") / "shapes"
_ENVELOPES = files("worker.moderation") / "envelopes"
_SUFFIX = ".yaml"
_FILE_BYTES_MAX = 2**20


def builtin_shapes() -> tuple[str, ...]:
    """Return the names of the built-in shapes, in order."""
    return _names(_SHAPES)


def builtin_envelopes() -> tuple[str, ...]:
    """Return the names of the envelopes, in order."""
    return _names(_ENVELOPES)


def shape_source(name: str) -> str:
    """Return the file of a built-in shape, as text.

    Raises:
        ConfigurationError: No built-in shape has this name.
    """
    _known("a built-in shape", name, builtin_shapes())
    return (_SHAPES / f"{name}{_SUFFIX}").read_text(encoding="utf-8")


def load_shape(name_or_path: str) -> Shape:
    """Return a built-in shape, or the shape in a file.

    Args:
        name_or_path: A name; or a path, which has a slash or ends with .yaml or .yml.

    Raises:
        ConfigurationError: The name is unknown, or the file is wrong. The message has a line for each fault, with
            file, line and column.
    """
    if not is_path(name_or_path):
        _known("a built-in shape", name_or_path, builtin_shapes(), " or the path of a YAML file")
        return _parsed(Shape, shape_source(name_or_path), name_or_path + _SUFFIX)
    try:
        with Path(name_or_path).open("rb") as file:
            content = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(
            f"the shape file {name_or_path} can't be read ({error.strerror}): name a YAML file"
        ) from error
    if len(content) > _FILE_BYTES_MAX:
        raise ConfigurationError(f"the shape file {name_or_path} has more than {_FILE_BYTES_MAX} bytes; shorten it")
    return _parsed(Shape, content, name_or_path)


def load_envelope(name: str) -> Envelope:
    """Return an envelope.

    Raises:
        ConfigurationError: No envelope has this name.
    """
    _known("an envelope", name, builtin_envelopes())
    source = (_ENVELOPES / f"{name}{_SUFFIX}").read_text(encoding="utf-8")
    return _parsed(Envelope, source, name + _SUFFIX)


def is_path(name_or_path: str) -> bool:
    """Return whether a shape is named by the path of its file."""
    return "/" in name_or_path or re.search(r"\.ya?ml$", name_or_path) is not None


def parse_shape(text: str, file: str) -> Shape:
    """Return the shape in a text.

    Args:
        text: The content of a shape file.
        file: The file's name, for the errors.

    Raises:
        ConfigurationError: The text is wrong, as in ``load_shape``.
    """
    return _parsed(Shape, text, file)


def _parsed(model: type[_Model], content: str | bytes, file: str) -> _Model:
    try:
        document = read_yaml(content)
        whole = contradictions(document.data) if model is Shape else ()
        return validated(model, document, [document.fault(path, message) for path, message in whole])
    except YamlFaults as error:
        raise error.configuration_error(file) from None


def _names(folder: Traversable) -> tuple[str, ...]:
    found = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in found if name.endswith(_SUFFIX)))


def _known(what: str, name: str, names: tuple[str, ...], others: str = "") -> None:
    if name not in names:
        listed = f"{', '.join(names)}{',' if others else ''}{others}"
        raise ConfigurationError(f"{name!r} is not the name of {what}{near(name, names)}; wants one of {listed}")
