"""Many texts as one row, without padding: how the model is asked.

Chat messages are a few tokens long and of every length, so a padded batch is mostly padding. Here the tokens of all
texts stand one behind the other in a single row ``[1, T]``, with positions that begin anew at each text. All that a
transformer does, but for attention, it does to each token by itself, so this row gives what the texts alone would
give as long as attention stays within each text. Three functions see to that, for the three kinds of device
(``ATTENTION``). transformers' public registry lets us give it ours, so that not a line of model code is copied.

The traps, and why they don't bite:

- A mask, or a cache, would switch off what keeps texts apart: neither is passed, and for a name that is registered
  for attention but not for masks transformers makes none.
- Both architectures are causal: a text's last token has seen all of it and nothing else. It is there that we pool,
  before the head. Rejected: transformers' own pooling, which takes the row's right-most token that isn't the pad
  token: of a packed row one text's only, and one that moves when a user types the pad token.
- Of the last layer only the last tokens are needed: behind its attention the others are dropped (``LastTokens``).
- Rejected: a forward pass of our own, faster by a little and wrong with the next version of transformers. Common
  beginnings scored once: exact too in a causal model, and a fifth fewer tokens on Twitch (8 % on Gitter, counted
  over batches of 1,024 messages), but then every layer's attention is over a tree.
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
"""transformers' attention function: of a module, ``q [1, H, T, D]``, ``k`` and ``v`` ``[1, K, T, D]``, a mask, and
by name ``scaling`` and ``layout``, to ``[1, T, H, D]``; ``H`` is a multiple of ``K``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the texts of a row stand; tensors are on the model's device.

    Attributes:
        groups: (texts, length) in the order of the row: texts of equal length stand side by side.
        offsets: ``[B + 1]`` int32: where each text begins, and the end of the last.
        last: ``[B]`` int64: where each text's last token stands.
        length_max: Tokens of the longest.
    """

    groups: Sequence[tuple[int, int]]
    offsets: torch.Tensor
    last: torch.Tensor
    length_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Texts as the model is asked about them.

    Attributes:
        ids: ``[1, T]`` int64.
        positions: ``[1, T]`` int64, from 0 in each text.
        layout: Where the texts stand.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    layout: Layout


def row_of(token_lists: Sequence[Sequence[int]], *, vocabulary: int, device: torch.device) -> Row:
    """Puts texts into a row, in their order; those of equal length must stand side by side.

    Args:
        token_lists: ``[B]`` texts' tokens, none empty.
        vocabulary: Rows of the model's embedding.
        device: Where the row goes; nobody waits for the copies.

    Raises:
        ValueError: An id beyond the vocabulary: on a GPU it kills the whole context, so it stays here.
    """
    lengths = np.array([len(tokens) for tokens in token_lists], np.int64)
    ends = lengths.cumsum()
    starts = ends - lengths
    ids = np.concatenate([np.asarray(tokens, np.int64) for tokens in token_lists])
    if ids.min() < 0 or ids.max() >= vocabulary:
        raise ValueError("a token id beyond the vocabulary")
    positions = np.arange(ends[-1]) - np.repeat(starts, lengths)
    changes = np.flatnonzero(np.diff(lengths, prepend=0))
    counts = np.diff(changes, append=len(lengths))

    def there(values: np.ndarray[Any, Any]) -> torch.Tensor:
        tensor = torch.from_numpy(values)
        return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor

    return Row(
        ids=there(ids[None]),
        positions=there(positions[None]),
        layout=Layout(
            groups=list(zip(counts.tolist(), lengths[changes].tolist(), strict=True)),
            offsets=there(np.concatenate([[0], ends]).astype(np.int32)),
            last=there(ends - 1),
            length_max=int(lengths.max()),
        ),
    )


def logits_of(model: Any, row: Row) -> torch.Tensor:
    """``[B, L]`` float32 on the device, in the order of the row; ``model`` is one that was ``pack``ed."""
    hidden = model.base_model(
        input_ids=row.ids, position_ids=row.positions, use_cache=False, layout=row.layout
    ).last_hidden_state
    logits: torch.Tensor = model.score(hidden[0]).float()
    return logits


def alone(model: Any, tokens: Sequence[int]) -> torch.Tensor:
    """``[1, L]`` logits of one text, as transformers runs a model that is not packed: what ours must agree with."""
    ids = torch.tensor([list(tokens)], device=model.device)
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    logits: torch.Tensor = model.score(hidden[:, -1]).float()
    return logits


def distance(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """How far logits are from others, as a share of these.

    Not of probabilities: those of a harmless text are all near 0, and would hide nearly any mistake.
    """
    return float((ours - theirs).norm() / theirs.norm())


class LastTokens(torch.nn.Module):
    """The last layer, as the model has it, but that only the last token of each text comes out."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden: torch.Tensor, *, layout: Layout, **others: Any) -> torch.Tensor:
        """``[1, T, hidden]`` to ``[1, B, hidden]``."""
        attended, _ = self.layer.self_attn(
            hidden_states=self.layer.input_layernorm(hidden), layout=layout, **others
        )
        rest = hidden[:, layout.last] + attended[:, layout.last]
        out: torch.Tensor = rest + self.layer.mlp(self.layer.post_attention_layernorm(rest))
        return out


def pack(model: PreTrainedModel, attention: str) -> None:
    """Prepares a loaded model for ``logits_of``; ``attention`` is a key of ``ATTENTION``."""
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
    """For CPUs: texts of one length are a batch without padding, and a call costs little."""
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
    """For GPUs without the kernel for texts of unequal length: padding, but in attention alone, and on the right.

    What stands in the padding is another text's, and harmless: a causal text sees nothing on its right.
    """
    starts, ends = layout.offsets[:-1].long(), layout.offsets[1:].long()
    steps = torch.arange(layout.length_max, device=query.device)
    places = torch.minimum(starts[:, None] + steps, ends[:, None] - 1)  # [B, length_max]
    q, k, v = (tensor[0][:, places].transpose(0, 1) for tensor in (query, key, value))
    shared = query.shape[1] != key.shape[1]
    attended = scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=shared)
    tokens = torch.arange(query.shape[2], device=query.device)
    text = torch.searchsorted(ends, tokens, right=True)  # by indices: a boolean mask would make the host wait
    return attended.transpose(1, 2)[text, tokens - starts[text]].unsqueeze(0), None


def varlen_attention() -> Attend:
    """For GPUs in half precision: torch's own kernel for texts of unequal length, told by offsets.

    Its signature has grown (torch 2.10: ``is_causal``; 2.11: ``scale`` and ``window_size``; 2.12: ``enable_gqa``
    and ``num_splits``), so it is looked at here, once.

    Raises:
        ImportError: This torch has none.
    """
    from torch.nn.attention.varlen import varlen_attn  # noqa: PLC0415 - torch has it since 2.10 only

    return partial(attend_varlen, adapted(varlen_attn))


def adapted(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel as ``((q, k, v), offsets, length_max, scale)``, each of ``[T, heads, D]``, whatever its torch is."""
    known = inspect.signature(kernel).parameters
    fixed: dict[str, Any] = {"is_causal": True} if "is_causal" in known else {"window_size": (-1, 0)}
    if "num_splits" in known:
        fixed["num_splits"] = 1  # or the result depends on who else is in the batch
    if "enable_gqa" in known:
        fixed["enable_gqa"] = True

    def call(qkv: Sequence[torch.Tensor], offsets: torch.Tensor, length_max: int, scale: float) -> Any:
        query, key, value = qkv
        if "enable_gqa" not in known:
            repeats = query.shape[1] // key.shape[1]
            key, value = (tensor.repeat_interleave(repeats, dim=1) for tensor in (key, value))
        # Without the argument it scales by 1 / sqrt(D), which both architectures want.
        scaled = {"scale": scale} if "scale" in known else {}
        return kernel(query, key, value, offsets, offsets, length_max, length_max, **scaled, **fixed)

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
    """Through an ``adapted`` kernel."""
    qkv = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]
    return kernel(qkv, layout.offsets, layout.length_max, scaling).unsqueeze(0), None


# Of logits, between texts in a packed row and alone. Measured on random models of 3 to 24 layers: 3e-6 at most in
# float32 and 0.04 in bfloat16; where texts saw each other 0.3 to 1, and 0.02 on the bundled model.
DISTANCES = {torch.float32: 1e-4, torch.bfloat16: 0.1}

BY_LENGTH, PADDED, VARLEN = "packed by length", "packed, padded in attention", "packed, varlen"

ATTENTION: dict[str, Callable[[], Attend]] = {
    BY_LENGTH: lambda: attend_by_length,
    PADDED: lambda: attend_padded,
    VARLEN: varlen_attention,
}
"""The ways to attend within each text, by the names that the start-up line gives."""


def candidates(device: torch.device, dtype: torch.dtype) -> Sequence[str]:
    """The ways for a device, the best first."""
    if device.type == "cpu":
        return (BY_LENGTH,)
    return (VARLEN, PADDED) if dtype in {torch.float16, torch.bfloat16} else (PADDED,)


@torch.inference_mode()
def settle(model: PreTrainedModel, tokens: Sequence[int]) -> tuple[str, tuple[str, ...]]:
    """Packs a model as its device does best, and makes sure that its answers are still its own.

    Args:
        model: As loaded, on its device.
        tokens: Of a text, to try it with.

    Returns:
        The attention, and a sentence for each one that failed.

    Raises:
        ModelError: None agrees.
    """
    texts = [tokens[:length] for length in sorted({1, 2, min(5, len(tokens)), len(tokens)}) for _ in range(2)]
    wanted = torch.cat([alone(model, text) for text in texts])
    row = row_of(texts, vocabulary=vocabulary_of(model), device=model.device)
    failures: list[str] = []
    for attention in candidates(model.device, model.dtype):
        try:
            pack(model, attention)
            apart = distance(logits_of(model, row), wanted)
        # This torch has no such kernel, this device can't run it, or its signature is one that we don't know.
        except (ImportError, RuntimeError, TypeError) as error:
            failures.append(f"{attention}: {type(error).__name__}")
            continue
        if not apart > DISTANCES[model.dtype]:  # what is no number is told by the warm-up
            return attention, tuple(f"attention not {failure}" for failure in failures)
        failures.append(f"{attention}: {apart:.2g} away from the model alone")
    raise ModelError(
        f"Texts that share a pass get other scores than alone on {model.device} ({'; '.join(failures)}): it can't "
        f"be used with torch {torch.__version__}. Set WORKER_MODEL__DEVICE=cpu, or take another torch."
    )


def vocabulary_of(model: PreTrainedModel) -> int:
    """Rows of its embedding."""
    embeddings: Any = model.get_input_embeddings()
    return int(embeddings.num_embeddings)
