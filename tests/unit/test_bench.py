"""`bench`: reading texts, timing stages, and the advice that follows from the figures."""

import gzip
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.shapes import plain
from worker.batching import BatchBounds
from worker.commands.bench.in_memory_loop import consumed, messages_per_second
from worker.commands.bench.limits import Figures, Limit, StageRate, advice, limit_of
from worker.commands.bench.stages import Batch, batches_of, score_growing_batches, time_stage
from worker.commands.bench.texts import built_in_texts, read_texts
from worker.commands.prove.stub_model import StubModel
from worker.errors import ConfigurationError
from worker.records import PreparedMessage, PreparedRecord, Scores
from worker.settings import load_settings


def stage(
    messages_per_s: float = 0, *, batch_messages: int = 1, batch_ms: float = 0, cpus_busy: float = 0
) -> StageRate:
    return StageRate(
        name="",
        messages_per_s=messages_per_s or batch_messages / batch_ms * 1000,
        batch_messages=batch_messages,
        batch_tokens=10 * batch_messages,
        batch_ms=batch_ms,
        cpus_busy=cpus_busy,
    )


SMALLER = [stage(batch_messages=100, batch_ms=21), stage(batch_messages=400, batch_ms=40)]
ON_GPU = Figures(
    prepared=stage(20_000, cpus_busy=1),
    judged=stage(40_000),
    device=[*SMALLER, stage(batch_messages=800, batch_ms=80)],
    long_texts=[],
    messages_per_s=9_500,
    tokens_mean=10,
    texts=9_000,
    texts_different=9_000,
    on_cpu=False,
    cpus=16,
    records_max=1024,
    tokens_max=8192,
    dtype_hint="",
)
FLAT = replace(ON_GPU, device=[*SMALLER, stage(batch_messages=800, batch_ms=50)], messages_per_s=16_000)
"""A batch with twice as many tokens takes a quarter more time."""
PREPARING = replace(ON_GPU, prepared=stage(5_000, cpus_busy=1), messages_per_s=5_000)
SHARED = replace(ON_GPU, messages_per_s=7_000)


@pytest.mark.parametrize(
    ("figures", "limit", "said"),
    [
        (ON_GPU, Limit.DEVICE, "10,000 messages/s; a batch of 8,000 tokens takes 80.0 ms. More workers on this"),
        (replace(ON_GPU, on_cpu=True), Limit.DEVICE, "Use more CPUs, a GPU, or workers on other machines"),
        (replace(ON_GPU, device=ON_GPU.device[-1:]), Limit.DEVICE, "10,000 messages/s"),
        (FLAT, Limit.OVERHEAD, "60% of it does not depend on the batch's size"),
        (FLAT, Limit.OVERHEAD, "Raise WORKER_BATCH__TOKENS_MAX, now 8192"),
        (replace(FLAT, records_max=800), Limit.OVERHEAD, "Raise WORKER_BATCH__RECORDS_MAX, now 800"),
        (PREPARING, Limit.PREPARING, "the device 10,000. It keeps 1.0 of 16 CPUs busy. Try a second worker"),
        (replace(PREPARING, cpus=1), Limit.PREPARING, "1.0 of 1 CPUs busy. Give the worker more CPUs"),
        (
            replace(ON_GPU, judged=stage(5_000), messages_per_s=5_000),
            Limit.JUDGING,
            "5,000 messages/s on one thread",
        ),
        (SHARED, Limit.SHARED, "the slowest alone does 10,000 messages/s, all together do 7,000."),
        (SHARED, Limit.SHARED, "Try a second worker on this device"),
        (replace(SHARED, on_cpu=True, cpus=2), Limit.SHARED, "They share 2 CPUs with the model"),
    ],
)
def test_one_sentence_says_what_limits_and_what_to_change(figures: Figures, limit: Limit, said: str) -> None:
    assert limit_of(figures) is limit
    assert said in advice(figures)[0]


def test_a_faster_dtype_is_named_where_the_device_limits() -> None:
    hint = "float32, though this CPU is faster in bfloat16 (WORKER_MODEL__DTYPE=bfloat16)"
    assert f"Try this: {hint}." in advice(replace(ON_GPU, dtype_hint=hint))
    assert hint not in " ".join(advice(replace(PREPARING, dtype_hint=hint)))


def test_figures_that_contradict_each_other_are_reported() -> None:
    assert "Measure again" in advice(replace(ON_GPU, messages_per_s=16_000))[1]


def test_all_built_in_texts_differ_and_most_differ_from_their_beginning() -> None:
    texts = built_in_texts()
    assert len(set(texts)) == len(texts) > 9000
    batch = texts[:1024]
    assert len({text[:24] for text in batch}) > 900


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "texts"


def test_a_file_may_have_a_text_per_line(file: Path) -> None:
    file.write_bytes("\n hello \r\n{not at the start\n\t\n今日\ngg".encode())
    assert read_texts(file, plain()) == [" hello ", "{not at the start", "今日", "gg"]


def test_a_file_may_have_an_input_message_per_line(file: Path) -> None:
    file.write_bytes(b'\xef\xbb\xbf{"text":"hello"}\n\n{"text":" "}\n{"text":"half \\ud83d","user_id":7}\n')
    assert read_texts(file, plain()) == ["hello", "half \ufffd"]


def test_messages_have_the_shape_that_the_settings_describe(file: Path) -> None:
    file.write_bytes(b'{"payload":{"body":"hello"}}\n')
    assert read_texts(file, plain(text=["/payload/body"])) == ["hello"]


def test_a_gzipped_file_may_have_any_name(file: Path) -> None:
    file.write_bytes(gzip.compress(b"one\ntwo\n", mtime=0))
    assert read_texts(file, plain()) == ["one", "two"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no text"),
        (b"\n  \n", "holds no text"),
        (b'{"text":""}', "holds no text"),
        (gzip.compress(b"", mtime=0), "holds no text"),
        (gzip.compress(b"the secret " * 100, mtime=0)[:-9], "its gzip data is damaged"),
        (b"\x1f\x8b" + b"the secret", "its gzip data is damaged"),
        (b"gg\nthe secret \x00", "line 2: The value holds control characters"),
        (b'\n{"text":"gg"}\nthe secret', "line 3: The value is not JSON"),
        (b'{"text":"gg"}\n{"words":"the secret"}', "line 2: There is no text at /text"),
        (b'{"text":["the secret"]}', "line 1: "),
        (b"gg\n" + b"the secret" * 20, "line 2: The line has 200 bytes; WORKER_INPUT__BYTES_MAX is 100."),
    ],
)
def test_an_unusable_file_is_refused_and_its_contents_are_never_shown(
    file: Path, content: bytes, said: str
) -> None:
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as refused:
        read_texts(file, plain(bytes_max=100), bytes_max=100)
    assert said in str(refused.value)
    assert "--texts" in str(refused.value)
    assert "wants a UTF-8 file" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_folder_or_a_missing_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            read_texts(path, plain())


class Clock:
    """A clock that advances only when the test works."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns

    def work(self, ms: int) -> None:
        self.now_ns += ms * 1_000_000


def test_the_figures_of_a_stage_are_medians_without_the_first_batch() -> None:
    clock = Clock()
    took_ms = iter([1000, 10, 10, 30, 10, 40])
    batches = [Batch(items=None, messages=5, tokens=50)]
    found = time_stage("stage", lambda _: clock.work(next(took_ms)), batches, seconds=0.1, clock_ns=clock)
    assert (found.batch_ms, found.messages_per_s, found.batch_tokens) == (10, 500, 50)
    assert next(took_ms, None) is None


def records_of(token_lists: Sequence[Sequence[int]]) -> list[PreparedRecord]:
    """Return prepared records. Equal token lists are equal texts."""
    return [
        PreparedRecord(
            source,
            PreparedMessage(
                message_id="",
                channel_id=None,
                user_id=None,
                sent_at=None,
                characters=1,
                text_digest=repr(tokens).encode(),
                tokens=tokens,
                truncated=False,
            ),
        )
        for source, tokens in zip(consumed([""] * len(token_lists)), token_lists, strict=True)
    ]


def bounds(records_max: int, tokens_max: int) -> BatchBounds:
    return BatchBounds(records_max=records_max, tokens_max=tokens_max, wait_ms_max=0)


def test_batches_are_those_that_the_worker_makes() -> None:
    records = records_of([[number] * 10 for number in range(300)])
    assert [batch.messages for batch in batches_of(records, bounds(100, 512))] == [51] * 5
    assert [batch.messages for batch in batches_of(records, bounds(20, 4096))] == [20] * 15
    assert [batch.messages for batch in batches_of(records[:7], bounds(20, 4096))] == [7]


def test_equal_texts_of_a_batch_are_scored_once_and_counted_separately() -> None:
    (batch,) = batches_of(records_of([[1, 2], [3], [1, 2]]), bounds(3, 100))
    assert (batch.messages, batch.tokens) == (3, 3)


class Slow(StubModel):
    """Each text takes ``text_ms`` of its clock, and the first batch another second."""

    def __init__(self, text_ms: int) -> None:
        self.clock = Clock()
        self._text_ms = text_ms
        self._cold_ms = 1000

    def score(self, token_lists: Sequence[Sequence[int]]) -> Sequence[Scores]:
        self.clock.work(len(token_lists) * self._text_ms + self._cold_ms)
        self._cold_ms = 0
        return list(np.zeros((len(token_lists), 12), np.float32))


@pytest.mark.parametrize(("text_ms", "rate"), [(1, 1000), (200, 5)])
def test_the_loop_is_as_fast_as_a_warm_model_and_scores_each_text(text_ms: int, rate: float) -> None:
    model = Slow(text_ms)
    assert (
        messages_per_second(load_settings({}).settings, model, built_in_texts(), seconds=2, clock_ns=model.clock)
        == rate
    )


def test_the_user_s_pointers_do_not_apply_to_the_built_in_texts() -> None:
    settings = load_settings({"WORKER_INPUT__TEXT_POINTER": "/payload/body"}).settings
    model = Slow(200)
    assert messages_per_second(settings, model, built_in_texts(), seconds=2, clock_ns=model.clock) == 5


class Snail(StubModel):
    """Sleeps for a millisecond a token."""

    def score(self, token_lists: Sequence[Sequence[int]]) -> Sequence[Scores]:
        time.sleep(sum(map(len, token_lists)) / 1000)
        return list(np.zeros((len(token_lists), 12), np.float32))


def test_a_batch_that_would_take_too_long_is_left_out() -> None:
    settings = load_settings({}).settings
    records = records_of([[number] * 10 for number in range(2000)])
    small, *larger = score_growing_batches(settings, Snail(), records, seconds=0.2)
    assert small.batch_messages == settings.batch.records_max // 8
    assert not larger
    assert len(list(score_growing_batches(settings, StubModel(), records_of([[1] * 10] * 2000), seconds=0.2))) == 3
