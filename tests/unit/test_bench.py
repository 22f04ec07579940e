"""`bench`: reading texts, timing stages, and what limits the worker."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.shapes import plain
from worker.batching import BatchBounds
from worker.commands.bench.in_memory_loop import messages_per_second
from worker.commands.bench.limits import (
    ADVICE,
    DEVICE,
    JUDGING,
    PREPARING,
    SHARED,
    UNKNOWN,
    Figures,
    StageRate,
    limit_of,
)
from worker.commands.bench.stages import batches_of, time_stage
from worker.commands.bench.texts import built_in_texts, read_texts
from worker.commands.prove.stub_model import StubModel
from worker.commands.text_records import records_of
from worker.errors import ConfigurationError
from worker.records import PreparedMessage, PreparedRecord
from worker.scores import Scores
from worker.settings import load_settings


def figures(prepared: float, device: float, judged: float, *, together: float) -> Figures:
    rates = {PREPARING: prepared, DEVICE: device, JUDGING: judged}
    return Figures(
        stages=[StageRate(name, rate, 10) for name, rate in rates.items()],
        long_texts=[],
        together=StageRate("all", together, 10),
        texts=9_000,
        texts_different=9_000,
        records_max=1024,
        tokens_max=8192,
        batch_messages=1024,
        batch_ms=1024 * 1000 / device,
    )


@pytest.mark.parametrize(
    ("found", "limit"),
    [
        (figures(20_000, 10_000, 40_000, together=9_500), DEVICE),
        (figures(5_000, 10_000, 40_000, together=5_000), PREPARING),
        (figures(20_000, 10_000, 5_000, together=5_000), JUDGING),
        (figures(20_000, 10_000, 40_000, together=7_000), SHARED),
        (figures(20_000, 10_000, 40_000, together=16_000), UNKNOWN),
    ],
)
def test_the_slowest_stage_limits_unless_the_stages_slow_each_other_or_the_figures_contradict(
    found: Figures, limit: str
) -> None:
    assert limit_of(found) == limit
    assert limit in ADVICE


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
        (b'{"text":"gg"}\n' + b"the secret" * 20, "line 2: The value has 200 bytes; the limit is 100."),
        (b"gg\n" + b"the secret" * 200_000, "line 2: The value has 2000000 bytes; the limit is 1048576."),
    ],
)
def test_an_unusable_file_is_refused_and_its_contents_are_never_shown(
    file: Path, content: bytes, said: str
) -> None:
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as refused:
        read_texts(file, plain(bytes_max=100))
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


def test_the_rate_of_a_stage_is_a_median_without_the_first_batch() -> None:
    clock = Clock()
    took_ms = iter([1000, 10, 10, 30, 10, 40])
    assert time_stage(lambda _: clock.work(next(took_ms)), [range(5)], seconds=0.1, clock_ns=clock) == 500
    assert next(took_ms, None) is None


def prepared(token_lists: Sequence[Sequence[int]]) -> list[PreparedRecord]:
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
        for source, tokens in zip(records_of([""] * len(token_lists)), token_lists, strict=True)
    ]


def test_batches_are_those_that_the_worker_makes() -> None:
    records = prepared([[number] * 10 for number in range(300)])
    by_tokens = BatchBounds(records_max=100, tokens_max=512, wait_ms_max=0)
    by_records = BatchBounds(records_max=20, tokens_max=4096, wait_ms_max=0)
    assert [len(batch) for batch in batches_of(records, by_tokens)] == [51] * 5
    assert [len(batch) for batch in batches_of(records, by_records)] == [20] * 15
    assert [len(batch) for batch in batches_of(records[:7], by_records)] == [7]


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
