"""The number of tokens of a batch that the warm-up finds, and the buckets of CUDA graphs."""

import math
from collections.abc import Callable

import pytest

from worker.classifier.batch_tokens import SMALLEST, find_batch_tokens
from worker.classifier.graphs import Bucket, bucket_for, buckets


def device(*, launch_s: float, tokens_a_second: float, room: float = math.inf) -> Callable[[int], float]:
    """Return the time of a batch by its tokens: a launch, then a rate; infinity beyond ``room``."""
    return lambda tokens: launch_s + tokens / tokens_a_second if tokens <= room else math.inf


@pytest.mark.parametrize(
    ("seconds_of", "bound"),
    [
        pytest.param(device(launch_s=0.0001, tokens_a_second=1_000_000), 2048, id="nothing to hide: small is full"),
        pytest.param(device(launch_s=0.02, tokens_a_second=300_000), 32_768, id="a GPU hides its launches"),
        pytest.param(device(launch_s=0.02, tokens_a_second=4_000), 1024, id="a second ends it"),
        pytest.param(device(launch_s=0.02, tokens_a_second=300_000, room=5000), 4096, id="memory ends it"),
        pytest.param(device(launch_s=0.0, tokens_a_second=100), 64, id="two of the smallest take over a second"),
        pytest.param(device(launch_s=5.0, tokens_a_second=100), SMALLEST, id="slower than all"),
    ],
)
def test_a_batch_fills_the_device_and_takes_less_than_a_second(
    seconds_of: Callable[[int], float], bound: int
) -> None:
    assert find_batch_tokens(seconds_of, largest=32_768) == bound


def test_a_batch_goes_into_the_smallest_bucket_that_holds_it() -> None:
    among = dict.fromkeys(buckets(tokens_max=4096, text_tokens_max=256))
    assert bucket_for(200, 100, 20, among) == Bucket(256, 256, 32)
    assert bucket_for(257, 100, 20, among) == Bucket(512, 512, 32)
    assert bucket_for(200, 100, 33, among) == Bucket(256, 256, 128)
    assert bucket_for(3000, 2048, 256, among) == Bucket(3072, 2048, 256)
    for beyond in ((4097, 1, 1), (3000, 2049, 3), (300, 1, 257)):
        assert bucket_for(*beyond, among) is None


def test_the_largest_bucket_is_recorded_first() -> None:
    wanted = buckets(tokens_max=512, text_tokens_max=512)
    assert wanted[0] == Bucket(512, 512, 512)
    assert wanted == sorted(wanted, reverse=True)
