"""`bench`: what it reads, how it times, and what it makes of the figures."""

import gzip
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from schemas.chat import InputShape
from worker.commands.bench.limits import Figures, Limit, Row, advice, limit_of
from worker.commands.bench.measures import Batch, device, shapes, timed, whole
from worker.commands.bench.report import Texts
from worker.commands.bench.texts import built_in_texts, read_texts
from worker.commands.prove.stub_model import StubModel
from worker.errors import ConfigurationError
from worker.records import Scores
from worker.settings import load_settings


def row(messages_per_s: float = 0, *, cpu_us: float = 0, messages: int = 0, ms: float = 0) -> Row:
    return Row(
        name="",
        messages=messages,
        tokens=10 * messages,
        ms=ms,
        messages_per_s=messages_per_s or messages / ms * 1000,
        tokens_per_s=0,
        cpu_us=cpu_us,
    )


SMALLER = [row(messages=1, ms=20), row(messages=64, ms=21), row(messages=400, ms=40)]
ON_GPU = Figures(
    tokenised=row(30_000),
    prepared=row(20_000, cpu_us=50),
    judged=row(40_000),
    device=[*SMALLER, row(messages=800, ms=80)],
    left_out=[],
    whole=9_500,
    on_cpu=False,
    cpus=16,
    records_max=1024,
    tokens_max=8192,
    dtype_hint="",
)
FLAT = replace(ON_GPU, device=[*SMALLER, row(messages=800, ms=50)], whole=16_000)
"""Twice the tokens, and hardly more time."""
PREPARING = replace(ON_GPU, prepared=row(5_000, cpu_us=200), whole=5_000)
SHARED = replace(ON_GPU, whole=7_000)


@pytest.mark.parametrize(
    ("figures", "limit", "said"),
    [
        (ON_GPU, Limit.DEVICE, "10,000 messages/s; a batch of 8,000 tokens takes 80.0 ms. More workers on it gain"),
        (replace(ON_GPU, on_cpu=True), Limit.DEVICE, "more CPUs, a GPU, or workers on other machines"),
        (replace(ON_GPU, device=ON_GPU.device[-1:]), Limit.DEVICE, "10,000 messages/s"),
        (FLAT, Limit.OVERHEAD, "60% of it whatever the batch holds"),
        (FLAT, Limit.OVERHEAD, "raise WORKER_BATCH__TOKENS_MAX, now 8192"),
        (replace(FLAT, records_max=800), Limit.OVERHEAD, "raise WORKER_BATCH__RECORDS_MAX, now 800"),
        (PREPARING, Limit.PREPARING, "where the device does 10,000. It keeps 1.0 of 16 CPUs busy: a second worker"),
        (replace(PREPARING, cpus=1), Limit.PREPARING, "1.0 of 1 CPUs busy: give the worker more"),
        (replace(ON_GPU, judged=row(5_000), whole=5_000), Limit.JUDGING, "5,000 messages/s on its one thread"),
        (SHARED, Limit.SHARED, "the slowest does 10,000 messages/s by itself, all at once 7,000."),
        (SHARED, Limit.SHARED, "a second worker on this device may do more"),
        (replace(SHARED, on_cpu=True, cpus=2), Limit.SHARED, "The model shares 2 CPUs with preparing"),
    ],
)
def test_one_sentence_says_what_limits_and_what_to_change(figures: Figures, limit: Limit, said: str) -> None:
    assert limit_of(figures) is limit
    assert said in advice(figures)[0]


def test_a_dtype_that_would_be_faster_is_named_where_the_device_limits() -> None:
    hint = "float32, though this CPU is faster in bfloat16 (WORKER_MODEL__DTYPE=bfloat16)"
    assert f"Worth trying: {hint}." in advice(replace(ON_GPU, dtype_hint=hint))
    assert hint not in " ".join(advice(replace(PREPARING, dtype_hint=hint)))


def test_overhead_that_a_lone_message_pays_is_told() -> None:
    assert "A batch of 64 messages takes less than twice as long as one of 1 (20.0 ms)" in advice(ON_GPU)[-1]
    assert len(advice(replace(ON_GPU, device=ON_GPU.device[-1:]))) == 1


def test_figures_that_contradict_each_other_are_told() -> None:
    assert "Measure again" in advice(replace(ON_GPU, whole=16_000))[1]


def test_the_samples_are_all_different_from_their_beginning_on() -> None:
    texts = built_in_texts()
    assert len(set(texts)) == len(texts) > 9000
    batch = texts[:1024]
    assert len({text[:24] for text in batch}) > 900


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "texts"


def test_a_file_has_a_text_a_line(file: Path) -> None:
    file.write_bytes("\n hello \r\n{not at the start\n\t\n今日\ngg".encode())
    assert read_texts(file, InputShape()) == [" hello ", "{not at the start", "今日", "gg"]


@pytest.mark.parametrize("shape", [InputShape(), InputShape(format="text")])
def test_or_a_message_a_line(file: Path, shape: InputShape) -> None:
    file.write_bytes(b'\xef\xbb\xbf{"text":"hello"}\n\n{"text":" "}\n{"text":"half \\ud83d","user_id":7}\n')
    assert read_texts(file, shape) == ["hello", "half \ufffd"]


def test_in_the_shape_that_the_settings_say(file: Path) -> None:
    file.write_bytes(b'{"payload":{"body":"hello"}}\n')
    assert read_texts(file, InputShape(text=("payload", "body"))) == ["hello"]


def test_gzipped_or_not_whatever_its_name(file: Path) -> None:
    file.write_bytes(gzip.compress(b"one\ntwo\n", mtime=0))
    assert read_texts(file, InputShape()) == ["one", "two"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no text"),
        (b"\n  \n", "holds no text"),
        (b'{"text":""}', "holds no text"),
        (gzip.compress(b"", mtime=0), "holds no text"),
        (gzip.compress(b"the secret " * 100, mtime=0)[:-9], "its gzip is damaged"),
        (b"\x1f\x8b" + b"the secret", "its gzip is damaged"),
        (b"gg\nthe secret \x00", "line 2: The value holds control characters"),
        (b'\n{"text":"gg"}\nthe secret', "line 3: The value is not JSON"),
        (b'{"text":"gg"}\n{"words":"the secret"}', "line 2: There is no text at /text"),
        (b'{"text":["the secret"]}', "line 1: "),
        (b"gg\n" + b"the secret" * 20, "line 2: The line has 200 bytes; WORKER_INPUT__BYTES_MAX is 100."),
    ],
)
def test_a_file_that_can_not_be_used_is_refused_and_never_shown(file: Path, content: bytes, said: str) -> None:
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as refused:
        read_texts(file, InputShape(bytes_max=100))
    assert said in str(refused.value)
    assert "--texts" in str(refused.value)
    assert "wants a UTF-8 file" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_folder_or_nothing_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigurationError, match="can't be read"):
            read_texts(path, InputShape())


def test_equal_texts_are_counted_in_batches_and_in_all() -> None:
    facts = Texts.of(["a", "a", "b", "c", "a", "b"], [[1]] * 6, built_in=False, batch=3)
    assert (facts.count, facts.different) == (6, 3)
    assert facts.repeated_in_batch == pytest.approx(1 / 6)
    assert facts.repeated == 0.5


class Clock:
    """Time as work takes it."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns

    def work(self, ms: int) -> None:
        self.now_ns += ms * 1_000_000


def test_a_row_has_the_medians_of_warm_batches() -> None:
    clock = Clock()
    took_ms = iter([1000, 10, 10, 30, 10, 40])
    batches = [Batch(items=None, messages=5, tokens=50)]
    found = timed("row", lambda _: clock.work(next(took_ms)), batches, seconds=0.1, clock_ns=clock)
    assert (found.ms, found.messages_per_s, found.tokens_per_s) == (10, 500, 5000)
    assert next(took_ms, None) is None


def test_the_shapes_are_those_that_the_worker_could_give() -> None:
    lists = [[number] * 10 for number in range(300)]
    found = {name: batches[0] for name, batches in shapes(lists, 100, 512)}
    assert list(found) == ["1 message", "8 messages", "256 tokens", "512 tokens"]
    assert (found["512 tokens"].messages, found["512 tokens"].tokens) == (51, 510)
    found = {name: batches[0] for name, batches in shapes(lists, 20, 4096)}
    assert list(found) == ["1 message", "8 messages", "20 messages"]
    assert list(dict(shapes(lists[:1], 20, 4096))) == ["1 message"]


def test_equal_texts_of_a_batch_are_scored_once_and_counted_each() -> None:
    (batch,) = dict(shapes([[1, 2], [3], [1, 2]], 3, 100))["3 messages"]
    assert (batch.items, batch.messages, batch.tokens) == ([[1, 2], [3]], 3, 3)


class Slow(StubModel):
    """Each text takes so many milliseconds of its clock, and the first batch another second."""

    def __init__(self, text_ms: int) -> None:
        self.clock = Clock()
        self._text_ms = text_ms
        self._cold_ms = 1000

    def score(self, token_lists: Sequence[Sequence[int]]) -> Sequence[Scores]:
        self.clock.work(len(token_lists) * self._text_ms + self._cold_ms)
        self._cold_ms = 0
        return list(np.zeros((len(token_lists), 12), np.float32))


@pytest.mark.parametrize(("text_ms", "rate"), [(1, 1000), (200, 5)])
def test_the_whole_is_as_fast_as_a_warm_model_and_scores_each_text(text_ms: int, rate: float) -> None:
    model = Slow(text_ms)
    assert whole(load_settings({}).settings, model, built_in_texts(), seconds=2, clock_ns=model.clock) == rate


def test_teams_own_pointers_do_not_matter_to_our_own_messages() -> None:
    settings = load_settings({"WORKER_INPUT__TEXT_POINTER": "/payload/body"}).settings
    model = Slow(200)
    assert whole(settings, model, built_in_texts(), seconds=2, clock_ns=model.clock) == 5


class Snail(StubModel):
    """A millisecond a token, in earnest."""

    def score(self, token_lists: Sequence[Sequence[int]]) -> Sequence[Scores]:
        time.sleep(sum(map(len, token_lists)) / 1000)
        return list(np.zeros((len(token_lists), 12), np.float32))


def test_a_shape_that_would_take_too_long_is_left_out() -> None:
    lists = [[number] * 10 for number in range(2000)]
    answers = list(device(load_settings({}).settings, Snail(), lists, seconds=0.2))
    left_out = [answer for answer in answers if isinstance(answer, str)]
    assert "1,024 messages" in left_out
    assert len(left_out) < len(answers)
