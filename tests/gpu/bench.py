"""Measure how fast models of DuoGuard's sizes are on this machine's GPU: ``python3 -m tests.gpu.bench``; under four
minutes.

Random weights in bfloat16. Messages of 10 and of 32 tokens on average, as unequal as live chat, in batches of 32 to
1024: messages and tokens a second, without CUDA graphs and with them, and transformers' own padded batches of 32.
The share of the peak is the arithmetic of the real tokens, divided by the measured rate of a large matrix product
in the same run. Texts are token ids already, because another thread of the CPU tokenises.

Needs torch, transformers, numpy and this repository. ``--device cpu --layers 1 --seconds 5`` checks that it runs.
"""

import argparse
import gc
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from transformers import (
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForSequenceClassification,
)

from worker.classifier.graphs import CudaGraphs, buckets
from worker.classifier.packed import VARLEN, PackedBatch, pack_texts, packed_logits, select_attention, vocabulary_of
from worker.classifier.scoring import CHAT_LENGTHS

# Sources: config.json of Qwen/Qwen2.5-0.5B, Qwen/Qwen2.5-1.5B and meta-llama/Llama-3.2-1B.
SHAPES: dict[str, dict[str, Any]] = {
    "DuoGuard-0.5B": {
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151_936,
    },
    "DuoGuard-1.5B-transfer": {
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "vocab_size": 151_936,
    },
    "DuoGuard-1B-Llama-3.2-transfer": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128_256,
    },
}
MEAN_TOKENS = (10, 32)
BATCHES = (32, 128, 512, 1024)
TEXT_TOKENS_MAX = 512
PADDED_TEXTS = 32
ROUND_S = 0.3
SECONDS = 210
RESULT = "gpu.json"

Texts = list[list[int]]


@dataclass(frozen=True, kw_only=True)
class TimeLimit:
    """The time that is left, so that the whole run stays within its bound."""

    ends_s: float

    @property
    def is_over(self) -> bool:
        return time.perf_counter() > self.ends_s


def say(line: str) -> None:
    """Print a line of progress."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def model_of(name: str, layers: int | None, device: torch.device) -> Any:
    """Return a model with random weights in bfloat16."""
    sizes = {**SHAPES[name], "num_labels": 12, "pad_token_id": 0}
    sizes["num_hidden_layers"] = layers or sizes["num_hidden_layers"]
    llama = "Llama" in name
    kind: Any = LlamaForSequenceClassification if llama else Qwen2ForSequenceClassification
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            return kind(LlamaConfig(**sizes) if llama else Qwen2Config(**sizes)).eval()
    finally:
        torch.set_default_dtype(torch.float32)


def flops_per_token(packed_model: PreTrainedModel) -> int:
    """Return the operations of a token: two for each weight of the layers' matrices that is used.

    Embeddings are looked up; attention, and the work for last tokens alone, are nearly nothing at these lengths.
    """
    *layers, last = cast("Any", packed_model.base_model.layers)
    matrices = [weight for layer in layers for weight in layer.parameters()]
    matrices += last.layer.self_attn.parameters()
    return int(2 * sum(weight.numel() for weight in matrices if weight.dim() > 1))


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of a run: the median of all runs within ``ROUND_S``."""

    def timed() -> float:
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    timed()
    took = [timed()]
    while sum(took) < ROUND_S:
        took.append(timed())
    return sorted(took)[len(took) // 2]


def peak_flops(device: torch.device) -> float:
    """Return the operations a second of a large matrix product in bfloat16, the best of five."""
    side = 8192 if device.type == "cuda" else 512
    left, right = (torch.randn(side, side, dtype=torch.bfloat16, device=device) for _ in range(2))
    return 2 * side**3 / min(seconds_of(lambda: left @ right, device) for _ in range(5))


def texts_of(count: int, mean: int) -> Texts:
    """Return token lists with the lengths of live chat, scaled to a mean, shortest first as in a batch."""
    usual = sum(CHAT_LENGTHS) / len(CHAT_LENGTHS)
    lengths = [max(1, round(CHAT_LENGTHS[n % len(CHAT_LENGTHS)] * mean / usual)) for n in range(count)]
    return [[100 + (7 * n + at) % 1000 for at in range(length)] for n, length in enumerate(sorted(lengths))]


@torch.inference_mode()
def padded(model: Any, texts: Texts) -> None:
    """Score like transformers' pipeline: 32 at a time in order of arrival, padded, with a mask."""
    mixed = texts[::2] + texts[1::2]
    for start in range(0, len(mixed), PADDED_TEXTS):
        batch = mixed[start : start + PADDED_TEXTS]
        ids = torch.zeros((len(batch), max(map(len, batch))), dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, text in enumerate(batch):
            ids[row, : len(text)] = torch.tensor(text)
            mask[row, : len(text)] = 1
        model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=False).logits.cpu()


@torch.inference_mode()
def packed(run: Callable[[PackedBatch], torch.Tensor], vocabulary: int, device: torch.device, texts: Texts) -> None:
    """Score like the worker: one packed row, made on the host, and the logits copied back."""
    run(pack_texts(texts, vocabulary=vocabulary, device=device)).cpu()


def rows_of(name: str, options: argparse.Namespace, peak: float, clock: TimeLimit) -> Iterator[dict[str, Any]]:
    """Return a row for each mean length and batch size, while there is time."""
    device = torch.device(options.device)
    reference_model = model_of(name, options.layers, device)
    plain = {mean: padded_rate(reference_model, mean, device) for mean in options.means}
    attention, remarks = select_attention(reference_model, list(range(100, 140)))
    ours, vocabulary, cost = reference_model, vocabulary_of(reference_model), flops_per_token(reference_model)
    say(f"{name}: {attention} {remarks or ''}")
    contenders: dict[str, Callable[[PackedBatch], torch.Tensor]] = {"eager": partial(packed_logits, ours)}
    if attention == VARLEN:
        graphs = CudaGraphs(partial(packed_logits, ours), device)
        with torch.inference_mode():
            recorded = len(list(graphs.record(buckets(tokens_max=8192, text_tokens_max=TEXT_TOKENS_MAX))))
        say(f"{name}: {recorded} graphs")
        contenders["graphs"] = graphs.run
    for mean in options.means:
        for count in options.batches:
            if clock.is_over:
                say(f"{name}: no time is left for {count} texts of {mean} tokens")
                return
            texts = texts_of(count, mean)
            tokens = sum(map(len, texts))
            took = {
                which: seconds_of(partial(packed, run, vocabulary, device, texts), device)
                for which, run in contenders.items()
            }
            row = {
                "mean_tokens": mean,
                "texts": count,
                "tokens": tokens,
                "messages_per_second": {which: round(count / seconds) for which, seconds in took.items()}
                | {"transformers, padded 32": plain[mean]},
                "tokens_per_second": {which: round(tokens / seconds) for which, seconds in took.items()},
                "share_of_peak": {
                    which: round(tokens * cost / seconds / peak, 3) for which, seconds in took.items()
                },
                "milliseconds": {which: round(1000 * seconds, 3) for which, seconds in took.items()},
            }
            say(f"{name}: {json.dumps(row)}")
            yield row


def padded_rate(model: Any, mean: int, device: torch.device) -> int:
    """Return the messages a second of transformers' padded batches of 32, before the model is packed."""
    texts = texts_of(4 * PADDED_TEXTS, mean)
    return round(len(texts) / seconds_of(partial(padded, model, texts), device))


def machine(device: torch.device) -> dict[str, Any]:
    """Return the machine and the versions of the measurement."""
    about: dict[str, Any] = {
        "device": str(device),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "cuda": torch.version.cuda,
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        about |= {
            "gpu": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "memory_gb": round(properties.total_memory / 1e9, 1),
            "driver": driver(),
        }
    return about


def driver() -> str | None:
    """Return the NVIDIA driver's version, if nvidia-smi is installed."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    asked = subprocess.run(
        [tool, "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return next(iter(asked.stdout.split()), None)


def table(models: dict[str, list[dict[str, Any]]]) -> str:
    """Print the results as a table."""
    lines = []
    for name, rows in models.items():
        for row in rows:
            rates = ", ".join(
                f"{which} {rate:,}"
                + (f" ({row['share_of_peak'][which]:.0%})" if which in row["share_of_peak"] else "")
                for which, rate in row["messages_per_second"].items()
            )
            lines.append(f"{name:32}{row['texts']:>5} texts of {row['mean_tokens']:>2} tokens: {rates}")
    return "\n".join(["messages a second (share of the peak)", *lines])


def destination(given: Path | None, environ: os._Environ[str]) -> Path | None:
    """Return the path of the JSON: the argument, or a file in the folder ``$OUT``, or None."""
    if given is not None:
        return given
    return Path(environ["OUT"]) / RESULT if environ.get("OUT") else None


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", type=Path, nargs="?", help=f"the JSON file; by default $OUT/{RESULT}")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--layers", type=int, help="fewer than the model has, for a try")
    parser.add_argument("--means", type=int, nargs="+", default=MEAN_TOKENS, help="tokens of a text on average")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="texts of a batch")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="no measurement begins after that")
    return parser.parse_args(arguments)


def main() -> None:
    """Measure, print a table, write JSON."""
    options = parsed(sys.argv[1:])
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("This machine has no CUDA device, so there is nothing to measure. Try --device cpu --layers 1.")
    clock = TimeLimit(ends_s=time.perf_counter() + options.seconds)
    device, result = torch.device(options.device), destination(options.result, os.environ)
    torch.manual_seed(0)
    peak = peak_flops(device)
    models: dict[str, list[dict[str, Any]]] = {}
    for name in options.models:
        models[name] = list(rows_of(name, options, peak, clock))
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    sys.stdout.write(table(models) + "\n")
    if result is not None:
        result.parent.mkdir(parents=True, exist_ok=True)
        report = {"machine": machine(device), "peak_tflops": round(peak / 1e12, 2), "models": models}
        result.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        say(f"written: {result}")


if __name__ == "__main__":
    main()
