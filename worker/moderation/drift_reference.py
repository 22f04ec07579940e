"""The drift reference: how the scores of each category were distributed, to compare later scores with. Pure.

`moderation-worker calibrate` writes the file, and the worker reads it. Scores can only be compared with scores of
the same model and of the same parts of a text. So the file names both, and the worker refuses a file that differs.

The dtype is not compared: float32 and bfloat16 give almost the same distribution, and people calibrate on a CPU and
run on a GPU. The version of the worker is not compared either: a new rule of the plain view changes few texts.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.labels import CATEGORY_SLUGS
from worker.errors import ConfigurationError
from worker.moderation.markup import Markup

REFERENCE_BYTES_MAX = 2**20
"""Largest size of a file. A file of twelve categories with ten edges has 8 kB."""
_VARIABLE = "WORKER_DRIFT__REFERENCE"
_WRITE_ANEW = "write a new file with `moderation-worker calibrate --reference`, with the settings of the worker"


class ReferencePart(BaseModel):
    """A part of the file. Readers must ignore fields that they do not know."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, populate_by_name=True)


class ScoreBins(ReferencePart):
    """The scores of one category in bins."""

    edges: list[float] = Field(min_length=1)
    """Where one bin ends and the next begins, ascending. A score that equals an edge is in the lower bin."""
    counts: list[Annotated[int, Field(ge=0)]]
    """How many texts are in each bin: one number more than edges."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.edges != sorted(set(self.edges)):
            raise ValueError("the edges must ascend")
        if len(self.counts) != len(self.edges) + 1:
            raise ValueError("there must be one count more than edges")
        return self


class ReferenceModel(ReferencePart):
    """The model that scored."""

    name: str
    """The model's name on the hub, or its folder's name."""
    revision: str
    """The first 16 digits of the digest of the model's files."""
    dtype: str
    """float32 or bfloat16."""


class ReferenceText(ReferencePart):
    """The settings that decide which parts of a text are scored."""

    tokens_max: int
    """WORKER_MODEL__TOKENS_MAX."""
    characters_max: int
    """WORKER_INPUT__CHARACTERS_MAX."""
    views: list[str]
    """WORKER_TEXT__VIEWS."""
    windows_max: int
    """WORKER_TEXT__WINDOWS_MAX."""
    window_overlap_tokens: int
    """WORKER_TEXT__WINDOW_OVERLAP_TOKENS."""
    markup: Markup
    """The markup of the shape that WORKER_INPUT__SHAPE names."""


def _has_all(categories: dict[str, ScoreBins]) -> dict[str, ScoreBins]:
    if missing := [slug for slug in CATEGORY_SLUGS if slug not in categories]:
        raise ValueError(f"no bins of {', '.join(missing)}")
    return categories


class DriftReference(ReferencePart):
    """What `moderation-worker calibrate --reference FILE` writes: score histograms of each category."""

    schema_: Literal["drift-reference/1"] = Field(alias="schema")
    """The layout of this document."""
    model: ReferenceModel
    """The model that scored. Scores of another model have another distribution."""
    text: ReferenceText
    """The settings of the text. With other views or windows, scores have another distribution."""
    texts: int = Field(ge=1)
    """How many texts were scored."""
    categories: Annotated[dict[str, ScoreBins], AfterValidator(_has_all)]
    """The bins of each category, by slug."""

    @model_validator(mode="after")
    def _counts_all_texts(self) -> Self:
        wrong = [slug for slug, bins in self.categories.items() if sum(bins.counts) != self.texts]
        if wrong:
            raise ValueError(f"the counts of {', '.join(wrong)} are not those of {self.texts} texts")
        return self

    def require(self, *, revision: str, text: ReferenceText) -> None:
        """Refuse a reference that was made with another model or with other settings of the text.

        Args:
            revision: Revision of the model that scores now.
            text: The settings that decide now which parts of a text are scored.

        Raises:
            ConfigurationError: The reference does not fit.
        """
        if self.model.revision != revision:
            raise ConfigurationError(
                f"{_VARIABLE}: the file was made with the revision {self.model.revision} of {self.model.name}, and "
                f"this worker runs the revision {revision}. Scores of two models cannot be compared: {_WRITE_ANEW}."
            )
        now = text.model_dump()
        differing = [
            f"{name} {made} in the file, {now[name]} now"
            for name, made in self.text.model_dump().items()
            if made != now[name]
        ]
        if differing:
            raise ConfigurationError(
                f"{_VARIABLE}: the file was made with other settings of the text ({'; '.join(differing)}): "
                f"{_WRITE_ANEW}."
            )


def read_reference(path: str) -> DriftReference:
    """Return the reference in a file.

    Raises:
        ConfigurationError: The file cannot be read, or it is not a drift reference.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(REFERENCE_BYTES_MAX + 1)
    except OSError as error:
        raise _refused(path, f"the file cannot be read: {error.strerror}") from error
    if len(content) > REFERENCE_BYTES_MAX:
        raise _refused(path, f"the file has more than {REFERENCE_BYTES_MAX} bytes")
    try:
        return DriftReference.model_validate_json(content)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise _refused(path, f"{place}: {fault['msg']}" if place else fault["msg"]) from None


def _refused(path: str, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"{_VARIABLE}: got {path!r}; wants a file that `moderation-worker calibrate --reference` wrote ({reason})"
    )
