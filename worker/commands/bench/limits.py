"""What was measured, and what it says about what limits a worker. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

HINDERED = 0.75
"""Below this share of its slowest stage the whole is slowed by something that the stages share."""

DISTURBED = 1.5
"""Above this multiple of its slowest stage the whole is faster than it can be, even at its luckiest."""

FIXED = 0.3
"""Above this share of a full batch's time, what a batch takes whatever it holds is worth spreading."""

BUSY = 0.7
"""A stage that keeps more than this share of the CPUs busy gains nothing from a second process beside it."""


class Limit(StrEnum):
    """What to change first."""

    DEVICE = "device"
    OVERHEAD = "overhead of a batch"
    SHARED = "what the stages share"
    PREPARING = "preparing"
    JUDGING = "judging"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Medians over batches of one kind, while nothing else ran.

    Attributes:
        name: What was measured.
        messages: Of a batch.
        tokens: Of a batch, those of equal texts once; 0 where none are counted.
        ms: For a batch.
        messages_per_s: A second.
        tokens_per_s: A second.
        cpu_us: CPU time of all threads, for a message.
    """

    name: str
    messages: float
    tokens: float
    ms: float
    messages_per_s: float
    tokens_per_s: float
    cpu_us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All of it.

    Attributes:
        tokenised: The tokenizer, which is a part of the next.
        prepared: The preparer.
        judged: The owner, but for Kafka.
        device: The model, from the least batch to a full one; at least one.
        left_out: Batches that would have taken too long.
        whole: Messages a second, all at once.
        on_cpu: Whether the CPU is the device.
        cpus: That the process may use.
        records_max: Messages of a batch at most.
        tokens_max: Tokens of a batch at most.
        dtype_hint: A fall-back's sentence about ``WORKER_MODEL__DTYPE``; empty when there is none.
    """

    tokenised: Row
    prepared: Row
    judged: Row
    device: Sequence[Row]
    left_out: Sequence[str]
    whole: float
    on_cpu: bool
    cpus: int
    records_max: int
    tokens_max: int
    dtype_hint: str

    @property
    def full(self) -> Row:
        """The largest batch."""
        return max(self.device, key=lambda row: row.tokens)

    @property
    def slowest(self) -> Row:
        """The stage with the least rate by itself."""
        return min(self.full, self.prepared, self.judged, key=lambda row: row.messages_per_s)


def figure(value: float) -> str:
    """Three digits at least, where there are any."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004


def fixed_share(rows: Sequence[Row]) -> float:
    """Of the largest batch's time, what it would take with nothing in it: on the line through it and half of it."""
    *_, full = ordered = sorted(rows, key=lambda row: row.tokens)
    halves = [row for row in ordered if row.tokens <= full.tokens / 2]
    if not halves:
        return 0.0
    token_ms = (full.ms - halves[-1].ms) / (full.tokens - halves[-1].tokens)
    return min(1.0, max(0.0, 1 - token_ms * full.tokens / full.ms))


def limit_of(figures: Figures) -> Limit:
    """The stage that is slowest by itself, unless the whole falls far behind it."""
    if figures.whole < HINDERED * figures.slowest.messages_per_s:
        return Limit.SHARED
    if figures.slowest is figures.full:
        return Limit.OVERHEAD if fixed_share(figures.device) > FIXED else Limit.DEVICE
    return Limit.PREPARING if figures.slowest is figures.prepared else Limit.JUDGING


def advice(figures: Figures) -> list[str]:
    """What limits and what to change, in a sentence or two; then what else is worth knowing."""
    limit = limit_of(figures)
    said = [_sentence(limit, figures)]
    if figures.whole > DISTURBED * figures.slowest.messages_per_s:
        said.append(
            f"But all at once, {figure(figures.whole)} messages/s were done: other work disturbed what was "
            "measured by itself. Measure again while this machine is quiet, or for longer (--seconds)."
        )
    if figures.dtype_hint and limit not in {Limit.PREPARING, Limit.JUDGING}:
        said.append(f"Worth trying: {figures.dtype_hint}.")
    least = min(figures.device, key=lambda row: row.tokens)
    free = max(row.messages for row in figures.device if row.ms < 2 * least.ms)
    if free > least.messages:
        said.append(
            f"A batch of {free:,.0f} messages takes less than twice as long as one of {least.messages:,.0f} "
            f"({least.ms:,.1f} ms): while few messages come, overhead is what they wait for."
        )
    return said


def _sentence(limit: Limit, figures: Figures) -> str:
    full, prepared, cpus = figures.full, figures.prepared, figures.cpus
    scored = (
        f"{figure(full.messages_per_s)} messages/s; a batch of {full.tokens:,.0f} tokens takes {full.ms:,.1f} ms"
    )
    another = "a second worker on this device"
    match limit:
        case Limit.DEVICE:
            here = "more CPUs, a GPU, or workers on other machines"
            more = here if figures.on_cpu else "more devices, with a worker each,"
            return f"The device limits: {scored}. More workers on it gain nothing; {more} do."
        case Limit.OVERHEAD:
            records = full.messages >= figures.records_max
            bound = (
                f"RECORDS_MAX, now {figures.records_max}" if records else f"TOKENS_MAX, now {figures.tokens_max}"
            )
            share = f"{fixed_share(figures.device):.0%} of it whatever the batch holds"
            return f"The device limits: {scored}, {share}. Larger ones are faster: raise WORKER_BATCH__{bound}."
        case Limit.SHARED:
            alone, whole = figure(figures.slowest.messages_per_s), figure(figures.whole)
            change = f"They share one Python and {cpus} CPUs: {another} may do more."
            if figures.on_cpu:
                change = f"The model shares {cpus} CPUs with preparing and judging: give the worker more, or a GPU."
            hindered = f"the slowest does {alone} messages/s by itself, all at once {whole}"
            return f"The stages hinder each other: {hindered}. {change}"
        case Limit.PREPARING:
            busy = prepared.messages_per_s * prepared.cpu_us / 1e6
            change = f"{another} would use the others"
            if busy > BUSY * cpus:
                change = f"give the worker more; {another} gains nothing without them"
            doing = (
                f"{figure(prepared.messages_per_s)} messages/s, where the device does {figure(full.messages_per_s)}"
            )
            return f"Preparing limits: {doing}. It keeps {busy:.1f} of {cpus} CPUs busy: {change}."
        case Limit.JUDGING:
            doing = f"{figure(figures.judged.messages_per_s)} messages/s on its one thread"
            return (
                f"Judging limits: {doing}, the device does {figure(full.messages_per_s)}; {another} would use it."
            )
