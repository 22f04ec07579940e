"""Compare the classifier on this machine's device with the model card's own loop.

``python3 -m pytest tests/gpu`` needs torch, transformers, numpy and pytest. On a machine without CUDA the same
tests run on the CPU: torch's kernel for texts of unequal length has a stand-in there, a graph is its bucket without
the recording, and memory runs out when a test says so.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.small_models import ARCHITECTURES, SENTENCES, Card, make_model, options, varlen_on_the_cpu
from worker.classifier import Classifier, load
from worker.classifier.checkpoint import load_weights, read_config
from worker.classifier.graphs import Bucket, CudaGraphs, blank_batch, buckets, fill
from worker.classifier.packed import (
    ATTENTION,
    PADDED,
    VARLEN,
    adapt_kernel,
    attend_varlen,
    pack_texts,
    packed_logits,
    relative_error,
    use_packed_attention,
)
from worker.classifier.tokenizer import PROBE, open_tokenizer
from worker.errors import ModelError
from worker.reported import ModelIdentity
from worker.scores import DeadLetterReason, Scores

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda", 0) if CUDA else torch.device("cpu")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TOLERANCES = {"float32": 1e-5, "bfloat16": 2e-2}
ROUNDING = {"float32": 1e-5, "bfloat16": 0.05}
"""Largest relative error of logits between two ways to compute the same."""
# torch's kernel does not accept float32 on CUDA; its replacement does.
WAYS = [(VARLEN, "bfloat16"), (PADDED, "float32"), (PADDED, "bfloat16"), *([] if CUDA else [(VARLEN, "float32")])]

only_cuda = pytest.mark.skipif(not CUDA, reason="needs CUDA")
both_dtypes = pytest.mark.parametrize("dtype", DTYPES)
ways = pytest.mark.parametrize(("attention", "dtype"), WAYS)


def quiet(_: str) -> None:
    """Ignore progress."""


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(autouse=True)
def _a_stand_in_for_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    if not CUDA:
        monkeypatch.setitem(ATTENTION, VARLEN, lambda: partial(attend_varlen, adapt_kernel(varlen_on_the_cpu)))


def mixed_texts() -> list[str]:
    """Return texts of 1 to more than 600 tokens, of one script or of several."""
    chance = random.Random(7)  # noqa: S311 - the same texts every time
    words = " ".join(SENTENCES).split()
    drawn = [" ".join(chance.choices(words, k=chance.choice((1, 2, 3, 5, 8, 20, 60, 400)))) for _ in range(40)]
    return ["a", "\U0001f600", "<|endoftext|>", "<tool_call>", *SENTENCES, *drawn]


def stacked(answers: Sequence[Scores | DeadLetterReason]) -> NDArray[np.float32]:
    assert not [answer for answer in answers if isinstance(answer, DeadLetterReason)]
    return np.stack([answer for answer in answers if not isinstance(answer, DeadLetterReason)])


def model_with(folder: Path, attention: str, dtype: str) -> Any:
    model: Any = load_weights(folder, read_config(folder), DTYPES[dtype])
    model.to(DEVICE)
    use_packed_attention(model, attention)
    return model


def classifier_with(folder: Path, attention: str, dtype: str, *, tokens_max: int = 8192) -> tuple[Classifier, Any]:
    """Return a warmed-up classifier with this attention, and its model."""
    config, model = read_config(folder), model_with(folder, attention, dtype)
    encoder = open_tokenizer(
        folder, tokens_max=512, vocabulary=config.vocab_size, bos_wanted=config.model_type == "llama"
    )
    # Graphs need CUDA: the warm-up records them when the identity names the kernel.
    attention_name = attention if CUDA else "on the CPU"
    ours = Classifier(
        identity=ModelIdentity(
            name=folder.name,
            revision="0" * 16,
            digest="0" * 64,
            commit=None,
            dtype=dtype,
            device=str(DEVICE),
            attention=attention_name,
            tokenizer=encoder.library,
            threads=1,
        ),
        batch_tokens_max=tokens_max,
        fallbacks=(),
        model=model,
        encoder=encoder,
    )
    ours.warm_up()
    assert ours.fallbacks == ()
    return ours, model


def agree(ours: NDArray[np.float32], expected: NDArray[np.float32], tolerance: float) -> None:
    """Assert that probabilities are within the tolerance, and flags equal unless one is that near to 0.5."""
    assert np.abs(ours - expected).max() <= tolerance
    clear = np.abs(expected - 0.5) > tolerance
    assert ((ours > 0.5) == (expected > 0.5))[clear].all()


@both_dtypes
def test_probabilities_equal_the_cards(folder: Path, dtype: str) -> None:
    ours = load(options(folder, device=DEVICE.type, dtype=dtype), quiet)
    card = Card(folder, dtype=DTYPES[dtype], device=DEVICE)
    texts = mixed_texts()
    expected = np.stack([card.score(text) for text in texts])
    agree(stacked(ours.score([encoded.tokens for encoded in ours.encode(texts)])), expected, TOLERANCES[dtype])
    assert ours.identity.device == str(DEVICE)
    assert expected.std() > 0.02  # the comparison is meaningful


@ways
def test_each_attention_function_gives_the_cards_probabilities(folder: Path, attention: str, dtype: str) -> None:
    ours, _ = classifier_with(folder, attention, dtype)
    card = Card(folder, dtype=DTYPES[dtype], device=DEVICE)
    texts = mixed_texts()
    answers = stacked(ours.score([encoded.tokens for encoded in ours.encode(texts)]))
    agree(answers, np.stack([card.score(text) for text in texts]), TOLERANCES[dtype])


@only_cuda
def test_a_gpu_uses_the_kernel_and_graphs_without_a_fall_back(folder: Path) -> None:
    ours = load(options(folder, device="cuda", dtype="auto"), quiet)
    assert (ours.identity.dtype, ours.identity.attention) == ("bfloat16", VARLEN)
    assert ours.fallbacks == ()
    assert (ours.usage.memory_bytes or 0) > 0
    ours.score([[5, 6, 7]])
    assert ours.usage.padding > 0, "a small batch runs as a graph"


@ways
def test_a_text_does_not_change_the_scores_of_others(folder: Path, attention: str, dtype: str) -> None:
    ours, _ = classifier_with(folder, attention, dtype)
    texts = [[5 + length] * length for length in (1, 3, 3, 3, 7, 20)]
    before = stacked(ours.score(texts))
    for marked in range(len(texts)):
        changed = [[600] * len(text) if at == marked else text for at, text in enumerate(texts)]
        after = stacked(ours.score(changed))
        others = np.arange(len(texts)) != marked
        assert np.abs(after[others] - before[others]).max() <= 1e-6
        assert (after[marked] != before[marked]).any()


def batches_for(bucket: Bucket) -> Iterator[list[list[int]]]:
    """Return batches that a bucket must hold: a full one, a half-full one, and a single text."""
    length = min(bucket.length_max, bucket.tokens // 2)
    count = min(bucket.tokens // length, bucket.texts)
    yield [[5 + n % 500] * length for n in range(count)]
    yield [[5 + n % 500] * (1 + n % length) for n in sorted(range(count // 2), key=lambda n: n % length)]
    yield [[5 + n for n in range(length)]]


@pytest.mark.parametrize("attention", [VARLEN])
@pytest.mark.parametrize("dtype", ["bfloat16"] if CUDA else ["float32"])
def test_the_graph_of_every_bucket_gives_the_models_logits(folder: Path, attention: str, dtype: str) -> None:
    model = model_with(folder, attention, dtype)
    shapes = buckets(tokens_max=8192 if CUDA else 1024, text_tokens_max=512)
    assert len(shapes) >= 3
    with torch.inference_mode():
        for shape, run in recorded(model, shapes):
            for texts in batches_for(shape):
                row = pack_texts(texts, vocabulary=700, device=DEVICE)
                apart = relative_error(run(row), packed_logits(model, row))
                assert apart <= ROUNDING[dtype], f"{shape}, {len(texts)} texts"


def recorded(model: Any, shapes: list[Bucket]) -> Iterator[tuple[Bucket, Callable[[Any], torch.Tensor]]]:
    """Yield each bucket with a function that runs it: a graph on CUDA, the bucket without a recording on a CPU."""
    for shape in shapes:
        if CUDA:
            graphs = CudaGraphs(partial(packed_logits, model), DEVICE)
            assert list(graphs.record([shape])) == [shape]
            yield shape, graphs.run
        else:
            into = blank_batch(shape, DEVICE)

            def run(row: Any, into: Any = into) -> torch.Tensor:
                fill(into, row)
                return packed_logits(model, into)[: len(row.layout.last_token_indices)]

            yield shape, run


@only_cuda
def test_the_graphs_of_all_buckets_share_memory_and_still_give_the_models_logits(folder: Path) -> None:
    model = model_with(folder, VARLEN, "bfloat16")
    shapes = buckets(tokens_max=8192, text_tokens_max=512)
    with torch.inference_mode():
        graphs = CudaGraphs(partial(packed_logits, model), DEVICE)
        assert list(graphs.record(shapes)) == shapes
        for shape in [*shapes, *reversed(shapes)]:
            for texts in batches_for(shape):
                row = pack_texts(texts, vocabulary=700, device=DEVICE)
                assert relative_error(graphs.run(row).clone(), packed_logits(model, row)) <= ROUNDING["bfloat16"], (
                    shape
                )


@contextmanager
def little_memory(ours: Classifier, model: Any, tokens: Sequence[Sequence[int]]) -> Iterator[None]:
    """A device with memory for half of this batch, but not for all of it."""
    if not CUDA:
        bound = sum(map(len, tokens)) * 2 // 3

        def hold(_module: object, _args: object, kwargs: dict[str, Any]) -> None:
            if kwargs["input_ids"].numel() > bound:
                raise torch.OutOfMemoryError("out of memory")

        handle = model.base_model.register_forward_pre_hook(hold, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()
        return
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_reserved()
    ours.score(tokens)
    wanted = torch.cuda.max_memory_reserved() - before
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(DEVICE).total_memory
    torch.cuda.set_per_process_memory_fraction((before + 0.7 * wanted) / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_batches_shrink_when_memory_runs_out_and_grow_again_and_every_text_gets_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wide = make_model(tmp_path / "wide", "qwen2", **({"intermediate_size": 16_384} if CUDA else {}))
    tokens_max = 16_384 if CUDA else 4096
    ours, model = classifier_with(wide, PADDED, "float32", tokens_max=tokens_max)
    tokens = [[5 + n % 500] * 64 for n in range(tokens_max // 64)]
    expected = stacked(ours.score(tokens))
    caplog.clear()
    with little_memory(ours, model, tokens):
        caplog.clear()
        agree(stacked(ours.score(tokens)), expected, 1e-4)
        assert "has no memory for" in caplog.text
    monkeypatch.setattr("worker.classifier.poison.STEADY_BATCHES", 2)
    for _ in range(8):
        agree(stacked(ours.score(tokens)), expected, 1e-4)
    assert f"has had memory for many batches: scoring up to {tokens_max} tokens in one pass again" in caplog.text


@ways
def test_only_the_text_that_breaks_the_model_is_blamed(folder: Path, attention: str, dtype: str) -> None:
    ours, model = classifier_with(folder, attention, dtype)
    harmless = set(ours.encode([PROBE])[0].tokens)
    poison = next(id_ for id_ in range(100, 600) if id_ not in harmless)
    texts = [[5, 6, 7], [8, poison], [9], [poison], [10] * 30, [11, 12]]
    good = [text for text in texts if poison not in text]
    expected = stacked(ours.score(good))
    with torch.no_grad():
        model.get_input_embeddings().weight[poison] = torch.nan
    answers = ours.score([*texts, [5, 700]])
    faults = [index for index, answer in enumerate(answers) if isinstance(answer, DeadLetterReason)]
    assert faults == [1, 3, 6], "two texts whose token the model breaks on, and an id beyond the vocabulary"
    agree(
        stacked([answer for answer in answers if not isinstance(answer, DeadLetterReason)]),
        expected,
        TOLERANCES[dtype],
    )


@ways
def test_a_broken_device_blames_no_text(folder: Path, attention: str, dtype: str) -> None:
    ours, model = classifier_with(folder, attention, dtype)
    with torch.no_grad():
        model.score.weight.fill_(torch.nan)
    with pytest.raises(ModelError, match="harmless text"):
        ours.score([[5, 6], [7]])
