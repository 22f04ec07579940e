"""The figures, and what follows from them: what limits the worker and what to change. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

HINDERED = 0.75
"""Below this share of the slowest stage's speed, all stages together are slowed by something that they share."""
DISTURBED = 1.5
"""Above this multiple of the slowest stage's speed, the measurement of that stage was disturbed."""

PREPARING, DEVICE, JUDGING = "decode and tokenise", "device, full batches", "judge and encode"
TOGETHER = "all together, as in the worker"
SHARED, UNKNOWN = "what the stages share", "unknown"

ADVICE = {
    PREPARING: "Preparing limits the worker. Try a second worker on this device. If no CPU is idle, give the "
    "worker more CPUs instead.",
    DEVICE: "The device limits the worker. More workers on this device gain nothing. Use one worker per GPU. "
    "If the device is a CPU, use more CPUs, a GPU, or workers on other machines.",
    JUDGING: "Judging limits the worker, which does it on one thread. Try a second worker on this device.",
    SHARED: "The stages slow each other, because they share one Python process and its CPUs. Give the worker "
    "more CPUs. If the device is a GPU, try a second worker on it.",
    UNKNOWN: "All stages together were faster than the slowest stage alone. So other work on this machine "
    "disturbed a measurement, or the file of --texts has fewer texts than a batch. Measure again while this "
    "machine is idle, for longer (--seconds), or with more texts.",
}
"""What to change, by what limits the worker."""


@dataclass(frozen=True, slots=True)
class StageRate:
    """The speed of a stage.

    Attributes:
        name: What the stage does.
        messages_per_s: Messages per second.
        tokens_mean: Mean number of tokens of a message.
    """

    name: str
    messages_per_s: float
    tokens_mean: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Everything that was measured.

    Attributes:
        stages: ``PREPARING``, ``DEVICE`` and ``JUDGING``, each while no other stage ran.
        long_texts: The device with texts that fill one window, and all windows.
        together: All stages together.
        texts: Number of texts.
        texts_different: Number of different texts.
        records_max: Largest number of messages in a batch.
        tokens_max: Largest number of tokens in a batch.
        batch_messages: Messages in a full batch.
        batch_ms: Time of the device for a full batch, in milliseconds.
    """

    stages: Sequence[StageRate]
    long_texts: Sequence[StageRate]
    together: StageRate
    texts: int
    texts_different: int
    records_max: int
    tokens_max: int
    batch_messages: float
    batch_ms: float


def limit_of(figures: Figures) -> str:
    """Return a key of ``ADVICE``: the slowest stage, unless all stages together are much slower or faster."""
    slowest = min(figures.stages, key=lambda stage: stage.messages_per_s)
    speed = figures.together.messages_per_s / slowest.messages_per_s
    if speed < HINDERED:
        return SHARED
    return UNKNOWN if speed > DISTURBED else slowest.name


def figure(value: float) -> str:
    """Return the number with three digits, or more before the decimal point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004
