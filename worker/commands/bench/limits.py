"""The figures, and the sentence that says what limits the worker and what to change. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

HINDERED = 0.75
"""Below this share of the slowest stage's speed, all stages together are slowed by something that they share."""

DISTURBED = 1.5
"""Above this multiple of the slowest stage's speed, the measurement of that stage was disturbed."""

OVERHEAD = 0.3
"""Larger batches are worth a trial if more than this share of a batch's time does not depend on its size."""

BUSY = 0.7
"""A second process on the machine gains nothing if a stage keeps more than this share of the CPUs busy."""


class Limit(StrEnum):
    """What limits the worker."""

    DEVICE = "device"
    OVERHEAD = "overhead of a batch"
    SHARED = "what the stages share"
    PREPARING = "preparing"
    JUDGING = "judging"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRate:
    """The speed of one stage while no other stage ran. All figures are medians over batches.

    Attributes:
        name: The stage.
        messages_per_s: Messages per second.
        batch_messages: Messages in a batch.
        batch_tokens: Tokens to score in a batch. Equal texts are scored once. 0 for a stage that scores nothing.
        batch_ms: Time for a batch, in milliseconds.
        cpus_busy: CPU time of all threads divided by the elapsed time: 1.5 means one CPU and a half.
    """

    name: str
    messages_per_s: float
    batch_messages: float
    batch_tokens: float
    batch_ms: float
    cpus_busy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Everything that was measured.

    Attributes:
        prepared: The stage that decodes and tokenises.
        judged: The stage that judges and encodes.
        device: The model with growing batches, at least one entry.
        long_texts: The model with texts that fill one window, and all windows.
        messages_per_s: Messages per second of all stages together.
        tokens_mean: Mean number of tokens of a text.
        texts: Number of texts.
        texts_different: Number of different texts.
        on_cpu: Whether the model runs on the CPU.
        cpus: Number of CPUs that the process may use.
        records_max: Largest number of messages in a batch.
        tokens_max: Largest number of tokens in a batch.
        dtype_hint: The classifier's sentence about ``WORKER_MODEL__DTYPE``; empty if it has none.
    """

    prepared: StageRate
    judged: StageRate
    device: Sequence[StageRate]
    long_texts: Sequence[StageRate]
    messages_per_s: float
    tokens_mean: float
    texts: int
    texts_different: int
    on_cpu: bool
    cpus: int
    records_max: int
    tokens_max: int
    dtype_hint: str

    @property
    def full(self) -> StageRate:
        """The device with the largest batches."""
        return self.device[-1]

    @property
    def slowest(self) -> StageRate:
        """The slowest of the three stages."""
        return min(self.full, self.prepared, self.judged, key=lambda stage: stage.messages_per_s)


def figure(value: float) -> str:
    """Return the number with three digits, or more before the decimal point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004


def fixed_share(device: Sequence[StageRate]) -> float:
    """Return the share of the largest batch's time that an empty batch would take, by a line through two sizes."""
    *_, full = device
    smaller = [stage for stage in device if stage.batch_tokens < full.batch_tokens]
    if not smaller:
        return 0.0
    token_ms = (full.batch_ms - smaller[-1].batch_ms) / (full.batch_tokens - smaller[-1].batch_tokens)
    return min(1.0, max(0.0, 1 - token_ms * full.batch_tokens / full.batch_ms))


def limit_of(figures: Figures) -> Limit:
    """Return what limits the worker: the slowest stage, unless all stages together are much slower."""
    if figures.messages_per_s < HINDERED * figures.slowest.messages_per_s:
        return Limit.SHARED
    if figures.slowest is figures.full:
        return Limit.OVERHEAD if fixed_share(figures.device) > OVERHEAD else Limit.DEVICE
    return Limit.PREPARING if figures.slowest is figures.prepared else Limit.JUDGING


def advice(figures: Figures) -> list[str]:
    """Return the sentence about what limits the worker and what to change, then other advice."""
    limit = limit_of(figures)
    sentences = [_sentence(limit, figures)]
    if figures.messages_per_s > DISTURBED * figures.slowest.messages_per_s:
        sentences.append(
            f"All stages together did {figure(figures.messages_per_s)} messages/s, more than the slowest alone. "
            "So other work on this machine disturbed a measurement. Measure again while this machine is idle, or "
            "for longer (--seconds)."
        )
    if figures.dtype_hint and limit not in {Limit.PREPARING, Limit.JUDGING}:
        sentences.append(f"Try this: {figures.dtype_hint}.")
    return sentences


def _sentence(limit: Limit, figures: Figures) -> str:
    full, cpus, device = figures.full, figures.cpus, f"the device {figure(figures.full.messages_per_s)}"
    alone = f"{figure(figures.slowest.messages_per_s)} messages/s"
    scored = f"{alone}; a batch of {full.batch_tokens:,.0f} tokens takes {full.batch_ms:,.1f} ms"
    match limit:
        case Limit.DEVICE:
            more = "more CPUs, a GPU, or workers on other machines" if figures.on_cpu else "one worker per device"
            return f"The device limits the worker: {scored}. More workers on this device gain nothing. Use {more}."
        case Limit.OVERHEAD:
            bound = f"TOKENS_MAX, now {figures.tokens_max}"
            if full.batch_messages >= figures.records_max:
                bound = f"RECORDS_MAX, now {figures.records_max}"
            share = f"{fixed_share(figures.device):.0%} of it does not depend on the batch's size"
            return f"The device limits the worker: {scored}, and {share}. Raise WORKER_BATCH__{bound}."
        case Limit.SHARED:
            change = f"They share one Python process and {cpus} CPUs. Try a second worker on this device."
            if figures.on_cpu:
                change = f"They share {cpus} CPUs with the model. Give the worker more CPUs, or a GPU."
            together = figure(figures.messages_per_s)
            return (
                f"The stages slow each other: the slowest alone does {alone}, all together do {together}. {change}"
            )
        case Limit.PREPARING:
            busy = figures.prepared.cpus_busy
            change = "Try a second worker on this device, which uses the other CPUs."
            if busy > BUSY * cpus:
                change = "Give the worker more CPUs. Without more CPUs a second worker gains nothing."
            return (
                f"Preparing limits the worker: {alone}, {device}. It keeps {busy:.1f} of {cpus} CPUs busy. {change}"
            )
        case Limit.JUDGING:
            return (
                f"Judging limits the worker: {alone} on one thread, {device}. Try a second worker on this device."
            )
