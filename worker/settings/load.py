"""Read the settings, and report every fault together.

There are three places: the environment wins over the folder of secrets, and the folder wins over ``.env`` in the
working directory. Names are upper case. A secret's file has the name in lower case, without the prefix. An empty
value counts as unset, because compose files pass empty values for unset variables. A group as one JSON
(``WORKER_KAFKA={...}``) is an unknown name: each setting has one spelling. ``.env`` may refer to another variable:
``${NAME}``.
"""

import re
import socket
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    NestedSecretsSettingsSource,
    SecretsSettingsSource,
    SettingsError,
)

from worker.errors import ConfigurationError, not_utf8
from worker.settings.combinations import invalid_combinations
from worker.settings.exporters import Exporters, exporters_of
from worker.settings.groups import (
    CHARACTERS_PER_TOKEN_MAX,
    GROUPS,
    SECRETS,
    VARIABLES,
    WINDOW_OVERLAP_TOKENS,
    Settings,
    shown,
)
from worker.settings.logins import login_warnings
from worker.settings.wants import wants

SECRETS_DIR = "WORKER_SECRETS_DIR"

# Longest part of a wrong value in a fault, in characters.
_SHOWN_MAX = 80

# Kubernetes sets these in every pod of a namespace with a Service called worker.
_INJECTED = ("WORKER_SERVICE_", "WORKER_PORT")


class Origin(StrEnum):
    """The place that a value came from."""

    ENVIRONMENT = "environment"
    SECRETS = "secrets folder"
    DOTENV = ".env"
    DEFAULT = "default"


class Need(StrEnum):
    """A variable that a command requires."""

    KAFKA = "WORKER_KAFKA__BOOTSTRAP_SERVERS"
    MODEL = "WORKER_MODEL__PATH"


_WANTED = {Need.KAFKA: "host:port, several separated by commas", Need.MODEL: "a local folder, a hub name, or demo"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSettings:
    """Valid settings, and where they came from.

    Attributes:
        settings: The values.
        exporters: Where metrics and traces go.
        origins: Place of each variable that was given.
        warnings: Lines for the log.
    """

    settings: Settings
    exporters: Exporters
    origins: Mapping[str, Origin]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    texts: Mapping[str, str]
    origins: Mapping[str, Origin]
    faults: tuple[str, ...]
    warnings: tuple[str, ...]


def load_settings(
    environ: Mapping[str, str], needs: AbstractSet[Need] = frozenset(), directory: Path = Path()
) -> LoadedSettings:
    """Read and check the settings.

    Args:
        environ: The environment, with a command's options added. It wins over the other places.
        needs: Variables that must be set.
        directory: Folder of ``.env``.

    Raises:
        ConfigurationError: The message has a line for each fault; no line holds a secret.
    """
    given = _read(environ, directory)
    settings, wrong = _validated(given.texts)
    faults = [*given.faults]
    right = VARIABLES.keys() - wrong.keys()
    faults += [
        _fault(variable, _got(variable, given.texts[variable]), _with_values(wants, settings, right))
        for variable, wants in wrong.items()
    ]
    faults += [
        _fault(need, shown(None), _WANTED[need]) for need in Need if need in needs and need not in given.texts
    ]
    faults += [
        _fault(
            found.variable,
            found.got or shown(settings.value(found.variable)),
            _with_values(found.wants, settings, right),
        )
        for found in invalid_combinations(settings)
        if not wrong.keys() & {found.variable, *found.others}
    ]
    exporters, amiss = exporters_of(environ, health_port=settings.health.port)
    faults += [_fault(one.variable, shown(environ.get(one.variable)), one.wants) for one in amiss]
    if faults:
        raise ConfigurationError("\n".join(faults))
    return LoadedSettings(
        settings=_completed(settings),
        exporters=exporters,
        origins=given.origins,
        warnings=(*given.warnings, *login_warnings(settings.kafka)),
    )


def _read(environ: Mapping[str, str], directory: Path) -> _Given:
    """Read the three places, without checking the values."""
    faults: list[str] = []
    warnings: list[str] = []
    dotenv: Mapping[str, str | None] = {}
    secrets: Mapping[str, str | None] = {}
    try:
        dotenv = DotEnvSettingsSource(BaseSettings, env_file=directory / ".env", case_sensitive=True).env_vars
    except UnicodeDecodeError as error:
        line, column, said = not_utf8(error)
        faults.append(f".env:{line}:{column}: {said}")
    except OSError:
        faults.append(_fault(".env", "a file that can't be read", "text in UTF-8, with permission to read it"))
    folder = environ.get(SECRETS_DIR) or dotenv.get(SECRETS_DIR)
    try:
        secrets = NestedSecretsSettingsSource(
            SecretsSettingsSource(BaseSettings, secrets_dir=folder or None),
            secrets_dir_missing="error",
            secrets_case_sensitive=True,
        ).env_vars
    except (OSError, UnicodeDecodeError, SettingsError):
        faults.append(
            _fault(SECRETS_DIR, repr(folder), "a folder of small UTF-8 files, with permission to read them")
        )
    faults += [_unknown(name) for name in {**dotenv, **environ} if _is_unknown(name)]
    names = {variable.removeprefix("WORKER_").lower(): variable for variable in VARIABLES}
    warnings += [f"{SECRETS_DIR}: no setting knows the file {name!r}" for name in secrets if name not in names]
    known = {names[name]: text for name, text in secrets.items() if name in names}
    texts: dict[str, str] = {}
    origins: dict[str, Origin] = {}
    for origin, place in ((Origin.DOTENV, dotenv), (Origin.SECRETS, known), (Origin.ENVIRONMENT, environ)):
        found = {variable: text for variable in VARIABLES if (text := place.get(variable))}
        texts |= found
        origins |= dict.fromkeys(found, origin)
    return _Given(texts=texts, origins=origins, faults=tuple(faults), warnings=tuple(warnings))


def _is_unknown(name: str) -> bool:
    """Return whether the name is unknown. A known name in other letters would be ignored, so it counts."""
    if name in VARIABLES or name == SECRETS_DIR or name.startswith(_INJECTED):
        return False
    return name.startswith("WORKER_") or name.upper() in {*VARIABLES, SECRETS_DIR}


def _unknown(name: str) -> str:
    wants = "a name that `moderation-worker config` lists"
    if near := get_close_matches(name.upper(), [*VARIABLES, SECRETS_DIR], n=1, cutoff=0.85):
        wants = near[0]
    elif re.search("_SERVICE_(HOST|PORT)|_PORT(_|$)", name):
        wants += "; where Kubernetes injects it for a Service, enableServiceLinks: false"
    # The value of a misspelt name may be a secret.
    return _fault(name, "a name that no setting has", wants)


def _validated(texts: Mapping[str, str]) -> tuple[Settings, dict[str, str]]:
    """Return the settings, with defaults for wrong values, and what each wrong variable wants."""
    try:
        return Settings.model_validate(_nested(texts)), {}
    except ValidationError as error:
        wrong = dict(_wants(error))
    right = {variable: text for variable, text in texts.items() if variable not in wrong}
    return Settings.model_validate(_nested(right)), wrong


def _nested(texts: Mapping[str, str]) -> dict[str, dict[str, str]]:
    groups: dict[str, dict[str, str]] = {}
    for variable, text in texts.items():
        group, field = VARIABLES[variable]
        groups.setdefault(group, {})[field] = text
    return groups


def _wants(error: ValidationError) -> Iterator[tuple[str, str]]:
    """Yield each variable that is wrong, and what it wants."""
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        group, field = map(str, fault["loc"][:2])
        schema = GROUPS[group].model_json_schema()["properties"][field]
        # The message of a ValueError is a sentence of ``values``. pydantic's own message lists the allowed words.
        of_schema = "" if fault["type"] == "value_error" else wants(schema)
        message = re.sub("^(Value error, |Input should be )", "", fault["msg"])
        yield f"WORKER_{group}__{field}".upper(), of_schema or message


def _got(variable: str, text: str) -> str:
    if variable in SECRETS:
        return "a value that is not shown"
    return repr(text) if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]!r}..."


def _fault(variable: str, got: str, wants: str) -> str:
    return f"{variable}: got {got}; wants {wants}"


def _with_values(text: str, settings: Settings, right: AbstractSet[str]) -> str:
    """Add the value after each variable in the text that has none."""

    def named(match: re.Match[str]) -> str:
        variable = match[0]
        return f"{variable} ({shown(settings.value(variable)).strip('()')})" if variable in right else variable

    return re.sub(r"\bWORKER_[A-Z]+__[A-Z_]+\b(?!=|, [0-9]| \()", named, text)


def _completed(settings: Settings) -> Settings:
    """Fill the defaults that depend on other settings."""
    transactional_id = settings.kafka.transactional_id or f"{settings.kafka.group_id}.{socket.gethostname()}"
    characters_max = settings.input.characters_max or CHARACTERS_PER_TOKEN_MAX * settings.model.tokens_max
    overlap = settings.text.window_overlap_tokens
    if overlap is None:
        overlap = min(WINDOW_OVERLAP_TOKENS, settings.model.tokens_max // 4)
    text = settings.text.model_copy(update={"window_overlap_tokens": overlap})
    kafka = settings.kafka.model_copy(update={"transactional_id": transactional_id})
    limits = settings.input.model_copy(update={"characters_max": characters_max})
    return settings.model_copy(update={"kafka": kafka, "input": limits, "text": text})
