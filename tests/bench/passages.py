"""Whether an unsafe passage is found anywhere in a long text: ``python -m tests.bench.passages DATA LOG``.

DATA has texts with labels, as ``deploy.demo_model.train`` reads them. LOG has harmless chat, as ``bench --texts``
reads it. The bundled model is trained on short texts, and rarely sees a passage among other talk. So a bag of words
takes its place, which sees ``SPAN`` tokens at a time. It learns from other passages and other talk than it is
measured on.

The question is what the windows lose, not what the model knows. So a passage counts only if the bag of words
finds it in one window with the talk around it, and if it flags no window of the talk alone.
"""

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from deploy.demo_model.rows import read_rows
from deploy.demo_model.train import encode, say
from tests.shapes import plain
from worker.classifier.model_files import DEMO_MODEL
from worker.commands.bench.texts import read_texts
from worker.moderation.text_windows import WindowBounds, windows

WINDOW, OVERLAP, WINDOWS_MAX = 512, 64, 9
TEXT_TOKENS = 4000
PASSAGE_TOKENS = range(8, OVERLAP + 1)
SPAN = 16
TALK_WINDOWS, TALK_SHARE_BELOW = 300, 0.99

Tokens = list[int]
Floats = NDArray[np.float64]


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
    """Return random lines whose tokens add up to this number."""
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


def weights_of(source: Material, vocabulary: int) -> Floats:
    """Return ``[V]`` how much more frequent each token is in passages than in talk, as a logarithm."""
    counts = [
        np.bincount(np.array([*chain(*rows)]), minlength=vocabulary) + 1.0
        for rows in (source.passages, source.talk)
    ]
    passages, talk = (np.log(count / count.sum()) for count in counts)
    found: Floats = passages - talk
    return found


def score(weights: Floats, row: Tokens) -> float:
    """Return the greatest sum of weights of ``SPAN`` tokens in a row."""
    sums = np.concatenate(([0.0], np.cumsum(weights[row])))
    return float((sums[SPAN:] - sums[:-SPAN]).max())


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


def threshold_of(weights: Floats, source: Material, rng: random.Random) -> float:
    """Return the score that few windows of talk exceed, in the talk that the weights come from."""
    scores = sorted(score(weights, text_of(source, WINDOW, rng, [])[0]) for _ in range(TALK_WINDOWS))
    return scores[round(TALK_SHARE_BELOW * (TALK_WINDOWS - 1))]


def measure(weights: Floats, source: Material, texts: int, threshold: float, rng: random.Random) -> Figures:
    """Return how often a passage that one window finds is found in a long text."""
    figures = Figures()
    bounds = WindowBounds(size=WINDOW, overlap=OVERLAP, windows_max=WINDOWS_MAX)

    def flags(rows: Sequence[Tokens]) -> list[bool]:
        return [score(weights, row) > threshold for row in rows]

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
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    rng = random.Random(options.seed)  # noqa: S311 - a seed gives the same texts
    tokenizer = Tokenizer.from_file(str(DEMO_MODEL / "tokenizer.json"))
    trained, measured = material(tokenizer, options.data, options.log, rng)
    weights = weights_of(trained, tokenizer.get_vocab_size())
    figures = measure(weights, measured, options.texts, threshold_of(weights, trained, rng), rng)
    say(
        f"{figures.texts} texts of {TEXT_TOKENS} tokens; {figures.quiet} with talk that is not flagged; "
        f"in {figures.found} of these, one window finds the passage. "
        f"Flagged with windows: {figures.flagged} ({figures.flagged / max(1, figures.found):.1%}); "
        f"with the head alone: {figures.head_only} ({figures.head_only / max(1, figures.found):.1%})."
    )


if __name__ == "__main__":
    main()
