"""A model that is not a DuoGuard, or is damaged, is refused with a sentence that says what to do."""

import errno
import json
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import safetensors.torch
import torch

from tests.small_models import make_model, options
from worker.classifier import Classifier, load
from worker.errors import ExitCode, ModelError
from worker.scores import DeadLetterReason, Scores

Change = Callable[[Path], object]


def configure(**changes: Any) -> Change:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def weigh(change_weights: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    def change(folder: Path) -> None:
        weights = safetensors.torch.load_file(folder / "model.safetensors")
        change_weights(weights)
        safetensors.torch.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    return change


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def tokenizer_says(**changes: Any) -> Change:
    def change(folder: Path) -> None:
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def without_bos(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "post_processor": None}))


def index_of_a_missing_shard(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"score.weight": "model-00001-of-00001.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def remove(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def write(name: str, text: str) -> Change:
    return lambda folder: (folder / name).write_text(text)


@dataclass(frozen=True, kw_only=True)
class RefusedModel:
    """A change to a good model, and the words of the refusal."""

    change: Change
    says: tuple[str, ...]
    architecture: str = "qwen2"
    with_options: dict[str, Any] = field(default_factory=dict)


SLIDING = {"use_sliding_window": True, "sliding_window": 100, "max_window_layers": 0, "layer_types": None}

ROWS = {
    "another architecture": RefusedModel(
        change=configure(architectures=["MistralForSequenceClassification"], model_type="mistral"),
        says=("MistralForSequenceClassification", "Qwen2ForSequenceClassification"),
    ),
    "a language model": RefusedModel(
        change=configure(architectures=["Qwen2ForCausalLM"]), says=("Qwen2ForCausalLM",)
    ),
    "one architecture under the other's name": RefusedModel(
        change=configure(architectures=["LlamaForSequenceClassification"]), says=("LlamaFor", "qwen2")
    ),
    "no architecture": RefusedModel(change=configure(architectures=None), says=("no architecture",)),
    "two outputs": RefusedModel(
        change=configure(id2label={"0": "safe", "1": "unsafe"}, label2id={"safe": 0, "unsafe": 1}),
        says=("2 outputs", "12"),
    ),
    "a missing head": RefusedModel(change=weigh(lambda w: w.pop("score.weight")), says=("score.weight", "missing")),
    "a head of another size": RefusedModel(
        change=weigh(lambda w: w.update({"score.weight": torch.zeros(2, 64)})),
        says=("score.weight", "another size"),
    ),
    "weights that fit nowhere": RefusedModel(
        change=weigh(lambda w: w.update({"score.bias": torch.zeros(12)})), says=("score.bias", "fit nowhere")
    ),
    "weights that are no numbers": RefusedModel(
        change=weigh(lambda w: w["score.weight"].fill_(torch.nan)), says=("not a number", "damaged")
    ),
    "pickled weights": RefusedModel(change=pickled, says=("pytorch_model.bin", "never loaded")),
    "no weights": RefusedModel(change=remove("model.safetensors"), says=("holds no model.safetensors",)),
    "weights cut short": RefusedModel(
        change=cut_weights, says=("model.safetensors is damaged or cut short", "fetch")
    ),
    "a shard that isn't there": RefusedModel(
        change=index_of_a_missing_shard, says=("model-00001-of-00001.safetensors",)
    ),
    "code of its own": RefusedModel(
        change=configure(auto_map={"AutoModel": "modeling_x.X"}), says=("auto_map", "never run")
    ),
    "code of its tokenizer": RefusedModel(
        change=tokenizer_says(auto_map={"AutoTokenizer": ["x.X", None]}), says=("auto_map", "never run")
    ),
    "quantized weights": RefusedModel(
        change=configure(quantization_config={"quant_method": "bitsandbytes"}), says=("quantized", "bfloat16")
    ),
    "weights of the configuration's choice": RefusedModel(
        change=configure(transformers_weights="other.safetensors"), says=("transformers_weights",)
    ),
    "an adapter": RefusedModel(change=write("adapter_config.json", "{}"), says=("adapter", "merge")),
    "a sliding window smaller than the bound": RefusedModel(
        change=configure(**SLIDING), says=("sliding window", "100", "WORKER_MODEL__TOKENS_MAX")
    ),
    "a bound beyond the positions": RefusedModel(
        change=lambda _: None,
        with_options={"tokens_max": 1025},
        says=("WORKER_MODEL__TOKENS_MAX is 1025", "1024"),
    ),
    "no configuration": RefusedModel(change=remove("config.json"), says=("no config.json", "model fetch")),
    "a configuration that is no JSON": RefusedModel(
        change=write("config.json", "{"), says=("config.json can't be read",)
    ),
    "no tokenizer": RefusedModel(
        change=remove("tokenizer.json"),
        says=(
            "WORKER_MODEL__TOKENIZER",
            "tokenizer.json",
            "tokenizer_config.json",
            "moderation-worker model fetch",
        ),
    ),
    "a tokenizer that is no JSON": RefusedModel(
        change=write("tokenizer.json", "{"), says=("tokenizer", "can't be read")
    ),
    "a tokenizer that is empty": RefusedModel(
        change=write("tokenizer.json", "{}"), says=("tokenizer", "can't be read")
    ),
    "a tokenizer of a larger model": RefusedModel(
        change=configure(vocab_size=500), says=("ids up to 599", "ends at 499", "WORKER_MODEL__TOKENIZER")
    ),
    "a Llama without its BOS": RefusedModel(
        change=without_bos, architecture="llama", says=("BOS", "WORKER_MODEL__TOKENIZER")
    ),
    "a revision of a folder that has none": RefusedModel(
        change=lambda _: None,
        with_options={"revision": "abc"},
        says=("WORKER_MODEL__REVISION is abc", "commit unknown", "model fetch"),
    ),
    "a tokenizer's revision without a repository": RefusedModel(
        change=lambda _: None,
        with_options={"tokenizer_revision": "abc"},
        says=("WORKER_MODEL__TOKENIZER_REVISION",),
    ),
    "a tokenizer folder without a tokenizer": RefusedModel(
        change=lambda folder: (folder / "empty").mkdir(),
        with_options={"tokenizer": "{folder}/empty"},
        says=("WORKER_MODEL__TOKENIZER", "tokenizer.json"),
    ),
    "a device that isn't there": RefusedModel(
        change=lambda _: None, with_options={"device": "cuda:99"}, says=("WORKER_MODEL__DEVICE is cuda:99", "auto")
    ),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: make_model(tmp_path_factory.mktemp(name), name) for name in ("qwen2", "llama")}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_a_model_that_is_not_a_duoguard_is_refused_with_a_sentence(
    row: RefusedModel, models: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(models[row.architecture], tmp_path / "model"))
    row.change(folder)
    changes = {
        name: value.format(folder=folder) if isinstance(value, str) else value
        for name, value in row.with_options.items()
    }
    with pytest.raises(ModelError) as refusal:
        load(options(folder, **changes), lambda _: None)
    assert refusal.value.exit_code == ExitCode.MODEL
    for words in row.says:
        assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("path", ["/nowhere/model", "./model", "~/no/model", "model", "a/b/c"])
def test_a_missing_folder_is_reported(path: str) -> None:
    with pytest.raises(ModelError, match=r"WORKER_MODEL__PATH: there is no folder .*model fetch"):
        load(options(path), lambda _: None)


def test_an_unreachable_hub_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.ENETUNREACH, "network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", away)
    with pytest.raises(ModelError, match=r"nobody/no-such-guard .* the hub can't be asked"):
        load(options("nobody/no-such-guard"), lambda _: None)


def scores_of(classifier: Classifier, text: str) -> Scores:
    (scores,) = classifier.score([classifier.encode([text])[0].tokens])
    assert not isinstance(scores, DeadLetterReason)
    return scores


def test_an_unusual_but_correct_model_is_accepted(models: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models["qwen2"], tmp_path / "model"))
    # Other code takes this problem type for softmax; this worker never does. A language model's head is not used.
    configure(problem_type="single_label_classification")(folder)
    weigh(lambda weights: weights.update({"lm_head.weight": torch.zeros(3, 3)}))(folder)
    taken, plain = load(options(folder), lambda _: None), load(options(models["qwen2"]), lambda _: None)
    assert np.abs(scores_of(taken, "hello") - scores_of(plain, "hello")).max() < 1e-5


def test_a_sliding_window_as_wide_as_the_bound_is_accepted(models: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models["qwen2"], tmp_path / "model"))
    configure(**SLIDING)(folder)
    slid, plain = (load(options(path, tokens_max=100), lambda _: None) for path in (folder, models["qwen2"]))
    assert np.abs(scores_of(slid, "hello " * 200) - scores_of(plain, "hello " * 200)).max() < 1e-5


def test_a_batch_is_never_smaller_than_a_text(models: dict[str, Path]) -> None:
    assert (
        load(options(models["qwen2"], tokens_max=900, batch_tokens_max=600), lambda _: None).batch_tokens_max == 900
    )
    assert load(options(models["qwen2"], batch_tokens_max=600), lambda _: None).batch_tokens_max == 600
