"""The figures, and what follows from them: what limits the worker and what to change. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

HINDERED = 0.75
"""Below this share of the slowest stage's speed, all stages together are slowed by something that they share."""
DISTURBED = 1.5
"""Above this multiple of the slowest stage's speed, the measurement of that stage was disturbed."""


class Limit(StrEnum):
    """What limits the worker."""

    DEVICE = "device"
    SHARED = "what the stages share"
    PREPARING = "preparing"
    JUDGING = "judging"
    UNKNOWN = "unknown"


ADVICE = {
    Limit.DEVICE: "The device limits the worker. More workers on this device gain nothing. Use one worker per GPU. "
    "If the device is a CPU, use more CPUs, a GPU, or workers on other machines.",
    Limit.SHARED: "The stages slow each other, because they share one Python process and its CPUs. Give the worker "
    "more CPUs. If the device is a GPU, try a second worker on it.",
    Limit.PREPARING: "Preparing limits the worker. Try a second worker on this device. If no CPU is idle, give the "
    "worker more CPUs instead.",
    Limit.JUDGING: "Judging limits the worker, which does it on one thread. Try a second worker on this device.",
    Limit.UNKNOWN: "All stages together were faster than the slowest stage alone. So other work on this machine "
    "disturbed a measurement, or the file of --texts has fewer texts than a batch. Measure again while this "
    "machine is idle, for longer (--seconds), or with more texts.",
}
"""What limits the worker, and what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRate:
    """The speed of one stage while no other stage ran.

    Attributes:
        messages_per_s: Messages per second.
        tokens_mean: Mean number of tokens of a message.
        batch_messages: Messages in a batch.
        batch_ms: Time for a batch, in milliseconds.
    """

    messages_per_s: float
    tokens_mean: float
    batch_messages: float
    batch_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Everything that was measured.

    Attributes:
        prepared: The stage that decodes and tokenises.
        device: The model with full batches.
        judged: The stage that judges and encodes.
        long_texts: The model with texts that fill one window, and all windows.
        messages_per_s: Messages per second of all stages together.
        texts: Number of texts.
        texts_different: Number of different texts.
        records_max: Largest number of messages in a batch.
        tokens_max: Largest number of tokens in a batch.
    """

    prepared: StageRate
    device: StageRate
    judged: StageRate
    long_texts: Sequence[StageRate]
    messages_per_s: float
    texts: int
    texts_different: int
    records_max: int
    tokens_max: int


def limit_of(figures: Figures) -> Limit:
    """Return what limits the worker: the slowest stage, unless all stages together are much slower or faster."""
    stages = {Limit.PREPARING: figures.prepared, Limit.DEVICE: figures.device, Limit.JUDGING: figures.judged}
    slowest = min(stages, key=lambda limit: stages[limit].messages_per_s)
    speed = figures.messages_per_s / stages[slowest].messages_per_s
    if speed < HINDERED:
        return Limit.SHARED
    return Limit.UNKNOWN if speed > DISTURBED else slowest


def figure(value: float) -> str:
    """Return the number with three digits, or more before the decimal point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004
