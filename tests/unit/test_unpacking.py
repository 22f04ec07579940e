import base64
import contextlib
import gzip
import uuid
import zlib
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from schemas.chat import Undecodable
from worker.moderation.shapes.unpacking import unwrapper

VALUE = b'{"text":"hello"}' * 10
SCHEMA = uuid.UUID("b7b4a7f0-9c96-4e4a-a687-fb5de9ef0c63").bytes
PACKED = {
    "gzip": [
        gzip.compress(VALUE, mtime=0),
        gzip.compress(VALUE[:50], mtime=0) + gzip.compress(VALUE[50:], mtime=0),
    ],
    "zstd": [
        zstandard.ZstdCompressor().compress(VALUE),
        zstandard.ZstdCompressor(write_content_size=False).compress(VALUE),
        zstandard.ZstdCompressor().compress(VALUE[:50]) + zstandard.ZstdCompressor().compress(VALUE[50:]),
    ],
    "base64": [base64.b64encode(VALUE), base64.urlsafe_b64encode(VALUE).rstrip(b"="), base64.encodebytes(VALUE)],
    "confluent": [b"\0\0\0\0\x07" + VALUE],
    "glue": [b"\3\0" + SCHEMA + VALUE, b"\3\5" + SCHEMA + zlib.compress(VALUE)],
}


def refusal(steps: list[str], value: bytes, bytes_max: int = 1000) -> Undecodable:
    with pytest.raises(Undecodable) as refused:
        unwrapper(steps, bytes_max)(value)  # type: ignore[arg-type] # the names are tested
    return refused.value


# The ids leave the bytes out: gzip writes the time into them, and each process of a run must collect the same ids.
@pytest.mark.parametrize(
    ("step", "packed"),
    [
        pytest.param(step, one, id=f"{step}-{form}")
        for step, values in PACKED.items()
        for form, one in enumerate(values)
    ],
)
def test_a_layer_is_taken_off_up_to_exactly_the_limit(step: str, packed: bytes) -> None:
    assert unwrapper([step], len(VALUE))(packed) == VALUE  # type: ignore[list-item] # the names are tested
    if step != "confluent" and not (step == "glue" and packed[1] == 0):
        assert refusal([step], packed, len(VALUE) - 1).reason == "too_large"


def test_layers_are_taken_off_in_order() -> None:
    packed = base64.b64encode(gzip.compress(b"\0\0\0\0\x07" + VALUE, mtime=0))
    assert unwrapper(["base64", "gzip", "confluent"], 1000)(packed) == VALUE


@pytest.mark.parametrize("step", PACKED)
@pytest.mark.parametrize("value", [b"", b"\0", b"hello world, this is not packed", b"\3\7" + SCHEMA, b"====="])
def test_a_value_that_a_step_does_not_fit_is_refused_with_the_name_of_the_step(step: str, value: bytes) -> None:
    if (step, value) in {("base64", b""), ("base64", b"====="), ("zstd", b"")}:
        return  # nothing at all
    error = refusal([step], value)
    assert error.reason == "unwrap_failed"
    assert step in error.message


@pytest.mark.parametrize("step", ["gzip", "zstd", "glue"])
def test_a_value_that_was_cut_is_refused(step: str) -> None:
    packed = PACKED[step][-1]
    assert refusal([step], packed[: len(packed) - 4]).reason == "unwrap_failed"


BOMBS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda zeros: gzip.compress(zeros, 1, mtime=0),
    "zstd": zstandard.ZstdCompressor().compress,
    "glue": lambda zeros: b"\3\5" + SCHEMA + zlib.compress(zeros, 1),
}


@pytest.mark.parametrize("step", BOMBS)
def test_a_bomb_is_too_large_and_is_not_unpacked_further(step: str) -> None:
    packed = BOMBS[step](bytes(2**28))
    assert len(packed) < 2**22
    assert refusal([step], packed, 1_000_000).reason == "too_large"


@given(value=st.binary(max_size=200), steps=st.lists(st.sampled_from(sorted(PACKED)), min_size=1, max_size=3))
def test_any_value_is_unpacked_or_refused(value: bytes, steps: list[str]) -> None:
    with contextlib.suppress(Undecodable):
        assert len(unwrapper(steps, 100)(value)) <= 200  # type: ignore[arg-type] # the names are tested
