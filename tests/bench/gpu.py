"""The three DuoGuard shapes on a GPU, by hand: ``python -m tests.bench.gpu``; a few minutes.

Random weights, configurations written by hand, bfloat16. For batches of 1k to 32k tokens of texts of 32 tokens,
and of texts as long as live chat: tokens a second, without CUDA graphs and with them, beside transformers' padded
batches of 32; and the share of what this GPU was seen to do in a large matrix product in the same run. Needs
torch (2.11 and later), transformers and this repository. With ``--device cpu --layers 1`` it only shows that it
runs.
"""

import argparse
import gc
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from transformers import (
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForSequenceClassification,
)

from tests.bench.side_by_side import draw, medians, say, write
from worker.classifier.graphs import Graphs, buckets
from worker.classifier.packed import VARLEN, logits_of, row_of, settle, vocabulary_of
from worker.classifier.scoring import chat

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
    "DuoGuard-1B-Llama-3.2-transfer": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128_256,
    },
    "DuoGuard-1.5B-transfer": {
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "vocab_size": 151_936,
    },
}
BATCH_TOKENS = (1024, 2048, 4096, 8192, 16_384, 32_768)
TEXT_TOKENS = 32
PADDED_TEXTS = 32
ROUND_S = 0.5

Texts = list[Sequence[int]]


def model_of(name: str, layers: int | None, device: torch.device) -> Any:
    """Random weights in bfloat16."""
    sizes = {**SHAPES[name], "num_labels": 12, "pad_token_id": 0}
    sizes["num_hidden_layers"] = layers or sizes["num_hidden_layers"]
    llama = "Llama" in name
    kind: Any = LlamaForSequenceClassification if llama else Qwen2ForSequenceClassification
    with torch.device(device):
        return kind(LlamaConfig(**sizes) if llama else Qwen2Config(**sizes)).to(torch.bfloat16).eval()


def flops_a_token(packed_model: PreTrainedModel) -> int:
    """What ours does: two for each weight of the layers' matrices, but for what the last layer leaves out.

    Embeddings are looked up; attention, and the work for last tokens alone, are nearly nothing at these lengths.
    """
    *layers, last = cast("Any", packed_model.base_model.layers)
    matrices = [weight for layer in layers for weight in layer.parameters()]
    matrices += last.layer.self_attn.parameters()
    return int(2 * sum(weight.numel() for weight in matrices if weight.dim() > 1))


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """One run, of as many as take half a second together."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    run()
    wait()
    began, runs = time.perf_counter(), 0
    while time.perf_counter() - began < ROUND_S:
        run()
        wait()
        runs += 1
    return (time.perf_counter() - began) / runs


def tell(what: str, line: str) -> None:
    """Progress, with what it is about."""
    say(f"{what}: {line}")


def rate_of(run: Callable[[], object], tokens: int, device: torch.device) -> float:
    """Tokens a second."""
    return tokens / seconds_of(run, device)


def peak_flops(device: torch.device) -> float:
    """Of a large matrix product in bfloat16, the best of five."""
    side = 8192 if device.type == "cuda" else 1024
    left, right = (torch.randn(side, side, dtype=torch.bfloat16, device=device) for _ in range(2))
    return 2 * side**3 / min(seconds_of(lambda: left @ right, device) for _ in range(5))


@torch.inference_mode()
def padded(model: Any, texts: Texts) -> None:
    """As transformers' pipeline: 32 at a time, as they come, padded, with a mask."""
    for start in range(0, len(texts), PADDED_TEXTS):
        batch = texts[start : start + PADDED_TEXTS]
        ids = torch.zeros((len(batch), max(map(len, batch))), dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, text in enumerate(batch):
            ids[row, : len(text)] = torch.tensor(text)
            mask[row, : len(text)] = 1
        model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=False).logits.cpu()


def batches(tokens: int) -> dict[str, Texts]:
    """Of about so many tokens: of one length, and of chat's, these mixed as they come."""
    probe = list(range(100, 100 + TEXT_TOKENS))
    lively = chat(probe, tokens, 512)
    return {"texts of 32 tokens": [probe] * (tokens // TEXT_TOKENS), "chat": lively[::2] + lively[1::2]}


def measure(name: str, options: argparse.Namespace, peak: float) -> list[dict[str, Any]]:
    """A model: tokens a second of each batch and contender."""
    device = torch.device(options.device)
    ours, theirs = (model_of(name, options.layers, device) for _ in range(2))
    attention, remarks = settle(ours, list(range(100, 140)))
    say(f"{name}: {attention} {remarks}")
    vocabulary, cost = vocabulary_of(ours), flops_a_token(ours)
    graphs = Graphs(partial(logits_of, ours), device)
    if attention == VARLEN:
        with torch.inference_mode():
            for bucket in graphs.record(buckets(tokens_max=max(options.tokens), text_tokens_max=512)):
                say(f"{name}: recorded {bucket}")

    @torch.inference_mode()
    def packed(run: Callable[..., torch.Tensor], texts: Texts) -> None:
        run(row_of(sorted(texts, key=len), vocabulary=vocabulary, device=device)).cpu()

    rows = []
    for tokens in options.tokens:
        for kind, texts in batches(tokens).items():
            total = sum(map(len, texts))
            contenders = {
                "padded": partial(padded, theirs, texts),
                "ours": partial(packed, partial(logits_of, ours), texts),
            }
            if attention == VARLEN:
                contenders["ours, graphs"] = partial(packed, graphs.run, texts)
            rates = medians(
                {which: partial(rate_of, run, total, device) for which, run in contenders.items()},
                rounds=options.rounds,
                tell=partial(tell, f"{name}, {tokens} tokens, {kind}"),
            )
            rows.append(
                {
                    "texts": kind,
                    "tokens": total,
                    "tokens_per_second": {which: round(rate) for which, rate in rates.items()},
                    "share_of_peak": {which: round(rate * cost / peak, 3) for which, rate in rates.items()},
                }
            )
    del ours, theirs, graphs
    gc.collect()
    return rows


def table(models: dict[str, list[dict[str, Any]]]) -> str:
    """For people."""
    lines = [f"{'':32}{'texts':20}{'tokens':>8}  tokens a second (share of the peak)"]
    for name, rows in models.items():
        for row in rows:
            rates = ", ".join(
                f"{which} {rate:,} ({row['share_of_peak'][which]:.0%})"
                for which, rate in row["tokens_per_second"].items()
            )
            lines.append(f"{name:32}{row['texts']:20}{row['tokens']:>8}  {rates}")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--layers", type=int, help="fewer than the model has, for a try")
    parser.add_argument("--tokens", type=int, nargs="+", default=BATCH_TOKENS)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit(
            "No CUDA device is here, so there is nothing to measure; --device cpu --layers 1 tries the script."
        )
    device = torch.device(options.device)
    torch.manual_seed(0)
    peak = peak_flops(device)
    models = {name: measure(name, options, peak) for name in SHAPES}
    sys.stdout.write(table(models) + "\n")
    if device.type != "cuda" or options.layers:
        return
    largest = {
        f"{name}, {row['texts']}, {row['tokens']} tokens": row for name in models for row in models[name][-2:]
    }
    write(
        "gpu",
        {
            "gpu": torch.cuda.get_device_name(device),
            "cuda": torch.version.cuda,
            "peak_tflops": round(peak / 1e12, 1),
            "models": models,
        },
    )
    draw(
        "bench-gpu",
        f"Tokens a second, {torch.cuda.get_device_name(device)}",
        {title: row["tokens_per_second"] for title, row in largest.items()},
        unit="/s",
    )


if __name__ == "__main__":
    main()
