"""Pack many texts into one row without padding: the form in which the model scores a batch.

Chat messages are a few tokens long and of every length, so a padded batch is mostly padding. Here the tokens of all
texts follow one another in a single row ``[1, T]``, and the positions start again from 0 at each text. A
transformer treats each token by itself, except in attention. So the row gives what each text alone would give, if
attention stays within each text. Three functions do that, for three kinds of device (``ATTENTION``). They are added
to transformers' public registry of attention functions, so that no model code is copied.

The risks, and why they do not matter:

- A mask or a cache would switch off the separation of texts. Neither is passed, and transformers makes no mask for
  an attention function that has no mask function.
- Both architectures are causal, so the last token of a text has seen all of the text and nothing else. The model
  pools there, before the head. Rejected: transformers' own pooling. It takes the right-most token of the row that
  is not the pad token: it finds only one text of a row, and another token when a user types the pad token.
- Only the last token of each text is needed from the last layer. The other tokens are dropped behind its attention
  (``LastTokens``).
- Rejected: a forward pass of our own. It is a little faster, and wrong with the next version of transformers.
- Rejected: scoring common beginnings of texts once. A causal model makes it exact, and it saves a fifth of the
  tokens on Twitch and 8 % on Gitter (counted over batches of 1,024 messages). But the attention of every layer
  would then be over a tree.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from worker.errors import ModelError

Attend = Callable[..., tuple[torch.Tensor, None]]
"""An attention function of transformers.

It takes a module, ``q [1, H, T, D]``, ``k`` and ``v`` ``[1, K, T, D]``, a mask, and by name ``scaling`` and
``layout``. It returns ``[1, T, H, D]``. ``H`` (query heads) is a multiple of ``K`` (key heads); ``D`` is the size
of a head.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where each of the ``B`` texts is in the row. Tensors are on the model's device.

    Attributes:
        groups: (number of texts, length in tokens), in the order of the row: texts of equal length are neighbours.
        cu_seqlens: ``[B + 1]`` int32, cumulative lengths: where each text begins, and the end of the last text.
        last_token_indices: ``[B]`` int64, where the last token of each text is.
        length_max: Tokens of the longest text.
    """

    groups: Sequence[tuple[int, int]]
    cu_seqlens: torch.Tensor
    last_token_indices: torch.Tensor
    length_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedBatch:
    """Texts in one row, as the model scores them.

    Attributes:
        input_ids: ``[1, T]`` int64 token ids.
        position_ids: ``[1, T]`` int64, from 0 in each text.
        layout: Where each text is in the row.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    layout: Layout


def pack_texts(token_lists: Sequence[Sequence[int]], *, vocabulary: int, device: torch.device) -> PackedBatch:
    """Pack texts into one row, in the given order.

    Args:
        token_lists: Token ids of ``B`` texts. No text is empty, and texts of equal length are neighbours.
        vocabulary: Number of token ids that the model knows: the rows of its embedding.
        device: Where the tensors go. The copies are asynchronous.

    Raises:
        ValueError: A token id is beyond the vocabulary. Nothing was copied; on a GPU such an id would break the
            CUDA context.
    """
    lengths = np.array([len(tokens) for tokens in token_lists], np.int64)
    ends = lengths.cumsum()
    starts = ends - lengths
    ids = np.concatenate([np.asarray(tokens, np.int64) for tokens in token_lists])
    if ids.min() < 0 or ids.max() >= vocabulary:
        raise ValueError("a token id beyond the vocabulary")
    positions = np.arange(ends[-1]) - np.repeat(starts, lengths)
    group_starts = np.flatnonzero(np.diff(lengths, prepend=0))
    counts = np.diff(group_starts, append=len(lengths))

    def on_device(values: np.ndarray[Any, Any]) -> torch.Tensor:
        tensor = torch.from_numpy(values)
        return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor

    return PackedBatch(
        input_ids=on_device(ids[None]),
        position_ids=on_device(positions[None]),
        layout=Layout(
            groups=list(zip(counts.tolist(), lengths[group_starts].tolist(), strict=True)),
            cu_seqlens=on_device(np.concatenate([[0], ends]).astype(np.int32)),
            last_token_indices=on_device(ends - 1),
            length_max=int(lengths.max()),
        ),
    )


def packed_logits(model: Any, batch: PackedBatch) -> torch.Tensor:
    """Return ``[B, L]`` float32 logits on the device, in the order of the row.

    The model must have been prepared with ``use_packed_attention``.
    """
    hidden = model.base_model(
        input_ids=batch.input_ids, position_ids=batch.position_ids, use_cache=False, layout=batch.layout
    ).last_hidden_state
    logits: torch.Tensor = model.score(hidden[0]).float()
    return logits


def unpacked_logits(model: Any, tokens: Sequence[int]) -> torch.Tensor:
    """Return ``[1, L]`` logits of one text by transformers' own forward pass, as a reference for packed logits."""
    ids = torch.tensor([list(tokens)], device=model.device)
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    logits: torch.Tensor = model.score(hidden[:, -1]).float()
    return logits


def relative_error(logits: torch.Tensor, reference: torch.Tensor) -> float:
    """Return the norm of the difference, as a share of the reference's norm.

    Compare logits, not probabilities: the probabilities of a harmless text are all near 0 and would hide an error.
    """
    return float((logits - reference).norm() / reference.norm())


class LastTokens(torch.nn.Module):
    """The model's last layer, but it returns only the last token of each text."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden: torch.Tensor, *, layout: Layout, **others: Any) -> torch.Tensor:
        """Return ``[1, B, hidden]`` for ``[1, T, hidden]``."""
        attended, _ = self.layer.self_attn(
            hidden_states=self.layer.input_layernorm(hidden), layout=layout, **others
        )
        residual = hidden[:, layout.last_token_indices] + attended[:, layout.last_token_indices]
        out: torch.Tensor = residual + self.layer.mlp(self.layer.post_attention_layernorm(residual))
        return out


def use_packed_attention(model: PreTrainedModel, attention: str) -> None:
    """Prepare a loaded model for ``packed_logits``; ``attention`` is a key of ``ATTENTION``."""
    AttentionInterface.register(attention, ATTENTION[attention]())
    model.set_attn_implementation(attention)
    layers: Any = model.base_model.layers
    if not isinstance(layers[-1], LastTokens):
        layers[-1] = LastTokens(layers[-1])


def attend_by_length(
    _module: object,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: object,
    *,
    scaling: float,
    layout: Layout,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Attend within each text, one call for each length. For CPUs, where a call costs little."""
    shared = query.shape[1] != key.shape[1]
    out = torch.empty_like(query.transpose(1, 2))
    at = 0
    for count, length in layout.groups:
        end = at + count * length
        q, k, v = (
            tensor[0, :, at:end].view(-1, count, length, tensor.shape[3]).transpose(0, 1)
            for tensor in (query, key, value)
        )
        attended = scaled_dot_product_attention(q, k, v, is_causal=length > 1, scale=scaling, enable_gqa=shared)
        out[0, at:end].view(count, length, *out.shape[2:]).copy_(attended.transpose(1, 2))
        at = end
    return out, None


def attend_padded(
    _module: object,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: object,
    *,
    scaling: float,
    layout: Layout,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Attend within each text, with padding on the right. For GPUs without the kernel for texts of unequal length.

    Only attention is padded. The padding repeats the text's last token, and attention does not see it: a causal
    token sees nothing on its right.
    """
    starts, ends = layout.cu_seqlens[:-1].long(), layout.cu_seqlens[1:].long()
    steps = torch.arange(layout.length_max, device=query.device)
    places = torch.minimum(starts[:, None] + steps, ends[:, None] - 1)  # [B, length_max]
    q, k, v = (tensor[0][:, places].transpose(0, 1) for tensor in (query, key, value))
    shared = query.shape[1] != key.shape[1]
    attended = scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=shared)
    tokens = torch.arange(query.shape[2], device=query.device)
    # Indices, because a boolean mask would make the host wait for the device.
    text = torch.searchsorted(ends, tokens, right=True)
    return attended.transpose(1, 2)[text, tokens - starts[text]].unsqueeze(0), None


def varlen_attention() -> Attend:
    """Return an attention function around torch's kernel for texts of unequal length. For GPUs in half precision.

    Raises:
        ImportError: This torch does not have the kernel.
    """
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415 - torch has it since 2.10

    return partial(attend_varlen, adapt_kernel(varlen_attn))


def adapt_kernel(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Return a kernel with the signature ``((q, k, v), cu_seqlens, length_max, scale)`` for any version of torch.

    ``q``, ``k`` and ``v`` are ``[T, heads, D]``. The kernel's signature has grown: ``is_causal`` in torch 2.10,
    ``scale`` and ``window_size`` in 2.11, ``enable_gqa`` and ``num_splits`` in 2.12.
    """
    known = inspect.signature(kernel).parameters
    fixed: dict[str, Any] = {"is_causal": True} if "is_causal" in known else {"window_size": (-1, 0)}
    if "num_splits" in known:
        fixed["num_splits"] = 1  # otherwise the result depends on the other texts in the batch
    if "enable_gqa" in known:
        fixed["enable_gqa"] = True

    def call(qkv: Sequence[torch.Tensor], cu_seqlens: torch.Tensor, length_max: int, scale: float) -> Any:
        query, key, value = qkv
        if "enable_gqa" not in known:
            repeats = query.shape[1] // key.shape[1]
            key, value = (tensor.repeat_interleave(repeats, dim=1) for tensor in (key, value))
        # Without the argument the kernel scales by 1 / sqrt(D), which is right for both architectures.
        scaled = {"scale": scale} if "scale" in known else {}
        return kernel(query, key, value, cu_seqlens, cu_seqlens, length_max, length_max, **scaled, **fixed)

    return call


def attend_varlen(
    kernel: Callable[..., Any],
    _module: object,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: object,
    *,
    scaling: float,
    layout: Layout,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Attend within each text with one call of a kernel from ``adapt_kernel``."""
    qkv = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]
    return kernel(qkv, layout.cu_seqlens, layout.length_max, scaling).unsqueeze(0), None


# Largest relative error of logits between packed texts and the same texts alone. Measured on random models of 3 to
# 24 layers: at most 3e-6 in float32 and 0.04 in bfloat16. Where texts saw each other: 0.3 to 1, and 0.02 on the
# bundled model.
RELATIVE_ERRORS_MAX = {torch.float32: 1e-4, torch.bfloat16: 0.1}

BY_LENGTH, PADDED, VARLEN = "packed by length", "packed, padded in attention", "packed, varlen"

ATTENTION: dict[str, Callable[[], Attend]] = {
    BY_LENGTH: lambda: attend_by_length,
    PADDED: lambda: attend_padded,
    VARLEN: varlen_attention,
}
"""The attention functions that stay within each text, by their names in the start-up line."""


def attention_candidates(device: torch.device, dtype: torch.dtype) -> Sequence[str]:
    """Return the names of the attention functions for a device, the fastest first."""
    if device.type == "cpu":
        return (BY_LENGTH,)
    return (VARLEN, PADDED) if dtype in {torch.float16, torch.bfloat16} else (PADDED,)


@torch.inference_mode()
def select_attention(model: PreTrainedModel, tokens: Sequence[int]) -> tuple[str, tuple[str, ...]]:
    """Give a model the fastest attention function whose packed logits agree with the model's own.

    Args:
        model: A loaded model, on its device.
        tokens: Token ids of a text to compare with.

    Returns:
        The name of the attention function, and a sentence for each faster one that failed.

    Raises:
        ModelError: No attention function agrees with the model.
    """
    texts = [tokens[:length] for length in sorted({1, 2, min(5, len(tokens)), len(tokens)}) for _ in range(2)]
    reference = torch.cat([unpacked_logits(model, text) for text in texts])
    batch = pack_texts(texts, vocabulary=vocabulary_of(model), device=model.device)
    failures: list[str] = []
    for attention in attention_candidates(model.device, model.dtype):
        try:
            use_packed_attention(model, attention)
            error = relative_error(packed_logits(model, batch), reference)
        # This torch does not have the kernel, this device cannot run it, or its signature is unknown here.
        except (ImportError, RuntimeError, TypeError) as problem:
            failures.append(f"{attention}: {type(problem).__name__}")
            continue
        if not error > RELATIVE_ERRORS_MAX[model.dtype]:  # the warm-up reports logits that are not numbers
            return attention, tuple(f"attention not {failure}" for failure in failures)
        failures.append(f"{attention}: relative error {error:.2g} against the model alone")
    raise ModelError(
        f"Texts that share a pass get other scores than alone on {model.device} ({'; '.join(failures)}), so this "
        f"device can't be used with torch {torch.__version__}. Set WORKER_MODEL__DEVICE=cpu, or install another "
        "version of torch."
    )


def vocabulary_of(model: PreTrainedModel) -> int:
    """Return the number of token ids that the model knows: the rows of its embedding."""
    embeddings: Any = model.get_input_embeddings()
    return int(embeddings.num_embeddings)
