"""The report of `calibrate`: the chosen thresholds, and their effect on texts that were held out. Pure."""

from typing import Literal

from pydantic import Field

from worker.commands.evaluate.evaluation_report import DecidingPolicyJson, ScoringModelJson
from worker.commands.evaluate.figures import LabelFigures, ReportPart


class TargetJson(ReportPart):
    """What the thresholds had to reach. One of the two is null."""

    false_alarms: float | None
    """Largest share of the texts without the label that may be flagged."""
    precision: float | None
    """Lowest share of the flagged texts that must have the label."""
    positives_min: int
    """Fewest positives; a category with fewer keeps its threshold."""


class CalibrationSplit(ReportPart):
    """How the texts were split. No group has texts in both parts."""

    chosen_on: int
    """Texts that the thresholds were chosen on."""
    held_out: int
    """Texts that show the effect."""
    groups: int
    """Groups of texts: equal texts, and texts to which the file gives the same group."""
    seed: int
    """The seed of the split."""


class ThresholdInterval(ReportPart):
    """A chosen threshold with its 95 % interval."""

    value: float = Field(ge=0, le=1)
    """The threshold."""
    low: float = Field(ge=0, le=1)
    """Lower limit: a Wilson interval for the threshold whose true rate is the target."""
    high: float = Field(ge=0, le=1)
    """Upper limit."""


class CalibratedRow(ReportPart):
    """One category in one language."""

    category: str
    """A category's slug; default: all categories, if the file says of texts only whether they are unsafe."""
    language: str | None
    """The language; null: all texts."""
    before: float | None
    """The threshold in force; null: off, or it differs by language."""
    chosen: ThresholdInterval | None
    """The new threshold; null: the threshold in force is kept."""
    kept_because: str | None
    """Why the threshold in force is kept; null: there is a new one."""
    held_out_before: LabelFigures
    """Figures of the held-out texts with the policy in force."""
    held_out_after: LabelFigures
    """Figures of the held-out texts with the policy that was written."""


class CalibrationReport(ReportPart):
    """What `moderation-worker calibrate FILE --json REPORT` writes."""

    schema_: Literal["calibration/1"] = Field(alias="schema")
    """The layout of this document."""
    file: str
    """The name of the file of labelled texts."""
    format: str
    """The format of the file."""
    model: ScoringModelJson
    """The model that scored."""
    policy: DecidingPolicyJson
    """The policy in force."""
    target: TargetJson
    """What the thresholds had to reach."""
    split: CalibrationSplit
    """How the texts were split."""
    not_scored: dict[str, int]
    """Texts that could not be scored, by the reason of their dead letter. They count nowhere."""
    notes: list[str]
    """What else changed in the policy."""
    rows: list[CalibratedRow]
    """First all texts, then each language."""
