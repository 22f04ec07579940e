"""Train the bundled demonstration model: ``python -m deploy.demo_model.train DATA OUT``.

DATA is JSON Lines, plain or gzipped, of ``{"text", "labels": 12 x (1 | 0 | null)}`` in the model card's order. A
row may have ``group`` (rows of a group stay on one side of the split) and ``source`` (for the figures, ``--chat``
and ``--unseen``). OUT becomes a folder that transformers can load. The figures go between the two marks of its
README.md. The same seed, data, versions and machine give the same model.

Three things differ from a textbook. Every text is also trained on as people type in a chat. Dropped tokens become
random tokens, and a few rows are only random tokens of no category, so that scripts that the data does not hold are
not flagged by accident. The head of Qwen2ForSequenceClassification has no bias, so the calibration folds one into
its weights (``fold_biases``).
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import Qwen2Config, Qwen2ForSequenceClassification

from deploy.demo_model.figures import held_out, transfer, write_card
from deploy.demo_model.rows import Rows, also_as_typed, read_rows, tenths
from schemas.labels import CATEGORY_SLUGS

END = "<|endoftext|>"
TRAINED_TOKENS_MAX = 192
MEASURED_TOKENS_MAX = 512
BATCH_ROWS = 64
TOKEN_DROPOUT = 0.15
NOISE_SHARE = 0.08
BYTES = 256  # the byte-level alphabet, which comes first
CHAT_SHARE_MAX = 0.002
# Source: Qwen2's tokenizer. transformers replaces any other pattern by this one, which would silently change ids.
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

Floats = NDArray[np.float32]


def say(line: str) -> None:
    """Print a line of progress."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> Tokenizer:
    """Return a byte-level BPE with Qwen2's normalizer, pattern and decoder; the end of text is the last id."""
    tokenizer = Tokenizer(BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=vocabulary - 1, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(END, special=True, normalized=False)])
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[str], tokens_max: int) -> list[list[int]]:
    """Return the token ids of each text: at least one and at most ``tokens_max``."""
    return [encoding.ids[:tokens_max] or [0] for encoding in tokenizer.encode_batch(texts)]


def new_model(vocabulary: int, layers: int = 4) -> Qwen2ForSequenceClassification:
    """Return a model of DuoGuard's architecture with random weights.

    With 8,192 tokens and 4 layers it has 1.84 M parameters.
    """
    return Qwen2ForSequenceClassification(  # type: ignore[no-untyped-call] # transformers leaves it untyped
        Qwen2Config(
            vocab_size=vocabulary,
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            use_sliding_window=False,
            bos_token_id=None,
            eos_token_id=vocabulary - 1,
            pad_token_id=vocabulary - 1,
            id2label=dict(enumerate(CATEGORY_SLUGS)),
            label2id={label: i for i, label in enumerate(CATEGORY_SLUGS)},
            problem_type="multi_label_classification",
        )
    )


def pool(model: Qwen2ForSequenceClassification, ids: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return ``[B, H]`` hidden states at the last tokens. Causal, so padding on the right needs no mask."""
    longest = max(map(len, ids))
    padded = torch.tensor([[*row, *[0] * (longest - len(row))] for row in ids])
    hidden: torch.Tensor = model.model(input_ids=padded, use_cache=False).last_hidden_state
    return hidden[torch.arange(len(ids)), torch.tensor([len(row) - 1 for row in ids])]


def hidden_states(model: Qwen2ForSequenceClassification, ids: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return ``[N, H]`` hidden states of many texts, in the given order."""
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    states = torch.empty(len(ids), model.config.hidden_size)
    model.train(mode=False)
    with torch.inference_mode():
        for start in range(0, len(order), BATCH_ROWS):
            chosen = order[start : start + BATCH_ROWS]
            states[chosen] = pool(model, [ids[i] for i in chosen])
    return states


def classify(model: Qwen2ForSequenceClassification, states: torch.Tensor) -> Floats:
    """Return ``[N, L]`` logits of ``[N, H]`` pooled states."""
    with torch.inference_mode():
        logits: Floats = model.score(states).numpy()
    return logits


def batches(lengths: Sequence[int], rng: np.random.Generator) -> Iterator[list[int]]:
    """Return the batches of an epoch in random order: every row once, similar lengths within a batch."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i] + rng.random() * (2 + lengths[i] / 4))
    groups = [order[start : start + BATCH_ROWS] for start in range(0, len(order), BATCH_ROWS)]
    return (groups[i] for i in rng.permutation(len(groups)))


def disturb(
    ids: Sequence[Sequence[int]], labels: Floats, vocabulary: int, rng: np.random.Generator
) -> tuple[list[list[int]], Floats]:
    """Apply token dropout, and make some rows random with labels of 0; half of these rows are single bytes."""
    noise = rng.random(len(ids)) < NOISE_SHARE
    dropped = np.where(noise, 1.0, TOKEN_DROPOUT)
    highest = np.where(noise & (rng.random(len(ids)) < 1 / 2), BYTES, vocabulary - 1)
    rows = [
        np.where(rng.random(len(row)) < share, rng.integers(0, top, len(row)), row).tolist()
        for row, share, top in zip(ids, dropped, highest, strict=True)
    ]
    return rows, np.where(noise[:, None], np.float32(0), labels)


def masked_loss(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the binary cross-entropy of known ``[B, L]`` labels; a positive counts ``weights`` ``[L]`` times."""
    known = ~labels.isnan()
    losses = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, labels.nan_to_num(), pos_weight=weights, reduction="none"
    )
    return losses[known].mean()


def fit(
    model: Qwen2ForSequenceClassification, ids: list[list[int]], labels: Floats, epochs: int, seed: int
) -> None:
    """AdamW, a short warm-up, a cosine to zero; positives weigh the root of how rare they are, 10 at most."""
    rng = np.random.default_rng(seed)
    steps = epochs * -(-len(ids) // BATCH_ROWS)
    positives, negatives = (np.maximum(1, (labels == value).sum(axis=0)) for value in (1, 0))
    weights = torch.from_numpy(np.clip(np.sqrt(negatives / positives), 1, 10).astype(np.float32))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05, betas=(0.9, 0.98))

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / max(1, steps // 20)) * (1 + math.cos(math.pi * step / steps)) / 2

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    lengths = [len(row) for row in ids]
    model.train()
    for epoch in range(epochs):
        total = 0.0
        for chosen in batches(lengths, rng):
            rows, wanted = disturb([ids[i] for i in chosen], labels[chosen], model.config.vocab_size, rng)
            loss = masked_loss(model.score(pool(model, rows)), torch.from_numpy(wanted), weights)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        say(f"epoch {epoch + 1} of {epochs}: loss {total * epochs / steps:.4f}")


def operating_point(logits: Floats, labels: Floats, chat: Floats) -> float:
    """Return the logit at which to flag a category: at its best F0.5, but above nearly all logits of the chat."""
    known = ~np.isnan(labels)
    scores, truth = logits[known], labels[known] == 1
    floor = float(np.quantile(chat, 1 - CHAT_SHARE_MAX)) if len(chat) else -np.inf
    if not truth.any():
        return max(0.0, floor)
    order = np.argsort(-scores)
    flagged = np.arange(1, len(order) + 1)
    best = int((np.cumsum(truth[order]) / (flagged + truth.sum() / 4)).argmax())
    following = order[min(best + 1, len(order) - 1)]
    return max(float(scores[order[best]] + scores[following]) / 2, floor)


def fold_biases(model: Qwen2ForSequenceClassification, states: torch.Tensor, biases: Floats) -> None:
    """Add ``[L]`` biases to the logits, through the direction in which every state measures about 1."""
    direction = torch.linalg.lstsq(states, torch.ones(len(states), 1)).solution
    with torch.no_grad():
        model.score.weight += torch.from_numpy(biases)[:, None] * direction.T


def calibrate(
    model: Qwen2ForSequenceClassification, states: torch.Tensor, labels: Floats, chat_states: torch.Tensor
) -> None:
    """Move each category's operating point to 0.5; repeat it three times, because a folded bias is approximate."""
    for _ in range(3):
        logits, chat = classify(model, states), classify(model, chat_states)
        points = [operating_point(logits[:, k], labels[:, k], chat[:, k]) for k in range(len(CATEGORY_SLUGS))]
        fold_biases(model, states, -np.array(points, dtype=np.float32))


def save(model: Qwen2ForSequenceClassification, tokenizer: Tokenizer, out: Path) -> None:
    """Save weights in float16, configuration and tokenizer, as transformers reads them."""
    model.half().save_pretrained(out)  # type: ignore[no-untyped-call] # transformers wraps it untyped
    # transformers writes the file for its owner only, so another user's container could not read it.
    (out / "model.safetensors").chmod(0o644)
    tokenizer.save(str(out / "tokenizer.json"))
    settings = {
        "tokenizer_class": "Qwen2Tokenizer",
        "model_max_length": model.config.max_position_embeddings,
        "eos_token": END,
        "pad_token": END,
        "bos_token": None,
        "unk_token": None,
        "add_prefix_space": False,
        "add_bos_token": False,
        "errors": "replace",
        "split_special_tokens": False,
        "clean_up_tokenization_spaces": False,
    }
    (out / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def train(
    rows: Rows, out: Path, *, seed: int, epochs: int, vocabulary: int, chat: list[str], unseen: list[str]
) -> None:
    """Train, calibrate and save a model, then measure the saved model."""
    torch.manual_seed(seed)
    tenth, apart = tenths(rows, seed), rows.of(unseen)
    training, held = (also_as_typed(rows.where(mask & ~apart)) for mask in (tenth > 1, tenth == 1))
    tokenizer = train_tokenizer(training.texts, vocabulary)
    model = new_model(tokenizer.get_vocab_size())
    say(f"{len(training.texts)} texts to train on, {model.num_parameters()} parameters")

    def states(some: Rows) -> torch.Tensor:
        return hidden_states(model, encode(tokenizer, some.texts, MEASURED_TOKENS_MAX))

    fit(model, encode(tokenizer, training.texts, TRAINED_TOKENS_MAX), training.labels, epochs, seed)
    calibrate(model, states(held), held.labels, states(rows.where((tenth > 0) & rows.of(chat))))
    save(model, tokenizer, out)

    model = Qwen2ForSequenceClassification.from_pretrained(out, dtype=torch.float32)
    measured = []
    for mask, measure in (((tenth == 0) & ~apart, held_out), (apart, transfer)):
        if mask.any():
            seen = rows.where(mask)
            measured.append(measure(seen.labels, classify(model, states(seen)), seen.sources))
    write_card(out / "README.md", "\n\n".join(measured))
    say("\n\n".join(measured))


def main(arguments: list[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.demo_model.train", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("data", type=Path, help="JSON Lines of {text, labels}, plain or gzipped")
    parser.add_argument("out", type=Path, help="the folder to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=8192, help="number of tokens, including the end of text")
    parser.add_argument(
        "--chat",
        nargs="*",
        default=[],
        help="sources of harmless chat, of which at most 0.2 %% is flagged in a category",
    )
    parser.add_argument(
        "--unseen", nargs="*", default=[], help="sources to measure transfer on, which are not trained on"
    )
    options = vars(parser.parse_args(arguments))
    options["out"].mkdir(parents=True, exist_ok=True)
    train(read_rows(options.pop("data")), **options)


if __name__ == "__main__":
    main()
