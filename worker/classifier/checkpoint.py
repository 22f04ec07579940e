"""Load a DuoGuard's weights, and refuse every other model with a sentence that says why.

transformers is more tolerant than moderation can be. It fills a missing head with random numbers, opens pickles,
and runs code from a repository when asked to.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel

from schemas.labels import CATEGORY_NAMES
from worker.classifier.model_files import CONFIG_FILE, as_model_error, weight_files
from worker.errors import ModelError

ARCHITECTURES: Mapping[str, str] = {
    "Qwen2ForSequenceClassification": "qwen2",
    "LlamaForSequenceClassification": "llama",
}
"""The DuoGuards' architectures, each with its ``model_type``."""

# Left over when a language model is turned into a classifier. A classifier does not use it.
UNUSED_WEIGHTS = frozenset({"lm_head.weight"})

NAMED_MAX = 5
"""Number of weights that a refusal lists by name."""


def read_config(folder: Path) -> PretrainedConfig:
    """Return the configuration in a folder, and verify that it is a DuoGuard's.

    Raises:
        ModelError: It has another architecture or number of outputs, or it names code or weights from elsewhere.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise ModelError(
            f"{folder} holds no {CONFIG_FILE}, so it is not a model. Try moderation-worker model fetch."
        )
    with as_model_error(f"{path} can't be read: fetch it again"):
        raw = json.loads(path.read_text(encoding="utf-8"))
        _refuse(folder, [*_foreign_settings(raw), *_foreign_files(folder)])
        config: PretrainedConfig = AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    if config.num_labels != len(CATEGORY_NAMES):
        _refuse(folder, [f"it has {config.num_labels} outputs, but the DuoGuards have {len(CATEGORY_NAMES)}"])
    return config


def check_token_bound(config: PretrainedConfig, tokens_max: int) -> None:
    """Refuse a token bound that is beyond the model's attention.

    Raises:
        ModelError: ``tokens_max`` is beyond the model's positions or its sliding window.
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
    """Return the model on the CPU: every weight comes from its files, and every weight in its files is used.

    Raises:
        ModelError: A weight is missing, left over or of another size, or a file is damaged.
    """
    for path in weight_files(folder):
        if path.suffix == ".safetensors":
            with as_model_error(f"{path} is damaged or cut short: fetch it again"), safe_open(path, framework="pt"):
                pass
    with as_model_error(f"The weights in {folder} can't be loaded"):
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            attn_implementation="sdpa",
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            # A head of another size is then reported like the other mismatches, and refused below.
            ignore_mismatched_sizes=True,
        )
    _refuse(folder, _mismatches(report))
    loaded: PreTrainedModel = model.eval()
    return loaded


def _foreign_settings(raw: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a DuoGuard's configuration never says."""
    architecture = (raw.get("architectures") or ["no architecture"])[0]
    if ARCHITECTURES.get(architecture) != raw.get("model_type"):
        accepted = " and ".join(ARCHITECTURES)
        yield f"it is {architecture} ({raw.get('model_type')}), but only {accepted} are accepted"
    if "auto_map" in raw:
        yield "it brings code of its own (auto_map), which is never run"
    if raw.get("quantization_config"):
        yield "its weights are quantized, but only float32 and bfloat16 are accepted"
    if "transformers_weights" in raw:
        yield "it names weights from elsewhere (transformers_weights)"


def _foreign_files(folder: Path) -> Iterator[str]:
    """Yield the files in the folder that would change the model when it is loaded."""
    if (folder / "adapter_config.json").is_file():
        yield "it is an adapter (adapter_config.json): merge it into its model first"
    tokenizer = folder / "tokenizer_config.json"
    if tokenizer.is_file() and "auto_map" in json.loads(tokenizer.read_text(encoding="utf-8")):
        yield "its tokenizer brings code of its own (auto_map), which is never run"


def _mismatches(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the mismatches between weights and configuration, of which transformers only warns."""
    kinds = {
        "are missing, and would be random": report["missing_keys"],
        "are of another size": {key for key, *_ in report["mismatched_keys"]},
        "fit nowhere": set(report["unexpected_keys"]) - UNUSED_WEIGHTS,
    }
    for what, keys in kinds.items():
        if keys:
            named = ", ".join(sorted(keys)[:NAMED_MAX])
            yield f"{len(keys)} of its weights {what} ({named}{', ...' if len(keys) > NAMED_MAX else ''})"
    if report["error_msgs"]:
        yield f"transformers could not load all of it: {'; '.join(report['error_msgs'])}"


def _refuse(folder: Path, reasons: Iterable[str]) -> None:
    """Raise a ModelError if there is a reason."""
    listed = "; ".join(reasons)
    if listed:
        raise ModelError(
            f"The model in {folder} is refused: {listed}. Fetch a DuoGuard with moderation-worker model fetch."
        )
