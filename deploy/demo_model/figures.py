"""The figures of the demonstration model's card, measured on held-out rows, as Markdown.

Labels are ``[N, L]`` of 1, 0 and NaN (unknown), logits ``[N, L]``; a probability of 0.5 is a logit of 0.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from schemas.labels import CATEGORY_SLUGS

MARKS = ("<!-- figures: written by deploy/demo_model/train.py -->", "<!-- end of figures -->")

Floats = NDArray[np.float32]


def auc(scores: Floats, truth: NDArray[np.bool_]) -> float:
    """Return the probability that a positive scores above a negative; ties count half; NaN unless both exist."""
    if truth.all() or not truth.any():
        return float("nan")
    negatives = np.sort(scores[~truth])
    below = np.searchsorted(negatives, scores[truth], "left")
    not_above = np.searchsorted(negatives, scores[truth], "right")
    return float((below + not_above).mean() / 2 / len(negatives))


def category(slug: str, logits: Floats, labels: Floats) -> tuple[float, str]:
    """Return the AUC of a category, and its line of the table."""
    known = ~np.isnan(labels)
    truth, flags = labels[known] == 1, logits[known] > 0
    positives, flagged, hits = int(truth.sum()), int(flags.sum()), int((truth & flags).sum())
    precision = f"{hits / flagged:.2f}" if flagged else "-"
    recall = f"{hits / positives:.2f}" if positives else "-"
    f1 = 2 * hits / max(1, positives + flagged)
    area = auc(logits[known], truth)
    return area, f"| {slug} | {positives} of {len(truth)} | {area:.3f} | {precision} | {recall} | {f1:.2f} |"


def held_out(labels: Floats, logits: Floats, sources: Sequence[str]) -> str:
    """Return the figures by category, and by source the flagged share of rows that no label calls unsafe."""
    table = [category(slug, logits[:, k], labels[:, k]) for k, slug in enumerate(CATEGORY_SLUGS)]
    areas = [area for area, _ in table if not np.isnan(area)]
    macro = f"{sum(areas) / len(areas):.3f}" if areas else "unknown"
    lines = [
        f"{len(labels)} held-out rows of the training sources, split by group: macro AUC {macro}.",
        "",
        "| category | positives of known | AUC | precision at 0.5 | recall at 0.5 | F1 at 0.5 |",
        "|---|---|---|---|---|---|",
        *(line for _, line in table),
        "",
        "Flagged in some category at 0.5, of the held-out rows that no label calls unsafe (false alarms, and",
        "what the source left unlabelled):",
        "",
        "| source | rows | flagged |",
        "|---|---|---|",
    ]
    flagged, harmless = np.any(logits > 0, axis=1), ~np.any(labels == 1, axis=1)
    for source in sorted(set(sources)):
        share = flagged[harmless & np.array([name == source for name in sources])]
        if len(share):
            lines.append(f"| {source or 'all'} | {len(share)} | {100 * share.mean():.1f} % |")
    return "\n".join(lines)


def transfer(labels: Floats, logits: Floats, sources: Sequence[str]) -> str:
    """Return the figures on sources that were not trained on: safe against unsafe."""
    truth = np.any(labels == 1, axis=1)
    flags, area = np.any(logits > 0, axis=1), auc(logits.max(axis=1), truth)
    caught, alarms = ((100 * flags[side].mean() if side.any() else 0) for side in (truth, ~truth))
    return (
        f"Transfer to sources it never saw ({', '.join(sorted(set(sources)))}; {truth.sum()} of {len(truth)}\n"
        f"unsafe): AUC {area:.3f} of the greatest score; at 0.5 it flags {caught:.0f} % of the unsafe and\n"
        f"{alarms:.0f} % of the safe."
    )


def write_card(path: Path, measured: str) -> None:
    """Write the figures between the marks of the card; create the card if it does not exist."""
    begin, end = MARKS
    text = path.read_text(encoding="utf-8") if path.exists() else f"# Model card\n\n{begin}\n{end}\n"
    before, _, rest = text.partition(begin)
    path.write_text(f"{before}{begin}\n\n{measured}\n\n{end}{rest.partition(end)[2]}", encoding="utf-8")
