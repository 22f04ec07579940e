"""Train a small model that finds an unsafe passage among other talk, for ``tests.bench.passages``.

The model has the architecture that the worker loads, and the bundled tokenizer. It is trained on windows of talk.
Half of them have a passage at a random place. In a causal model the state at a token is what the model sees of a
window that ends there. So every place behind the passage is trained to flag it, and every place before it to flag
nothing.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from deploy.demo_model.rows import read_rows, tenths
from deploy.demo_model.train import masked_loss, new_model, save, say
from schemas.labels import CATEGORY_SLUGS
from tests.shapes import plain
from worker.classifier.model_files import DEMO_MODEL
from worker.commands.bench.texts import read_texts

WINDOW = 512
PASSAGE_TOKENS = range(8, 65)
LINE_TOKENS_MAX = 64
MEASURED_TENTHS = 3
LAYERS = 2
STEPS, STEP_TOKENS, RATE = 700, 8192, 3e-3
SHORT_STEPS, SHORT_WINDOW = 0.4, 128
TOKEN_DROPOUT = 0.05

Floats = NDArray[np.float32]
UNKNOWN: Floats = np.full(len(CATEGORY_SLUGS), np.nan, np.float32)


@dataclass(frozen=True, slots=True)
class Line:
    """One or several lines of text.

    Attributes:
        text: The text, which ends with a line end.
        tokens: Its tokens.
        labels: ``[L]`` 1, 0 or NaN (unknown) for each category.
    """

    text: str
    tokens: list[int]
    labels: Floats


@dataclass(frozen=True, slots=True)
class Material:
    """What texts are made of.

    Attributes:
        unsafe: Unsafe lines.
        talk: Lines of chat, which no category is true of.
    """

    unsafe: Sequence[Line]
    talk: Sequence[Line]

    def passage(self, rng: random.Random) -> Line:
        """Return random unsafe lines, as many as a random number of tokens holds, and at least one."""
        room = rng.choice(PASSAGE_TOKENS)
        lines: list[Line] = []
        more = rng.choice(self.unsafe)
        while not lines or len(more.tokens) <= room:
            lines.append(more)
            room -= len(more.tokens)
            more = rng.choice(self.unsafe)
        return joined(lines)

    def talk_of(self, tokens: int, rng: random.Random) -> list[Line]:
        """Return random lines of talk with at least this number of tokens, and less than a line more."""
        lines: list[Line] = []
        while tokens > 0:
            lines.append(rng.choice(self.talk))
            tokens -= len(lines[-1].tokens)
        return lines


def tokens_of(lines: Sequence[Line]) -> list[int]:
    """Return the tokens of all lines."""
    return [*chain.from_iterable(line.tokens for line in lines)]


def joined(lines: Sequence[Line]) -> Line:
    """Return lines as one: a category is true of it if it is true of a line, and unknown if of no line is known."""
    return Line(
        text="".join(line.text for line in lines),
        tokens=tokens_of(lines),
        labels=reduce(np.fmax, [line.labels for line in lines], UNKNOWN),
    )


def bundled_tokenizer() -> Tokenizer:
    """Return the bundled model's tokenizer."""
    return Tokenizer.from_file(str(DEMO_MODEL / "tokenizer.json"))


def material(data: Path, logs: Sequence[Path], sources: Sequence[str], seed: int) -> tuple[Material, Material]:
    """Return what the model is trained on, and what is measured: no group of unsafe texts and no line is in both.

    Args:
        data: Texts with labels, as ``deploy.demo_model.train`` reads them.
        logs: Chat logs, as ``bench --texts`` reads them.
        sources: The sources of ``data`` that give the unsafe lines; empty for all.
        seed: Another seed gives another split.
    """
    tokenizer = bundled_tokenizer()
    rows = read_rows(data)
    unsafe = (rows.labels == 1).any(axis=1) & (rows.of(sources) if sources else True)
    tenth = tenths(rows, seed)
    texts = sorted({text.strip() for log in logs for text in read_texts(log, plain())})
    random.Random(seed).shuffle(texts)  # noqa: S311 - a seed gives the same split
    safe = np.zeros((len(texts), len(CATEGORY_SLUGS)), np.float32)
    talk = [line for line in lines_of(tokenizer, texts, safe) if len(line.tokens) <= LINE_TOKENS_MAX]
    half = len(talk) // 2

    def unsafe_lines(mask: NDArray[np.bool_]) -> list[Line]:
        chosen = rows.where(unsafe & mask)
        return [
            line
            for line in lines_of(tokenizer, [text.strip() for text in chosen.texts], chosen.labels)
            if len(line.tokens) in PASSAGE_TOKENS
        ]

    return (
        Material(unsafe_lines(tenth >= MEASURED_TENTHS), talk[:half]),
        Material(unsafe_lines(tenth < MEASURED_TENTHS), talk[half:]),
    )


def lines_of(tokenizer: Tokenizer, texts: Sequence[str], labels: Floats) -> list[Line]:
    """Return each text as a line."""
    ended = [f"{text}\n" for text in texts]
    encoded = tokenizer.encode_batch(ended)
    return [Line(text, one.ids, of) for text, one, of in zip(ended, encoded, labels, strict=True)]


def window_of(source: Material, size: int, rng: random.Random) -> tuple[list[int], Floats]:
    """Return ``[size]`` tokens of talk, half the time with a passage, and ``[size, L]`` labels at each place.

    The window begins and ends anywhere in a line. Inside the passage the labels are unknown.
    """
    labels = np.zeros((size, len(CATEGORY_SLUGS)), np.float32)
    passage = source.passage(rng) if rng.random() < 1 / 2 else joined([])
    length = len(passage.tokens)
    start = rng.randint(0, size - length)
    before, after = (tokens_of(source.talk_of(tokens, rng)) for tokens in (start + 1, size - start - length + 1))
    labels[start : start + length] = np.nan
    if length:
        labels[start + length - 1 :] = passage.labels
    return [*before[len(before) - start :], *passage.tokens, *after[: size - start - length]], labels


def train(source: Material, folder: Path, seed: int) -> None:
    """Train a model, and write it with its tokenizer into a folder: about eight minutes on a core."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng, noise = random.Random(seed), np.random.default_rng(seed)  # noqa: S311 - a seed gives the same model
    tokenizer = bundled_tokenizer()
    model = new_model(tokenizer.get_vocab_size(), layers=LAYERS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05, betas=(0.9, 0.98))

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / (STEPS // 20)) * (1 + math.cos(math.pi * step / STEPS)) / 2

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    weights = torch.ones(len(CATEGORY_SLUGS))
    for step in range(STEPS):
        size = SHORT_WINDOW if step < SHORT_STEPS * STEPS else WINDOW  # short ones teach what to look for
        rows, labels = zip(*(window_of(source, size, rng) for _ in range(STEP_TOKENS // size)), strict=True)
        ids, kept = np.array(rows), noise.random((len(rows), size)) >= TOKEN_DROPOUT
        ids = np.where(kept, ids, noise.integers(0, tokenizer.get_vocab_size(), ids.shape))
        states = model.model(input_ids=torch.from_numpy(ids), use_cache=False).last_hidden_state
        loss = masked_loss(model.score(states), torch.from_numpy(np.stack(labels)), weights)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 50 == 0:
            say(f"step {step + 1} of {STEPS}: loss {loss.item():.4f}")
    save(model, tokenizer, folder)
