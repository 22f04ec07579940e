"""The figures, and the sentence that says what limits the worker and what to change. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

HINDERED = 0.75
"""All stages together below this share of the slowest stage: they are slowed by something that they share."""

DISTURBED = 1.5
"""All stages together above this multiple of the slowest stage: the measurement of that stage was disturbed."""

OVERHEAD = 0.3
"""Share of a batch's time that does not depend on its size, from which larger batches are worth trying."""

BUSY = 0.7
"""Share of the CPUs that a stage keeps busy, from which a second process on the machine gains nothing."""


class Limit(StrEnum):
    """What limits the worker."""

    DEVICE = "device"
    OVERHEAD = "overhead of a batch"
    SHARED = "what the stages share"
    PREPARING = "preparing"
    JUDGING = "judging"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRate:
    """The speed of one stage while nothing else ran. All figures are medians over batches.

    Attributes:
        name: The stage.
        messages_per_s: Messages a second.
        batch_messages: Messages of a batch.
        batch_tokens: Tokens to score of a batch, those of equal texts once; 0 where nothing is scored.
        batch_ms: Time for a batch.
        cpus_busy: CPU time of all threads, as a share of the time: 1.5 is one CPU and a half.
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
        prepared: Decoding and tokenising.
        judged: Judging and encoding.
        device: The model with growing batches, at least one row.
        messages_per_s: Messages a second with all stages together.
        tokens_mean: Tokens of a text in the mean.
        texts: Number of texts.
        texts_different: Number of different texts.
        on_cpu: Whether the model runs on the CPU.
        cpus: Number of CPUs that the process may use.
        records_max: Most messages of a batch.
        tokens_max: Most tokens of a batch.
        dtype_hint: The classifier's sentence about ``WORKER_MODEL__DTYPE``; empty if it has none.
    """

    prepared: StageRate
    judged: StageRate
    device: Sequence[StageRate]
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
    """Return the share of the largest batch's time that an empty batch would take: two sizes make a line."""
    *_, full = device
    smaller = [stage for stage in device if stage.batch_tokens < full.batch_tokens]
    if not smaller:
        return 0.0
    token_ms = (full.batch_ms - smaller[-1].batch_ms) / (full.batch_tokens - smaller[-1].batch_tokens)
    return min(1.0, max(0.0, 1 - token_ms * full.batch_tokens / full.batch_ms))


def limit_of(figures: Figures) -> Limit:
    """Return what limits: the slowest stage, unless all stages together are much slower than that stage."""
    if figures.messages_per_s < HINDERED * figures.slowest.messages_per_s:
        return Limit.SHARED
    if figures.slowest is figures.full:
        return Limit.OVERHEAD if fixed_share(figures.device) > OVERHEAD else Limit.DEVICE
    return Limit.PREPARING if figures.slowest is figures.prepared else Limit.JUDGING


def advice(figures: Figures) -> list[str]:
    """Return first the sentence about what limits and what to change, then other sentences worth reading."""
    limit = limit_of(figures)
    sentences = [_sentence(limit, figures)]
    if figures.messages_per_s > DISTURBED * figures.slowest.messages_per_s:
        sentences.append(
            f"The worker did {figure(figures.messages_per_s)} messages/s with all stages together: other work "
            "disturbed the measurement of the single stages. Measure again while this machine is quiet, or for "
            "longer (--seconds)."
        )
    if figures.dtype_hint and limit not in {Limit.PREPARING, Limit.JUDGING}:
        sentences.append(f"Worth trying: {figures.dtype_hint}.")
    return sentences


def _sentence(limit: Limit, figures: Figures) -> str:
    full, cpus, device = figures.full, figures.cpus, f"the device {figure(figures.full.messages_per_s)}"
    alone = f"{figure(figures.slowest.messages_per_s)} messages/s"
    scored = f"{alone}; a batch of {full.batch_tokens:,.0f} tokens takes {full.batch_ms:,.1f} ms"
    match limit:
        case Limit.DEVICE:
            more = "more CPUs, a GPU, or workers on other machines" if figures.on_cpu else "one worker per device"
            return f"The device limits: {scored}. More workers on this device gain nothing. Use {more}."
        case Limit.OVERHEAD:
            bound = f"TOKENS_MAX, now {figures.tokens_max}"
            if full.batch_messages >= figures.records_max:
                bound = f"RECORDS_MAX, now {figures.records_max}"
            share = f"{fixed_share(figures.device):.0%} of it does not depend on the batch's size"
            return f"The device limits: {scored}, and {share}. Raise WORKER_BATCH__{bound}."
        case Limit.SHARED:
            change = f"They share one Python process and {cpus} CPUs. Try a second worker on this device."
            if figures.on_cpu:
                change = f"They share {cpus} CPUs with the model. Give the worker more CPUs, or a GPU."
            together = figure(figures.messages_per_s)
            return f"The stages slow each other: the slowest alone does {alone}, all together {together}. {change}"
        case Limit.PREPARING:
            busy = figures.prepared.cpus_busy
            change = "Try a second worker on this device, which uses the other CPUs."
            if busy > BUSY * cpus:
                change = "Give the worker more CPUs; without them a second worker gains nothing."
            return f"Preparing limits: {alone}, {device}. It keeps {busy:.1f} of {cpus} CPUs busy. {change}"
        case Limit.JUDGING:
            return f"Judging limits: {alone} on its one thread, {device}. Try a second worker on this device."
