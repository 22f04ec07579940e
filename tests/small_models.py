"""Small random models of both architectures with their own tokenizers, and the model card's own loop."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from torch.nn.functional import scaled_dot_product_attention
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForSequenceClassification,
)

from worker.classifier import ModelOptions

ARCHITECTURES = ("qwen2", "llama")

SENTENCES = (
    "good game everyone, see you tomorrow at the same time",
    "Größe, Straße und Übermut: schöne Grüße aus Köln",
    "¿Dónde está la biblioteca? Mañana por la mañana.",
    "всем привет, отличный стрим сегодня",
    "今天的直播很好看, 谢谢主播",
    "今日はいい天気ですね、また明日",
    "안녕하세요 여러분 반갑습니다",
    "مرحبا بكم جميعا في البث",
    "शुभ प्रभात दोस्तों",
    "สวัสดีครับทุกคน",
    "שלום לכולם",
    "\U0001f600\U0001f602\U0001f44d\U0001f3fd gg wp !!! 12345 \t\n  x=1;",
    "ke\u0301k ﷽ ﬁne \uff21\uff42\uff43 \u200b zero width",
    "<|im_start|>user hello<|im_end|><|endoftext|>",
)

# The split pattern of Qwen2, and of Llama 3 except for its numbers.
# Source: tokenizer.json of Qwen/Qwen2.5-0.5B and of meta-llama/Llama-3.2-1B.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{numbers}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def options(folder: Path | str, **changes: Any) -> ModelOptions:
    """Return the default options, with one thread of the CPU."""
    defaults: dict[str, Any] = {
        "path": str(folder),
        "revision": None,
        "tokenizer": None,
        "tokenizer_revision": None,
        "digest": None,
        "device": "cpu",
        "dtype": "float32",
        "tokens_max": 512,
        "threads": 1,
        "batch_tokens_max": None,
    }
    return ModelOptions(**{**defaults, **changes})


def make_model(folder: Path, architecture: str, **config: Any) -> Path:
    """Write a random model and its tokenizer into a folder, and return the folder."""
    torch.manual_seed(len(architecture))
    sizes: dict[str, Any] = {
        "vocab_size": 700,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "initializer_range": 0.2,
        "num_labels": 12,
        "pad_token_id": 0,
        **config,
    }
    kind: Any = Qwen2ForSequenceClassification if architecture == "qwen2" else LlamaForSequenceClassification
    model = kind(Qwen2Config(**sizes) if architecture == "qwen2" else LlamaConfig(**sizes))
    model.save_pretrained(folder)
    make_tokenizer(folder, architecture)
    return folder


def make_tokenizer(folder: Path, architecture: str) -> Path:
    """Write a byte-level tokenizer like that of the architecture's family into a folder, and return the folder."""
    llama = architecture == "llama"
    end, start = ("<|end_of_text|>", "<|begin_of_text|>") if llama else ("<|endoftext|>", "<|im_start|>")
    pattern = _SPLIT.format(numbers=r"\p{N}{1,3}" if llama else r"\p{N}")
    tokenizer: Any = Tokenizer(models.BPE())
    tokenizer.normalizer = None if llama else normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=[end, start, "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.add_tokens([AddedToken("<tool_call>", special=False)])
    if llama:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{start} $A", pair=f"{start} $A {start} $B", special_tokens=[(start, 1)]
        )
    kind: Any = PreTrainedTokenizerFast
    saved = kind(
        tokenizer_object=tokenizer,
        eos_token=end,
        bos_token=start if llama else None,
        pad_token=None if llama else end,
        extra_special_tokens=["<|im_end|>"],
    )
    saved.save_pretrained(folder)
    if not llama:
        # The base model's repository names this class, and transformers then builds the tokenizer with it.
        path = folder / "tokenizer_config.json"
        path.write_text(path.read_text().replace("TokenizersBackend", "Qwen2Tokenizer"))
    return folder


def reference_attention(
    qkv: Sequence[torch.Tensor], cu_seqlens: Any, length_max: int, scale: float
) -> torch.Tensor:
    """Compute on the CPU, text by text, what torch's kernel for texts of unequal length computes."""
    out = torch.full_like(qkv[0], torch.nan)  # the kernel does not write where there is no text
    for start, end in pairwise(cu_seqlens.tolist()):
        assert end - start <= length_max
        if end > start:
            q, k, v = (tensor[start:end].transpose(0, 1) for tensor in qkv)
            attended = scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True)
            out[start:end] = attended.transpose(0, 1)
    return out


def varlen_on_the_cpu(*args: Any, scale: Any, window_size: Any, enable_gqa: Any, num_splits: Any) -> Any:
    """Replace that kernel on the CPU, with its signature of torch 2.12."""
    q, k, v, cu_seqlens, _, length_max, _ = args
    assert (window_size, enable_gqa, num_splits) == ((-1, 0), True, 1)
    return reference_attention((q, k, v), cu_seqlens, length_max, scale)


class Card:
    """The model card's loop: one text at a time, through transformers' own forward.

    Two lines differ, as the contract says: every added token in a text is text, and the sigmoid is float32.
    """

    def __init__(self, folder: Path, *, dtype: torch.dtype, device: torch.device | None = None) -> None:
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._tokenizer.pad_token = self._tokenizer.eos_token
        # ``split_special_tokens`` below holds for special tokens, so all of them are called special here.
        backend = self._tokenizer.backend_tokenizer
        backend.add_special_tokens([token.content for token in backend.get_added_tokens_decoder().values()])
        self._model: Any = AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype)
        self._model.to(device or "cpu")

    def tokens(self, text: str) -> list[int]:
        ids: list[int] = self._inputs(text).input_ids[0].tolist()
        return ids

    def score(self, text: str) -> NDArray[np.float32]:
        with torch.no_grad():
            logits = self._model(**self._inputs(text).to(self._model.device)).logits
        scores: NDArray[np.float32] = torch.sigmoid(logits.float())[0].cpu().numpy()
        return scores

    def _inputs(self, text: str) -> Any:
        return self._tokenizer(
            text, return_tensors="pt", truncation=True, max_length=512, split_special_tokens=True
        )
