"""Whether an unsafe passage is found anywhere in a long text: ``python -m tests.bench.passages DATA LOG``.

DATA has texts with labels, as ``deploy.demo_model.train`` reads them. LOG has harmless chat, as ``bench --texts``
reads it. The bundled model is trained on short texts, and rarely sees a passage among other talk. So this script
trains a small model of the same architecture to do that, on other passages and other talk than it measures.

The question is what the windows lose, not what the model knows. So a passage counts only if the model finds it in
one window with the talk around it, and if the model flags no window of the talk alone.
"""

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import Qwen2ForSequenceClassification

from deploy.demo_model.rows import read_rows
from deploy.demo_model.train import classify, encode, hidden_states, pool, say
from tests.shapes import plain
from worker.classifier.model_files import DEMO_MODEL
from worker.commands.bench.texts import read_texts
from worker.moderation.windows import WindowBounds, windows

WINDOW, OVERLAP, WINDOWS_MAX = 512, 64, 9
TEXT_TOKENS = 4000
PASSAGE_TOKENS = range(8, OVERLAP + 1)
BATCH, RATE = 16, 7e-4
TALK_WINDOWS, TALK_SHARE_BELOW = 300, 0.99

Tokens = list[int]


@dataclass(frozen=True, slots=True)
class Material:
    """What texts are made of.

    Attributes:
        passages: Unsafe texts, as tokens.
        talk: Lines of harmless chat, as tokens that end with a line end.
    """

    passages: Sequence[Tokens]
    talk: Sequence[Tokens]


def material(tokenizer: Tokenizer, data: Path, log: Path, rng: random.Random) -> tuple[Material, Material]:
    """Return what the model is trained on and what is measured: no passage and no line is in both."""
    rows = read_rows(data)
    unsafe = sorted({text for text, labels in zip(rows.texts, rows.labels, strict=True) if (labels == 1).any()})
    passages = [
        ids for ids in encode(tokenizer, [f"{text}\n" for text in unsafe], WINDOW) if len(ids) in PASSAGE_TOKENS
    ]
    lines = sorted(set(read_texts(log, plain())))
    talk = encode(tokenizer, [f"{line}\n" for line in lines], OVERLAP)
    rng.shuffle(passages)
    rng.shuffle(talk)
    return (
        Material(passages[: len(passages) // 2], talk[: len(talk) // 2]),
        Material(passages[len(passages) // 2 :], talk[len(talk) // 2 :]),
    )


def talk_of(source: Sequence[Tokens], tokens: int, rng: random.Random) -> list[Tokens]:
    """Return random lines with so many tokens in all."""
    lines: list[Tokens] = []
    left = tokens
    while left > 0:
        lines.append(rng.choice(source)[:left])
        left -= len(lines[-1])
    return lines


def text_of(source: Material, tokens: int, rng: random.Random, passage: Tokens) -> tuple[Tokens, int]:
    """Return talk with a passage between two lines, and where the passage begins. An empty passage is none."""
    lines = talk_of(source.talk, tokens - len(passage), rng)
    place = rng.randint(0, len(lines))
    before = sum(map(len, lines[:place]))
    return [*chain(*lines[:place], passage, *lines[place:])], before


def train(model: Qwen2ForSequenceClassification, source: Material, steps: int, rng: random.Random) -> None:
    """Train the model to say with its first category whether there is a passage among the talk.

    The texts become longer, because the model that it starts from knows short ones.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, total_steps=steps)
    model.train()
    for step in range(steps):
        longest = PASSAGE_TOKENS.stop + (WINDOW - PASSAGE_TOKENS.stop) * min(1.0, 1.5 * step / steps)
        tokens = rng.randint(PASSAGE_TOKENS.stop, round(longest))
        unsafe = [number % 2 == 0 for number in range(BATCH)]
        rows = [text_of(source, tokens, rng, rng.choice(source.passages) if one else [])[0] for one in unsafe]
        logits = model.score(pool(model, rows))[:, 0]
        loss = binary_cross_entropy_with_logits(logits, torch.tensor(unsafe, dtype=torch.float32))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == steps - 1:
            say(f"step {step}: loss {loss.item():.3f}")


@dataclass(slots=True)
class Figures:
    """What became of the measured texts.

    Attributes:
        texts: How many were made.
        quiet: How many have no flagged window without the passage.
        found: How many of these are flagged in one window with the passage and the talk around it.
        flagged: How many of those are flagged as a text with windows.
        head_only: How many of those are flagged when only the head is read.
    """

    texts: int = 0
    quiet: int = 0
    found: int = 0
    flagged: int = 0
    head_only: int = 0


def logits_of(model: Qwen2ForSequenceClassification, rows: Sequence[Tokens]) -> list[float]:
    """Return the first logit of each row."""
    found: list[float] = classify(model, hidden_states(model, rows))[:, 0].tolist()
    return found


def threshold_of(model: Qwen2ForSequenceClassification, source: Material, rng: random.Random) -> float:
    """Return the logit that few windows of talk exceed, in the talk that the model was trained on."""
    logits = sorted(logits_of(model, [text_of(source, WINDOW, rng, [])[0] for _ in range(TALK_WINDOWS)]))
    return logits[round(TALK_SHARE_BELOW * (TALK_WINDOWS - 1))]


def measure(
    model: Qwen2ForSequenceClassification, source: Material, texts: int, threshold: float, rng: random.Random
) -> Figures:
    """Return how often a passage that one window finds is found in a long text."""
    figures = Figures()
    bounds = WindowBounds(size=WINDOW, overlap=OVERLAP, windows_max=WINDOWS_MAX)

    def flags(rows: Sequence[Tokens]) -> list[bool]:
        return [logit > threshold for logit in logits_of(model, rows)]

    for _ in range(texts):
        passage = rng.choice(source.passages)
        text, place = text_of(source, TEXT_TOKENS, rng, passage)
        end = place + len(passage)
        talk = text[:place] + text[end:]
        start = min(max(0, (place + end - WINDOW) // 2), len(text) - WINDOW)
        alone, around, *parts = (
            any(flags([talk[one.start : one.end] for one in windows(len(talk), bounds)])),
            *flags(
                [text[start : start + WINDOW], *(text[one.start : one.end] for one in windows(len(text), bounds))]
            ),
        )
        figures.texts += 1
        if alone:
            continue
        figures.quiet += 1
        if around:
            figures.found += 1
            figures.flagged += any(parts)
            figures.head_only += parts[0]
    return figures


def main() -> None:
    """Train, measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("log", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    rng = random.Random(options.seed)  # noqa: S311 - a seed gives the same texts
    torch.manual_seed(options.seed)
    tokenizer = Tokenizer.from_file(str(DEMO_MODEL / "tokenizer.json"))
    trained, measured = material(tokenizer, options.data, options.log, rng)
    model = Qwen2ForSequenceClassification.from_pretrained(DEMO_MODEL, dtype=torch.float32)
    train(model, trained, options.steps, rng)
    threshold = threshold_of(model, trained, rng)
    say(f"threshold: a logit of {threshold:.2f}")
    figures = measure(model, measured, options.texts, threshold, rng)
    say(
        f"{figures.texts} texts of {TEXT_TOKENS} tokens; {figures.quiet} with talk that is not flagged; "
        f"in {figures.found} of these, one window finds the passage. "
        f"Flagged with windows: {figures.flagged} ({figures.flagged / max(1, figures.found):.1%}); "
        f"with the head alone: {figures.head_only} ({figures.head_only / max(1, figures.found):.1%})."
    )


if __name__ == "__main__":
    main()
