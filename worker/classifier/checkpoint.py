"""What this worker takes for a DuoGuard, and why anything else is refused.

transformers is generous where moderation can't be: it makes up a head that is missing, opens pickles, runs
code out of a repository when asked to. Each refusal is a sentence; nothing is guessed.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel

from schemas.labels import CATEGORY_NAMES
from worker.classifier.model_files import CONFIG_FILE, blaming, weight_files
from worker.errors import ModelError

ARCHITECTURES: Mapping[str, str] = {
    "Qwen2ForSequenceClassification": "qwen2",
    "LlamaForSequenceClassification": "llama",
}
"""Of the DuoGuards, each with its ``model_type``."""

# Left over when a classifier is made out of a language model; no classifier has a use for it.
UNUSED_WEIGHTS = frozenset({"lm_head.weight"})

NAMED_MAX = 5
"""Weights that a refusal lists by name."""


def read_config(folder: Path) -> PretrainedConfig:
    """The configuration in a folder, once it is known to be a DuoGuard's.

    Raises:
        ModelError: Another shape, or code or weights from elsewhere.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise ModelError(f"{folder} holds no {CONFIG_FILE}: it is no model. Try moderation-worker model fetch.")
    with blaming(f"{path} can't be read: fetch it again"):
        raw = json.loads(path.read_text(encoding="utf-8"))
        _refuse(folder, [*_foreign(raw), *_borrowed(folder)])
        config: PretrainedConfig = AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    if config.num_labels != len(CATEGORY_NAMES):
        _refuse(folder, [f"it has {config.num_labels} outputs, and the DuoGuards have {len(CATEGORY_NAMES)}"])
    return config


def check_bound(config: PretrainedConfig, tokens_max: int) -> None:
    """Refuses a token bound that the model can't attend over.

    Raises:
        ModelError: ``tokens_max`` is beyond its positions or its sliding window.
    """
    limits: dict[str, int] = {"positions": config.max_position_embeddings}
    window: int | None = getattr(config, "sliding_window", None)
    if window is not None and "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        limits["sliding window"] = window
    for name, limit in limits.items():
        if tokens_max > limit:
            raise ModelError(
                f"WORKER_MODEL__TOKENS_MAX is {tokens_max}, but this model's {name} end at {limit} tokens: "
                f"set it to {limit} at most."
            )


def load_weights(folder: Path, config: PretrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    """The model on the CPU, every weight from its files and every file's weight in it.

    Raises:
        ModelError: Weights are missing, left over, of another shape, or their file is damaged.
    """
    for path in weight_files(folder):
        if path.suffix == ".safetensors":
            with blaming(f"{path} is damaged or cut short: fetch it again"), safe_open(path, framework="pt"):
                pass
    with blaming(f"The weights in {folder} can't be loaded"):
        model, told = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            attn_implementation="sdpa",
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            # So that a head of another size is told like the rest, and refused here.
            ignore_mismatched_sizes=True,
        )
    _refuse(folder, _unfaithful(told))
    loaded: PreTrainedModel = model.eval()
    return loaded


def _foreign(raw: Mapping[str, Any]) -> Iterator[str]:
    """What a configuration says that no DuoGuard's does."""
    architecture = (raw.get("architectures") or ["no architecture"])[0]
    if ARCHITECTURES.get(architecture) != raw.get("model_type"):
        taken = " and ".join(ARCHITECTURES)
        yield f"it is {architecture} ({raw.get('model_type')}), and only {taken} are taken"
    if "auto_map" in raw:
        yield "it brings code of its own (auto_map), which is never run"
    if raw.get("quantization_config"):
        yield "its weights are quantized, and only float32 and bfloat16 are taken"
    if "transformers_weights" in raw:
        yield "it names weights of its own choice (transformers_weights)"


def _borrowed(folder: Path) -> Iterator[str]:
    """What lies beside a model and would change it when it is loaded."""
    if (folder / "adapter_config.json").is_file():
        yield "it is an adapter (adapter_config.json): merge it into its model first"
    tokenizer = folder / "tokenizer_config.json"
    if tokenizer.is_file() and "auto_map" in json.loads(tokenizer.read_text(encoding="utf-8")):
        yield "its tokenizer brings code of its own (auto_map), which is never run"


def _unfaithful(told: Mapping[str, Any]) -> Iterator[str]:
    """What transformers only warns of when weights and configuration disagree."""
    kinds = {
        "are missing, and would be random": told["missing_keys"],
        "are of another size": {key for key, *_ in told["mismatched_keys"]},
        "fit nowhere": set(told["unexpected_keys"]) - UNUSED_WEIGHTS,
    }
    for what, keys in kinds.items():
        if keys:
            named = ", ".join(sorted(keys)[:NAMED_MAX])
            yield f"{len(keys)} of its weights {what} ({named}{', ...' if len(keys) > NAMED_MAX else ''})"
    if told["error_msgs"]:
        yield f"transformers could not load all of it: {'; '.join(told['error_msgs'])}"


def _refuse(folder: Path, faults: Iterator[str] | list[str]) -> None:
    told = "; ".join(faults)
    if told:
        raise ModelError(
            f"The model in {folder} is refused: {told}. See moderation-worker model fetch for one that fits."
        )
