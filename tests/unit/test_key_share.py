"""The greatest share of one key: exact without collisions, fading with time, and silent about a few texts."""

import pytest

from worker.telemetry.key_share import BUCKETS, HALF_LIFE_NS, TOKENS_MIN, KeyShare


def channels(number: int) -> list[bytes]:
    return [b"channel %d" % one for one in range(number)]


def test_the_share_of_a_loud_channel_is_that_of_its_tokens() -> None:
    share = KeyShare()
    share.add([b"loud"] * 80 + [b"quiet"] * 20, [500] * 80 + [500] * 20, 0)
    assert share.greatest(0) in {0.8, 1.0}  # 1.0 if both keys share a bucket: once in 1,024 runs


def test_tokens_count_and_not_messages() -> None:
    share = KeyShare()
    share.add([b"long", *[None] * 1000], [4608 * 4, *[4] * 1000], 0)
    assert share.greatest(0) == pytest.approx(4608 * 4 / (4608 * 4 + 4000))


def test_messages_without_a_key_count_only_in_the_sum() -> None:
    share = KeyShare()
    share.add([None] * 100, [1000] * 100, 0)
    assert share.greatest(0) == 0


def test_collisions_raise_the_share_by_about_a_thousandth_and_never_lower_it() -> None:
    """One channel has half of the tokens and 20,000 others have the rest: its bucket has about 20 of them."""
    share = KeyShare()
    share.add([b"loud", *channels(20_000)], [20_000 * 10, *[10] * 20_000], 0)
    found = share.greatest(0)
    assert found is not None
    assert 0.5 <= found <= 0.5 + 3 / BUCKETS


def test_many_equal_channels_have_a_small_share() -> None:
    share = KeyShare()
    share.add(channels(20_000), [10] * 20_000, 0)
    found = share.greatest(0)
    assert found is not None
    assert found < 4 / BUCKETS


def test_an_earlier_wave_fades() -> None:
    share = KeyShare()
    share.add([b"loud"], [100_000], 0)
    share.add([None], [25_000], 2 * HALF_LIFE_NS)  # a quarter of the wave is left
    assert share.greatest(2 * HALF_LIFE_NS) == pytest.approx(0.5)


def test_few_tokens_have_no_share_and_an_idle_worker_has_none_after_a_while() -> None:
    share = KeyShare()
    assert share.greatest(0) is None
    share.add([b"only"], [TOKENS_MIN - 1], 0)
    assert share.greatest(0) is None
    share.add([b"only"], [TOKENS_MIN + 1], 0)
    assert share.greatest(0) == 1
    assert share.greatest(HALF_LIFE_NS) == 1
    assert share.greatest(2 * HALF_LIFE_NS) is None


def test_a_batch_of_cached_texts_before_others_changes_nothing() -> None:
    share = KeyShare()
    share.add([b"cached"] * 3, [0] * 3, 0)
    assert share.greatest(0) is None
    share.add([b"one", None], [TOKENS_MIN, TOKENS_MIN], 1)
    assert share.greatest(1) == 0.5
