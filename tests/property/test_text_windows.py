"""The windows of a long text, for any length and any borders."""

from hypothesis import assume, given
from hypothesis import strategies as st

from worker.moderation.text_windows import (
    Window,
    WindowBounds,
    covers_all,
    grapheme_borders,
    head_and_tail,
    windows,
)

BOUNDS = st.builds(
    lambda size, share, windows_max: WindowBounds(size=size, overlap=size * share // 10, windows_max=windows_max),
    size=st.integers(4, 64),
    share=st.integers(0, 5),
    windows_max=st.integers(1, 9),
)
TOKENS = st.integers(0, 900)


@given(TOKENS, BOUNDS, st.sets(st.integers(0, 900)))
def test_there_are_few_windows_and_none_is_too_long(tokens: int, bounds: WindowBounds, borders: set[int]) -> None:
    found = windows(tokens, bounds, sorted(borders))
    assert 1 <= len(found) <= bounds.windows_max
    assert found[0].start == 0
    for window in found:
        assert 0 <= window.start <= window.end <= tokens
        assert window.end - window.start <= bounds.size
        assert window.end > window.start or tokens == 0


@given(TOKENS, BOUNDS)
def test_a_text_is_covered_if_the_windows_suffice_for_it(tokens: int, bounds: WindowBounds) -> None:
    is_covered = covers_all(windows(tokens, bounds), tokens)
    assert is_covered or tokens > bounds.tokens_max
    assert not is_covered or tokens <= bounds.size * bounds.windows_max


@given(TOKENS, BOUNDS, st.sets(st.integers(0, 900)))
def test_graphemes_never_cost_the_cover_of_a_text(tokens: int, bounds: WindowBounds, borders: set[int]) -> None:
    tokens = min(tokens, bounds.tokens_max)
    assert covers_all(windows(tokens, bounds, sorted(borders)), tokens)


@given(TOKENS, BOUNDS, st.sets(st.integers(0, 900)))
def test_the_first_window_is_what_the_model_card_scores(
    tokens: int, bounds: WindowBounds, borders: set[int]
) -> None:
    assert windows(tokens, bounds, sorted(borders))[0] == Window(0, min(tokens, bounds.size))


@given(TOKENS, BOUNDS)
def test_a_longer_text_is_scored_at_its_head_and_at_its_tail(tokens: int, bounds: WindowBounds) -> None:
    assume(bounds.windows_max > 1)
    tokens += bounds.tokens_max + 1
    found = windows(tokens, bounds)
    assert len(found) == bounds.windows_max
    assert (found[0].start, found[-1].end) == (0, tokens)


@given(TOKENS, TOKENS, BOUNDS, st.sets(st.integers(0, 900)))
def test_a_head_and_a_tail_share_the_windows_and_a_short_one_leaves_its_windows_to_the_other(
    head: int, tail: int, bounds: WindowBounds, borders: set[int]
) -> None:
    places = sorted(borders)
    of_head, of_tail = head_and_tail((head, places), (tail, places), bounds)
    assert len(of_head) + len(of_tail) <= bounds.windows_max
    for tokens, found in ((head, of_head), (tail, of_tail)):
        assert all(0 <= one.start < one.end <= tokens and one.end - one.start <= bounds.size for one in found)
    assert not head or of_head[0].start == 0
    assert bounds.windows_max == 1 or not tail or of_tail[-1].end == tail
    if len(of_head) + len(of_tail) < bounds.windows_max:
        assert not head or covers_all(of_head, head)
        assert not tail or (of_tail[0].start == 0 and covers_all(of_tail, tail))


@given(TOKENS, BOUNDS, st.integers(0, 900))
def test_a_passage_as_long_as_the_overlap_is_whole_in_one_window(
    tokens: int, bounds: WindowBounds, start: int
) -> None:
    tokens = min(tokens, bounds.tokens_max)
    start = min(start, tokens)
    end = min(tokens, start + bounds.overlap)
    assert any(window.start <= start and end <= window.end for window in windows(tokens, bounds))


@given(TOKENS, BOUNDS, st.integers(1, 3))
def test_a_border_is_between_graphemes_where_one_is_near(tokens: int, bounds: WindowBounds, every: int) -> None:
    assume(min(bounds.overlap, (bounds.size - bounds.overlap) // 3) >= every)
    found = windows(tokens, bounds, list(range(0, tokens, every)))
    assume(found != windows(tokens, bounds) or len(found) == 1)  # the borders fit into the windows
    for window in found:
        assert window.start % every == 0
        assert window.end % every == 0 or window.end == tokens or window.start == 0


def test_one_window_means_only_the_head_as_the_card_truncates() -> None:
    assert windows(1000, WindowBounds(size=512, overlap=64, windows_max=1)) == [Window(0, 512)]


def test_nine_windows_of_512_tokens_reach_4096_tokens() -> None:
    assert WindowBounds(size=512, overlap=64, windows_max=9).tokens_max == 4096


def test_a_token_inside_a_grapheme_is_no_border() -> None:
    # A family emoji of two characters with three tokens, then a letter.
    assert grapheme_borders([0, 0, 1, 2], [0, 2]) == [0, 3]
