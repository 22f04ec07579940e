"""DuoGuard's published evaluation, step by step: what `evaluate` must decide too.

Source of the steps: evaluation/evaluate_duoguard.py in github.com/yihedeng9/DuoGuard. The tokenizer's pad token is
its end of text. A text is padded and cut to 2,048 tokens. The model runs in bfloat16 on one text at a time. A text
is unsafe if the greatest sigmoid is greater than 0.5.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from tests.small_models import make_model
from worker.classifier.model_files import DEMO_MODEL

TOKENS = 2048
THRESHOLD = 0.5
NEAR = 2e-2
"""Decisions may differ if a score is this near to the threshold: bfloat16 has eight bits of precision."""

PARITY_SETTINGS = {
    "WORKER_MODEL__TOKENS_MAX": str(TOKENS),
    "WORKER_MODEL__DEVICE": "cpu",
    "WORKER_MODEL__DTYPE": "float32",
    "WORKER_TEXT__VIEWS": "raw",
    "WORKER_TEXT__WINDOWS_MAX": "1",
}
"""With these settings `evaluate` decides as the published evaluation."""


class PublishedProtocol:
    """The published evaluation of one model.

    Args:
        folder: The model with its tokenizer.
    """

    def __init__(self, folder: Path) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._tokenizer.pad_token = self._tokenizer.eos_token
        self._model: Any = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.bfloat16)

    @torch.no_grad()
    def score(self, text: str) -> float:
        """Return the greatest probability of a text."""
        inputs = self._tokenizer(
            text, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt"
        )
        logits = self._model(input_ids=inputs.input_ids, attention_mask=inputs.attention_mask).logits
        return float(torch.max(torch.sigmoid(logits)).item())


def disagreements(published: Sequence[float], highest: NDArray[np.float32]) -> list[int]:
    """Return the texts whose decisions differ, though neither score is near the threshold."""
    return [
        number
        for number, (one, other) in enumerate(zip(published, highest.tolist(), strict=True))
        if (one > THRESHOLD) != (other > THRESHOLD) and min(abs(one - THRESHOLD), abs(other - THRESHOLD)) > NEAR
    ]


def make_protocol_model(folder: Path, name: str) -> Path:
    """Return the bundled model, or make a random one of an architecture that finds about half of the texts unsafe.

    The twelve rows of the head of a random model have independent signs, so its greatest probability would nearly
    always be above a half. Here the rows are nearly equal.
    """
    if name == "demo":
        return DEMO_MODEL
    make_model(folder, name, max_position_embeddings=TOKENS)
    weights = folder / "model.safetensors"
    found = load_file(weights)
    head = found["score.weight"]
    found["score.weight"] = 0.3 * head[0] + 0.01 * head
    save_file(found, weights, {"format": "pt"})
    return folder
