"""Compare the classifier with what users would write: ``python -m tests.bench.classifier TOKENIZER_FOLDER LOG...``.

Each LOG has one JSON object with ``text`` on each line, and may be gzipped. The models have random weights: a small
model, and a slice of DuoGuard-0.5B, four of its 24 layers in their true width and vocabulary. All contenders get
the tokens of the same messages, in the order of the log, and return probabilities, on one compute thread. The
card's loop is the published one: one text at a time. All other scores are compared with its scores.
"""

import argparse
import gzip
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Qwen2Config,
    Qwen2ForSequenceClassification,
)

from tests.bench.pictures import draw
from tests.bench.side_by_side import medians, ratios, say, write
from worker.classifier import Classifier, ModelOptions, load
from worker.classifier.device import BFLOAT16_CPU_FLAGS, cpu_flags

MODELS: dict[str, dict[str, Any]] = {
    "256 wide, 6 layers": {
        "hidden_size": 256,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 1024,
    },
    # Source: config.json of Qwen/Qwen2.5-0.5B, except the number of layers.
    "896 wide, 4 layers": {
        "hidden_size": 896,
        "num_hidden_layers": 4,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "intermediate_size": 4864,
    },
}
VOCABULARY, END = 151_936, 151_643
TOKENS_MAX = 512
PADDED_TEXTS = 32
BUDGET_TOKENS = 4096

Tokens = list[int]
Probabilities = NDArray[np.float32]
Contender = Callable[[Sequence[Tokens]], Probabilities]


def make(folder: Path, sizes: dict[str, Any], tokenizer: Path) -> Path:
    """Write a model with random weights and its tokenizer into a folder."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "num_labels": 12,
        "pad_token_id": END,
        "eos_token_id": END,
        "tie_word_embeddings": True,
        "initializer_range": 0.05,
        **sizes,
    }
    kind: Any = Qwen2ForSequenceClassification
    model = kind(Qwen2Config(**settings))
    model.save_pretrained(folder)
    loaded: Any = AutoTokenizer.from_pretrained(tokenizer)
    loaded.save_pretrained(folder)
    return folder


def opened(folder: Path, dtype: str) -> Classifier:
    """Load the worker's classifier, on one thread."""
    options = ModelOptions(
        path=str(folder),
        revision=None,
        tokenizer=None,
        tokenizer_revision=None,
        digest=None,
        device="cpu",
        dtype=dtype,
        tokens_max=TOKENS_MAX,
        threads=1,
        batch_tokens_max=None,
    )
    return load(options, lambda _: None)


def messages(log: Path, count: int, encode: Callable[[list[str]], Sequence[Any]]) -> list[Tokens]:
    """Return the tokens of a log's first messages that are not blank."""
    unzip = gzip.open if log.suffix == ".gz" else open
    with unzip(log, "rb") as lines:
        texts = (text for line in lines if (text := orjson.loads(line)["text"]).strip())
        chosen = [text for text, _ in zip(texts, range(count), strict=False)]
    return [list(encoded.tokens) for encoded in encode(chosen)]


class TransformersModel:
    """The same weights in transformers' own model, used in four ways."""

    def __init__(self, folder: Path, dtype: torch.dtype) -> None:
        self._model: Any = AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype).eval()

    @torch.inference_mode()
    def card(self, tokens: Sequence[Tokens]) -> Probabilities:
        """Score as the model card does, one text at a time."""
        rows = [torch.sigmoid(self._model(input_ids=torch.tensor([one])).logits.float()) for one in tokens]
        return np.concatenate([row.numpy() for row in rows])

    def padded(self, tokens: Sequence[Tokens]) -> Probabilities:
        """Score as transformers' pipeline does: batches of 32 in the given order, padded, with a mask."""
        return self._batched(tokens, _every(range(len(tokens)), PADDED_TEXTS))

    def sorted(self, tokens: Sequence[Tokens]) -> Probabilities:
        """Score in padded batches, sorted by length, up to a number of tokens a batch."""
        return self._batched(tokens, _within(sorted(range(len(tokens)), key=lambda at: len(tokens[at])), tokens))

    @torch.inference_mode()
    def equal(self, tokens: Sequence[Tokens]) -> Probabilities:
        """Score in batches of equal length, without padding and mask: the best simple way."""
        groups: dict[int, list[int]] = {}
        for at, one in enumerate(tokens):
            groups.setdefault(len(one), []).append(at)
        out = np.empty((len(tokens), 12), np.float32)
        for places in groups.values():
            ids = torch.tensor([tokens[at] for at in places])
            hidden = self._model.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, -1]
            out[places] = torch.sigmoid(self._model.score(hidden).float()).numpy()
        return out

    @torch.inference_mode()
    def _batched(self, tokens: Sequence[Tokens], batches: Iterator[list[int]]) -> Probabilities:
        out = np.empty((len(tokens), 12), np.float32)
        for places in batches:
            length = max(len(tokens[at]) for at in places)
            ids = torch.full((len(places), length), END)
            mask = torch.zeros_like(ids)
            for row, at in enumerate(places):
                ids[row, : len(tokens[at])] = torch.tensor(tokens[at])
                mask[row, : len(tokens[at])] = 1
            hidden = self._model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
            last = hidden[torch.arange(len(places)), mask.sum(1) - 1]
            out[places] = torch.sigmoid(self._model.score(last).float()).numpy()
        return out


def _every(places: Sequence[int], count: int) -> Iterator[list[int]]:
    for start in range(0, len(places), count):
        yield list(places[start : start + count])


def _within(places: Sequence[int], tokens: Sequence[Tokens]) -> Iterator[list[int]]:
    batch: list[int] = []
    for at in places:
        if batch and (len(batch) + 1) * len(tokens[at]) > BUDGET_TOKENS:
            yield batch
            batch = []
        batch.append(at)
    yield batch


def scored(classifier: Classifier) -> Contender:
    """Return the worker's classifier as a contender that scores each message."""
    return lambda tokens: np.stack([np.asarray(scores) for scores in classifier.score(tokens)])


def joined(classifier: Classifier) -> Contender:
    """Return the worker's classifier as the worker uses it: equal texts are scored once."""

    def score(tokens: Sequence[Tokens]) -> Probabilities:
        places = {name: at for at, name in enumerate(dict.fromkeys(map(tuple, tokens)))}
        answers = scored(classifier)([list(name) for name in places])
        return answers[[places[tuple(one)] for one in tokens]]

    return score


def contenders(folder: Path) -> dict[str, Contender]:
    """Return all contenders, with the card's loop first."""
    baseline, classifier = TransformersModel(folder, torch.float32), opened(folder, "float32")
    all_of_them: dict[str, Contender] = {
        "card's loop": baseline.card,
        "padded, 32 as they come": baseline.padded,
        "padded, sorted, 4,096 tokens": baseline.sorted,
        "equal lengths": baseline.equal,
        "worker": scored(classifier),
        "worker, equal texts once": joined(classifier),
    }
    if cpu_flags() & BFLOAT16_CPU_FLAGS:
        half = opened(folder, "bfloat16")
        all_of_them |= {
            "card's loop, bfloat16": TransformersModel(folder, torch.bfloat16).card,
            "worker, bfloat16": scored(half),
            "worker, bfloat16, equal texts once": joined(half),
        }
    return all_of_them


def compare(folder: Path, log: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Compare all contenders on one log: messages a second, and ratios and score differences to the card's loop."""
    all_of_them = contenders(folder)
    tokens = messages(log, options.messages, opened(folder, "float32").encode)
    answers: dict[str, Probabilities] = {}

    def timed(name: str) -> Callable[[], float]:
        def run() -> float:
            began = time.perf_counter()
            answers[name] = all_of_them[name](tokens)
            return len(tokens) / (time.perf_counter() - began)

        return run

    rates = medians({name: timed(name) for name in all_of_them}, rounds=options.rounds)
    card = answers["card's loop"]
    return {
        "log": log.name,
        "messages": len(tokens),
        "distinct": len(set(map(tuple, tokens))),
        "mean_tokens": round(sum(map(len, tokens)) / len(tokens), 2),
        "messages_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "ratios": ratios(rates, to="card's loop"),
        "largest_difference": {name: float(np.abs(answer - card).max()) for name, answer in answers.items()},
        "flags_changed": {
            name: round(float(((answer > 0.5) != (card > 0.5)).mean()), 6) for name, answer in answers.items()
        },
    }


def main() -> None:
    """Compare all models and logs, then draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("logs", type=Path, nargs="+")
    parser.add_argument("--messages", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    results: dict[str, list[dict[str, Any]]] = {}
    for name, sizes in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), sizes, options.tokenizer)
            for log in options.logs:
                say(f"{name}, {log.name}")
                results.setdefault(name, []).append(compare(Path(folder), log, options))
    write("classifier", {"threads": 1, "rounds": options.rounds, "models": results})
    draw("bench-classifier")


if __name__ == "__main__":
    main()
