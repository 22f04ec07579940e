"""Compare the classifier with the model card's own loop, on random models and the demo model."""

import inspect
import random
import shutil
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention

from tests.small_models import (
    ARCHITECTURES,
    SENTENCES,
    Card,
    make_model,
    options,
    reference_attention,
    varlen_on_the_cpu,
)
from worker.classifier import Classifier, load, packed
from worker.classifier.checkpoint import load_weights, read_config
from worker.classifier.graphs import Bucket, blank_batch, bucket_for, buckets, fill
from worker.classifier.model_files import DEMO_MODEL
from worker.classifier.packed import (
    ATTENTION,
    BY_LENGTH,
    PADDED,
    VARLEN,
    adapt_kernel,
    attend_varlen,
    pack_texts,
    packed_logits,
    relative_error,
    use_packed_attention,
)
from worker.classifier.scoring import chunks
from worker.classifier.tokenizer import open_tokenizer
from worker.errors import ModelError
from worker.scores import DeadLetterReason, Scores
from worker.settings.groups import BatchSettings

TEXTS = 120


def quiet(_: str) -> None:
    """Ignore progress."""


def mixed_texts() -> list[str]:
    """Return texts of 1 to more than 600 tokens, of one script or of several."""
    chance = random.Random(7)  # noqa: S311 - the same texts every time
    texts = ["a", "\U0001f600", "<|endoftext|>", "<|end_of_text|>", "<tool_call>", "0", *SENTENCES]
    words = " ".join(SENTENCES).split()
    return texts + [
        " ".join(chance.choices(words, k=chance.choice((1, 1, 2, 3, 5, 8, 20, 60, 150, 400))))
        for _ in range(TEXTS - len(texts))
    ]


class WorkerAndCard:
    """Our classifier and the card's loop over the same model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ours = load(options(folder), quiet)
        self.card = Card(folder, dtype=torch.float32)
        self.texts = mixed_texts()
        self.tokens = [encoded.tokens for encoded in self.ours.encode(self.texts)]
        self.expected = np.stack([self.card.score(text) for text in self.texts])


@pytest.fixture(scope="module", params=[*ARCHITECTURES, "demo"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> WorkerAndCard:
    if request.param != "demo":
        return WorkerAndCard(make_model(tmp_path_factory.mktemp(request.param), request.param))
    return WorkerAndCard(DEMO_MODEL)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp(request.param), request.param)


def stacked(answers: Sequence[Scores | DeadLetterReason]) -> NDArray[np.float32]:
    assert not [answer for answer in answers if isinstance(answer, DeadLetterReason)]
    return np.stack([answer for answer in answers if not isinstance(answer, DeadLetterReason)])


def assert_same(ours: NDArray[np.float32], expected: NDArray[np.float32], tolerance: float) -> None:
    """Assert that scores are within the tolerance, and flags equal unless a score is that near to the threshold."""
    assert ours.dtype == np.float32
    assert np.abs(ours - expected).max() <= tolerance
    clear = np.abs(expected - 0.5) > tolerance
    assert ((ours > 0.5) == (expected > 0.5))[clear].all()


def test_tokens_equal_the_cards(pair: WorkerAndCard) -> None:
    assert [list(tokens) for tokens in pair.tokens] == [pair.card.tokens(text) for text in pair.texts]
    assert min(map(len, pair.tokens)) <= 2
    assert max(map(len, pair.tokens)) == 512


def test_scores_and_flags_equal_the_cards(pair: WorkerAndCard) -> None:
    assert_same(stacked(pair.ours.score(pair.tokens)), pair.expected, 1e-5)
    # The comparison is meaningful: the scores are neither all equal nor all on one side.
    assert pair.expected.std() > 0.02
    if pair.folder != DEMO_MODEL:
        assert 0.1 < (pair.expected > 0.5).mean() < 0.9


@settings(max_examples=40, deadline=None, derandomize=True)
@given(chosen=st.lists(st.integers(0, TEXTS - 1), min_size=1, max_size=30))
def test_a_text_scores_the_same_with_any_neighbours(pair: WorkerAndCard, chosen: list[int]) -> None:
    answers = pair.ours.score([pair.tokens[index] for index in chosen])
    assert_same(stacked(answers), pair.expected[chosen], 1e-5)


def by_hand(
    folder: Path, *, attention: str = BY_LENGTH, change: Callable[[Any], None] = lambda _: None
) -> Classifier:
    """Return a classifier with the given attention, and with a model that is changed after the warm-up."""
    loaded = load(options(folder), quiet)
    config = read_config(folder)
    model = load_weights(folder, config, torch.float32)
    use_packed_attention(model, attention)
    classifier = Classifier(
        identity=loaded.identity,
        batch_tokens_max=4096,
        fallbacks=(),
        model=model,
        encoder=open_tokenizer(
            folder, tokens_max=512, vocabulary=config.vocab_size, bos_wanted=config.model_type == "llama"
        ),
    )
    classifier.warm_up()
    change(model)
    return classifier


def varlen_2_10(*args: Any, is_causal: Any) -> Any:
    q, k, v, cu_seqlens, _, length_max, _ = args
    assert is_causal
    assert q.shape == k.shape == v.shape
    return reference_attention((q, k, v), cu_seqlens, length_max, q.shape[2] ** -0.5)


def varlen_2_11(*args: Any, scale: Any, window_size: Any) -> Any:
    q, k, v, cu_seqlens, _, length_max, _ = args
    assert window_size == (-1, 0)
    assert q.shape == k.shape == v.shape
    return reference_attention((q, k, v), cu_seqlens, length_max, scale)


def varlen_by(kernel: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> str:
    """Make the GPU's attention call a replacement of its kernel, and return its name."""
    monkeypatch.setitem(ATTENTION, VARLEN, lambda: partial(attend_varlen, adapt_kernel(kernel)))
    return VARLEN


@pytest.mark.parametrize("kernel", [varlen_2_10, varlen_2_11, varlen_on_the_cpu])
def test_every_signature_of_torchs_kernel_gives_the_cards_scores(
    pair: WorkerAndCard, kernel: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = by_hand(pair.folder, attention=varlen_by(kernel, monkeypatch))
    assert_same(stacked(ours.score(pair.tokens)), pair.expected, 1e-5)


def test_torchs_kernel_has_a_known_signature() -> None:
    known = inspect.signature(varlen_attn).parameters
    assert "is_causal" in known or {"scale", "window_size"} <= known.keys()


def test_padding_only_in_attention_gives_the_cards_scores(pair: WorkerAndCard) -> None:
    ours = by_hand(pair.folder, attention=PADDED)
    assert_same(stacked(ours.score(pair.tokens)), pair.expected, 1e-5)


@pytest.mark.parametrize("attention", [BY_LENGTH, PADDED, VARLEN])
def test_a_text_does_not_change_the_scores_of_others(
    attention: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    varlen_by(varlen_on_the_cpu, monkeypatch)
    ours = by_hand(folder, attention=attention)
    texts = [[5 + length] * length for length in (1, 3, 3, 3, 7, 20)]
    before = stacked(ours.score(texts))
    for marked in range(len(texts)):
        changed = [[600] * len(text) if at == marked else text for at, text in enumerate(texts)]
        after = stacked(ours.score(changed))
        others = np.arange(len(texts)) != marked
        assert (after[others] == before[others]).all()
        assert (after[marked] != before[marked]).any()


def test_a_batch_gives_the_same_logits_in_the_bucket_of_a_graph(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_weights(folder, read_config(folder), torch.float32)
    use_packed_attention(model, varlen_by(varlen_on_the_cpu, monkeypatch))
    bucket = blank_batch(Bucket(tokens=256, texts=64, length_max=32), torch.device("cpu"))
    with torch.inference_mode():
        for lengths in ([32] * 8, [1, 2, 2, 9], [1] * 64, [3]):
            row = pack_texts(
                [[5 + length] * length for length in lengths], vocabulary=700, device=torch.device("cpu")
            )
            fill(bucket, row)
            answers = packed_logits(model, bucket)[: len(lengths)]
            assert relative_error(answers, packed_logits(model, row)) < 1e-6


def test_a_full_batch_of_messages_with_a_plain_view_each_has_a_graph() -> None:
    records_max = BatchSettings().records_max
    recorded = dict.fromkeys(buckets(tokens_max=32_768, text_tokens_max=512))
    for tokens_each in (1, 2, 4):
        rows = 2 * records_max  # each message as received, and as a reader sees it
        found = bucket_for(rows * tokens_each, rows, tokens_each, recorded)
        assert found is not None
        assert found.tokens == rows * tokens_each
    assert bucket_for(2 * records_max + 1, 2 * records_max + 1, 1, recorded) is None


def test_more_texts_than_records_give_the_same_logits_in_the_bucket_of_a_graph(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_weights(folder, read_config(folder), torch.float32)
    use_packed_attention(model, varlen_by(varlen_on_the_cpu, monkeypatch))
    wanted = bucket_for(1300, 1280, 5, dict.fromkeys(buckets(tokens_max=2048, text_tokens_max=32)))
    assert wanted is not None
    bucket = blank_batch(wanted, torch.device("cpu"))
    texts = [[5 + number % 600] for number in range(1276)] + [[7] * 5, [8] * 5, [9] * 5, [10] * 5]
    with torch.inference_mode():
        row = pack_texts(texts, vocabulary=700, device=torch.device("cpu"))
        fill(bucket, row)
        assert relative_error(packed_logits(model, bucket)[: len(texts)], packed_logits(model, row)) < 1e-6


def test_an_attention_that_lets_texts_see_each_other_is_not_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaking(_module: object, q: Any, k: Any, v: Any, _mask: object, *, scaling: float, **_: object) -> Any:
        attended = scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=True)
        return attended.transpose(1, 2), None

    monkeypatch.setitem(ATTENTION, "leaking", lambda: leaking)
    monkeypatch.setattr(packed, "attention_candidates", lambda *_: ("leaking", BY_LENGTH))
    ours = load(options(folder), quiet)
    assert ours.identity.attention == BY_LENGTH
    assert any("leaking" in remark and "against the model alone" in remark for remark in ours.fallbacks)
    monkeypatch.setattr(packed, "attention_candidates", lambda *_: ("leaking",))
    with pytest.raises(ModelError, match="other scores than alone"):
        load(options(folder), quiet)


def test_bfloat16_scores_are_within_the_noise_of_the_card(folder: Path) -> None:
    texts = mixed_texts()
    ours = load(options(folder, dtype="bfloat16"), quiet)
    card = Card(folder, dtype=torch.bfloat16)
    answers = stacked(ours.score([encoded.tokens for encoded in ours.encode(texts)]))
    assert ours.identity.dtype == "bfloat16"
    assert_same(answers, np.stack([card.score(text) for text in texts]), 2e-2)


def test_special_tokens_that_a_user_types_are_plain_text(pair: WorkerAndCard) -> None:
    typed, plain = pair.ours.encode(["hi <|endoftext|><|im_end|><|begin_of_text|>", "hi "])
    assert len(typed.tokens) > len(plain.tokens) + 10


def test_a_text_that_fills_the_bound_is_whole_and_one_token_more_is_cut(folder: Path) -> None:
    ours = load(options(folder, tokens_max=8), quiet)
    special = len(ours.encode(["x"])[0].tokens) - 1
    whole, cut = ours.encode([" a" * (8 - special), " a" * (9 - special)])
    assert (len(whole.tokens), whole.truncated) == (8, False)
    assert (len(cut.tokens), cut.truncated) == (8, True)


def test_only_llama_has_a_bos(folder: Path) -> None:
    config = read_config(folder)
    (encoded,) = load(options(folder), quiet).encode(["a"])
    assert (encoded.tokens[0] == 1) == (config.model_type == "llama")
    assert len(encoded.tokens) == (2 if config.model_type == "llama" else 1)


def test_only_the_text_that_makes_the_model_return_nan_is_blamed(folder: Path, tmp_path: Path) -> None:
    poisoned = Path(shutil.copytree(folder, tmp_path / "poisoned"))
    (poison, *_), (good, *_) = (encoded.tokens[-1:] for encoded in load(options(folder), quiet).encode(["~", "a"]))
    weights = safetensors.torch.load_file(poisoned / "model.safetensors")
    weights["model.embed_tokens.weight"][poison] = torch.nan
    safetensors.torch.save_file(weights, poisoned / "model.safetensors", metadata={"format": "pt"})
    texts = ["hello", "~", "hello you", "a ~ b", "good game", "see you"]
    ours, healthy = load(options(poisoned), quiet), load(options(folder), quiet)
    tokens = [encoded.tokens for encoded in ours.encode(texts)]
    answers = ours.score(tokens)
    assert [isinstance(answer, DeadLetterReason) for answer in answers] == [False, True, False, True, False, False]
    expected = stacked(healthy.score([tokens[index] for index in (0, 2, 4, 5)]))
    assert_same(stacked([answer for answer in answers if not isinstance(answer, DeadLetterReason)]), expected, 1e-5)
    assert good != poison


def test_a_token_beyond_the_vocabulary_is_blamed_on_its_text(folder: Path) -> None:
    failure, scores = load(options(folder), quiet).score([[5, 700], [5, 6]])
    assert isinstance(failure, DeadLetterReason)
    assert failure.reason == "model_failed"
    # The host finds it. On a GPU such a token would end the process.
    assert "ValueError" in failure.message
    assert not isinstance(scores, DeadLetterReason)


def test_a_broken_device_blames_no_text(folder: Path) -> None:
    def break_it(model: Any) -> None:
        with torch.no_grad():
            model.score.weight.fill_(torch.nan)

    broken = by_hand(folder, change=break_it)
    with pytest.raises(ModelError, match="harmless text"):
        broken.score([[5, 6], [7]])


def test_a_device_that_scores_the_probe_differently_than_at_the_warm_up_blames_no_text(folder: Path) -> None:
    def shift(model: Any) -> None:
        with torch.no_grad():
            model.score.weight.mul_(2)

    with pytest.raises(ModelError, match="harmless text"):
        by_hand(folder, change=shift).score([[5, 700]])


NO_MEMORY: dict[str, Exception] = {
    "CUDA": torch.OutOfMemoryError("CUDA out of memory."),
    "cuBLAS": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "the CPU": RuntimeError(
        "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 7 bytes"
    ),
    "numpy": MemoryError(),
}


class Memory:
    """Has memory for ``tokens_max`` tokens in a pass; ``passes`` lists the tokens of each pass that fitted."""

    def __init__(self, error: Exception) -> None:
        self.tokens_max = 4096
        self.passes: list[int] = []
        self._error = error

    def enter(self, model: Any) -> None:
        model.base_model.register_forward_pre_hook(self._hold, with_kwargs=True)

    def _hold(self, _module: object, _args: object, kwargs: dict[str, Any]) -> None:
        tokens = kwargs["input_ids"].numel()
        if tokens > self.tokens_max:
            raise self._error
        self.passes.append(tokens)


@pytest.mark.parametrize("told_by", NO_MEMORY)
def test_batches_shrink_when_memory_runs_out_and_grow_again_and_every_text_gets_scores(
    told_by: str, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    memory = Memory(NO_MEMORY[told_by])
    ours = by_hand(folder, change=memory.enter)
    tokens = [[5 + number] * (20 + number) for number in range(60)]
    expected = stacked(ours.score(tokens))
    all_tokens = max(memory.passes)
    assert all_tokens == sum(map(len, tokens))
    memory.tokens_max = 800
    assert_same(stacked(ours.score(tokens)), expected, 1e-5)
    memory.tokens_max = 4096
    memory.passes.clear()
    assert_same(stacked(ours.score(tokens)), expected, 1e-5)
    assert 600 < max(memory.passes) <= 800  # the lower bound is kept, and was not halved twice for one failure
    monkeypatch.setattr("worker.classifier.poison.STEADY_BATCHES", 2)
    for _ in range(8):
        assert_same(stacked(ours.score(tokens)), expected, 1e-5)
    assert max(memory.passes) == all_tokens
    assert caplog.messages[0] == (
        f"cpu has no memory for {all_tokens} tokens in one pass: "
        f"scoring up to {all_tokens // 2} tokens in one pass for now"
    )
    assert caplog.messages[-1] == "cpu has had memory for many batches: scoring up to 4096 tokens in one pass again"


def test_a_single_text_that_does_not_fit_into_memory_is_not_blamed(folder: Path) -> None:
    memory = Memory(NO_MEMORY["CUDA"])
    ours = by_hand(folder, change=memory.enter)
    memory.tokens_max = 2
    with pytest.raises(ModelError, match="no memory left for one text of 3 tokens"):
        ours.score([[5], [5, 6], [5, 6, 7], [5, 6, 8]])


def test_a_folder_is_loaded_without_the_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        pytest.fail("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert load(options(folder), quiet).identity.commit is None


def test_the_revision_depends_on_the_content_of_the_files_and_not_on_their_place(
    folder: Path, tmp_path: Path
) -> None:
    original = load(options(folder), quiet).identity
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "README.md").write_text("not part of the model")
    assert replace(load(options(copy), quiet).identity, name=original.name) == original
    for name, old, new in (
        ("tokenizer_config.json", "{", "{ "),
        ("config.json", "{", "{ "),
    ):
        changed = Path(shutil.copytree(folder, tmp_path / name))
        (changed / name).write_text((changed / name).read_text().replace(old, new, 1))
        assert load(options(changed), quiet).identity.revision != original.revision


def test_a_tokenizer_in_another_folder_gives_the_same_revision(folder: Path, tmp_path: Path) -> None:
    together = load(options(folder), quiet)
    model = Path(shutil.copytree(folder, tmp_path / "model", ignore=shutil.ignore_patterns("tokenizer*")))
    apart = load(options(model, tokenizer=str(folder)), quiet)
    assert apart.identity.revision == together.identity.revision
    assert apart.encode(["hello"]) == together.encode(["hello"])


@given(lengths=st.lists(st.integers(1, 600), max_size=60), tokens_max=st.integers(1, 3000))
def test_chunks_hold_every_text_once_within_the_bound(lengths: list[int], tokens_max: int) -> None:
    cut = list(chunks(lengths, tokens_max=tokens_max))
    assert sorted(index for chunk in cut for index in chunk) == list(range(len(lengths)))
    inside = [[lengths[index] for index in chunk] for chunk in cut]
    assert all(len(chunk) == 1 or sum(chunk) <= tokens_max for chunk in inside)
    assert [length for chunk in inside for length in chunk] == sorted(lengths)
