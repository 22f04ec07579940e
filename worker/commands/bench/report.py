"""What was found: for people, and the same as JSON. No text is in either."""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any, Self

from rich.console import Console
from rich.table import Table

from worker.commands.bench.limits import Figures, Row, advice, figure, limit_of
from worker.settings import Settings
from worker.settings.groups import shown
from worker.wiring import ScoringModel

PACKAGES = ("numpy", "orjson", "tokenizers", "torch", "transformers")
SETTINGS = (
    *("WORKER_MODEL__DEVICE", "WORKER_MODEL__DTYPE", "WORKER_MODEL__TOKENS_MAX", "WORKER_MODEL__THREADS"),
    *("WORKER_INPUT__CHARACTERS_MAX", "WORKER_BATCH__RECORDS_MAX", "WORKER_BATCH__TOKENS_MAX"),
)
"""Those that the figures depend on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """What was measured with.

    Attributes:
        built_in: Whether they are ours.
        count: How many.
        different: How many different ones.
        tokens_mean: Of a text, equal ones counted each.
        repeated_in_batch: The share of a full batch that repeats another text of it: not scored again.
        repeated: The share of all that repeats an earlier one: what a verdict cache that is large enough answers.
    """

    built_in: bool
    count: int
    different: int
    tokens_mean: float
    repeated_in_batch: float
    repeated: float

    @classmethod
    def of(cls, texts: Sequence[str], token_lists: Sequence[Sequence[int]], *, built_in: bool, batch: int) -> Self:
        """Counts, in batches of so many messages."""
        parts = [texts[start : start + batch] for start in range(0, max(1, len(texts) - batch + 1), batch)]
        different = len(set(texts))
        return cls(
            built_in=built_in,
            count=len(texts),
            different=different,
            tokens_mean=mean(map(len, token_lists)),
            repeated_in_batch=mean(1 - len(set(part)) / len(part) for part in parts),
            repeated=1 - different / len(texts),
        )

    def __str__(self) -> str:
        if self.built_in:
            return (
                f"texts: {self.count:,} built-in ones, all different, {self.tokens_mean:.1f} tokens in the mean; "
                "real chat repeats itself: --texts FILE measures with yours"
            )
        return (
            f"texts: {self.count:,}, {self.different:,} different, {self.tokens_mean:.1f} tokens in the mean; "
            f"{self.repeated_in_batch:.0%} repeat another of their batch (scored once), {self.repeated:.0%} an "
            "earlier one (which the verdict cache could answer; it is off here)"
        )


def show(figures: Figures, texts: Texts, model: ScoringModel, console: Console) -> None:
    """Prints it for people; the tables take 80 columns at most."""
    identity = model.identity

    def say(line: str, style: str | None = None) -> None:
        console.print(line, soft_wrap=True, markup=False, style=style)

    say(
        f"{identity.name} (revision {identity.revision[:12]}) on {identity.device}, {identity.dtype}, attention "
        f"{identity.attention}, threads: {identity.threads}; batches of {figures.records_max:,} messages and "
        f"{figures.tokens_max:,} tokens at most",
        "bold",
    )
    for line in model.fallbacks:
        say(f"    {line}")
    say(f"{texts}\n")
    stages = _table("by itself", "messages/s", "CPU us a message")
    for row in (figures.tokenised, figures.prepared, figures.judged):
        stages.add_row(row.name, figure(row.messages_per_s), f"{row.cpu_us:,.1f}")
    stages.add_row("device, full batches", figure(figures.full.messages_per_s))
    stages.add_row("all at once, as in the worker", figure(figures.whole), style="bold")
    console.print(stages)
    say("")
    device = _table("device, at once", "messages", "tokens", "ms", "messages/s", "tokens/s")
    for row in figures.device:
        each = (row.messages, row.tokens, row.messages_per_s, row.tokens_per_s)
        messages, tokens, *rates = map(figure, each)
        device.add_row(row.name, messages, tokens, f"{row.ms:,.1f}", *rates)
    console.print(device)
    if figures.left_out:
        say(f"left out, because they would take long: {'; '.join(figures.left_out)}. More --seconds include them.")
    if texts.different < figures.records_max:
        say(f"With fewer than {figures.records_max:,} different texts, all at once repeats them within a batch.")
    say("")
    for number, line in enumerate(advice(figures)):
        say(line, None if number else "bold")


def _table(first: str, *others: str) -> Table:
    table = Table(first, box=None, pad_edge=False)
    for name in others:
        table.add_column(name, justify="right")
    return table


def document(figures: Figures, texts: Texts, model: ScoringModel, settings: Settings) -> dict[str, Any]:
    """The same, for programs."""
    stages = figures.tokenised, figures.prepared, figures.judged
    return {
        "machine": machine(model.identity.device, figures.cpus),
        "model": asdict(model.identity)
        | {"batch_tokens_max": model.batch_tokens_max, "fallbacks": model.fallbacks},
        "settings": {name: shown(settings.value(name)) for name in SETTINGS},
        "texts": asdict(texts),
        "stages": [
            {name: value for name, value in _rounded(row).items() if "tokens" not in name} for row in stages
        ],
        "device": [_rounded(row) for row in figures.device],
        "left_out": figures.left_out,
        "whole_messages_per_s": round(figures.whole, 3),
        "limit": {"what": limit_of(figures), "said": advice(figures)},
    }


def _rounded(row: Row) -> dict[str, Any]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(row).items()}


def machine(device: str, cpus: int) -> dict[str, Any]:
    """What the figures were measured on, and with; the device as the model's identity names it."""
    import torch  # noqa: PLC0415 - there by now, with the model

    return {
        "processor": processor(),
        "cpus": cpus,
        "gpu": torch.cuda.get_device_name(device) if device.startswith("cuda") else None,
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def processor() -> str:
    """Its name, as Linux tells it; elsewhere what Python knows."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())
