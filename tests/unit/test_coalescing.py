"""Keys of alerts, windows by the messages' times, and the state that is committed."""

from base64 import b64encode

import numpy as np
import pytest

from worker.moderation.alert_windows import AlertWindow, FlaggedCategory, count_windows, decode_state, encode_window
from worker.moderation.coalescing import AlertCandidate, KeyDigest, OpenWindows

ID = "0123456789abcdef0123456789abcdef"


def candidate(
    offset: int, time_ms: int | None, *, key: bytes = b"raid-key", level: str | None = None
) -> AlertCandidate:
    return AlertCandidate(
        key=key,
        alert_id=f"{offset:032x}",
        verdict_id=f"{offset:032x}",
        time_ms=time_ms,
        offset=offset,
        item=None,
        categories=[FlaggedCategory(8, np.float32(0.9), np.float32(0.5))],
        level=level,
    )


def alerts(windows: OpenWindows, *messages: AlertCandidate, length_s: int = 60) -> list[int]:
    """Return the offsets of the messages that alert."""
    found = []
    for one in messages:
        windows.advance(one.time_ms)
        if not windows.count(one):
            windows.open(one, length_s)
            found.append(one.offset)
    return found


def test_the_first_message_alerts_and_the_later_ones_are_counted_until_the_window_ends() -> None:
    windows = OpenWindows("", characters_max=3000)
    assert alerts(windows, candidate(0, 0), candidate(1, 1000), candidate(2, 59_999), candidate(3, 60_000)) == [
        0,
        3,
    ]
    (ended,) = windows.take_ended()
    assert ended.alert_id == f"{0:032x}"
    assert ended.counted is not None
    assert (ended.counted.count, ended.counted.first_offset, ended.counted.last_offset) == (2, 1, 2)


def test_a_window_without_further_messages_has_no_summary() -> None:
    windows = OpenWindows("", characters_max=3000)
    assert alerts(windows, candidate(0, 0), candidate(1, 60_000)) == [0, 1]
    assert windows.take_ended() == []


def test_a_message_that_does_not_alert_ends_a_window_too() -> None:
    windows = OpenWindows("", characters_max=3000)
    alerts(windows, candidate(0, 0), candidate(1, 1))
    windows.advance(60_000)
    assert len(windows.take_ended()) == 1
    assert windows.encode() == ""


def test_a_message_that_comes_late_is_counted_in_the_open_window_of_its_key() -> None:
    windows = OpenWindows("", characters_max=3000)
    assert alerts(windows, candidate(0, 100_000), candidate(1, 40_000), candidate(2, 100_001)) == [0]


def test_a_late_message_without_an_open_window_opens_one_that_the_next_message_in_time_ends() -> None:
    windows = OpenWindows("", characters_max=3000)
    assert alerts(windows, candidate(0, 10_000), candidate(1, 11_000), candidate(2, 200_000)) == [0, 2]
    late, again, timely = (
        candidate(3, 10_500, key=b"late-key"),
        candidate(4, 10_600, key=b"late-key"),
        candidate(5, 200_001),
    )
    assert alerts(windows, late, again, timely) == [3]
    assert [one.alert_id for one in windows.take_ended()] == [f"{0:032x}", f"{3:032x}"]


def test_a_time_in_the_far_future_ends_windows_once_and_coalescing_goes_on() -> None:
    windows = OpenWindows("", characters_max=3000)
    messages = [candidate(0, 1000), candidate(1, 2000), candidate(2, 10**13, key=b"the-clock")]
    assert alerts(windows, *messages, candidate(3, 3000), candidate(4, 4000), candidate(5, 5000)) == [0, 2, 3]


def test_a_message_without_a_time_is_counted_and_ends_no_window() -> None:
    windows = OpenWindows("", characters_max=3000)
    assert alerts(windows, candidate(0, 1000), candidate(1, None), candidate(2, 2000)) == [0]
    assert alerts(windows, candidate(3, None, key=b"timeless"), candidate(4, 10**12, key=b"timeless")) == [3]


def test_an_open_window_keeps_its_length_when_the_length_changes() -> None:
    windows = OpenWindows("", characters_max=3000)
    assert alerts(windows, candidate(0, 0), length_s=60) == [0]
    assert alerts(windows, candidate(1, 59_000), candidate(2, 61_000), candidate(3, 62_000), length_s=1) == [2, 3]


def test_a_raid_finds_room_among_many_alerts_of_their_own_key() -> None:
    windows = OpenWindows("", characters_max=500)
    raid, found = 0, list[int]()
    for offset in range(200):
        one = candidate(offset, offset, key=b"raid-key" if offset % 3 == 0 else f"{offset:08}".encode())
        raid += offset % 3 == 0
        found += alerts(windows, one)
    assert sum(offset % 3 == 0 for offset in found) == 1
    assert windows.counted == raid - 1
    assert windows.keys_without_room > 100


def test_a_key_that_does_not_fit_alerts_each_time_and_is_counted_as_unfit() -> None:
    windows = OpenWindows("", characters_max=10)
    assert alerts(windows, candidate(0, 0), candidate(1, 1), candidate(2, 2)) == [0, 1, 2]
    assert (windows.keys_without_room, windows.encode()) == (3, "")


def test_the_level_of_the_counted_messages_is_the_highest_one() -> None:
    windows = OpenWindows("", characters_max=3000, levels=("review", "remove"))
    alerts(windows, candidate(0, 0, level="remove"), candidate(1, 1, level="review"))
    alerts(windows, candidate(2, 2, level="remove"), candidate(3, 3, level="review"))
    windows.advance(10**6)
    (ended,) = windows.take_ended()
    assert ended.counted is not None
    assert ended.counted.level == "remove"


def test_68_windows_or_32_with_counts_fit_into_the_metadata() -> None:
    windows = OpenWindows("", characters_max=3450)
    now_ms, offset = 1_800_000_000_000, 10**9
    for number in range(200):
        alerts(windows, candidate(offset + number, now_ms + number, key=f"{number:08}".encode()))
    assert len(windows) == 68
    for number in range(200):
        for again in (0, 1):
            one = candidate(offset + 300 + 2 * number + again, now_ms + 500 + number, key=f"k{number:07}".encode())
            alerts(windows, one)
    assert 28 <= sum(one.counted is not None for one in decode_state(windows.encode())) <= 34


def test_a_level_with_any_characters_survives() -> None:
    windows = OpenWindows("", characters_max=3000)
    alerts(windows, candidate(0, 0), candidate(1, 1, level="löschen, sofort: ja"))
    state = windows.encode()
    assert state.isascii()
    assert " " not in state
    (window,) = decode_state(state)
    assert window.counted is not None
    assert window.counted.level == "löschen, sofort: ja"


@pytest.mark.parametrize("state", ["2,abc,", "of another tool", "1,abc,", "1,a:b:c:d,"])
def test_a_state_of_another_version_or_a_damaged_one_is_an_error(state: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of several functions
        decode_state(state)


def test_the_state_of_a_release_is_read_by_the_next_ones() -> None:
    state = "1,cmFpZC1rZXk:AAAAAAAAAAAAAAAAAAAAAA:3e8:3c,"
    assert decode_state(state) == [AlertWindow(key=b"raid-key", alert_id="0" * 32, opened_ms=1000, length_s=60)]
    assert count_windows(state) == 1
    assert count_windows("") == 0


# ---- keys ----------------------------------------------------------------------------------------------------


def test_the_digest_of_a_key_is_the_same_in_each_worker() -> None:
    digest = KeyDigest(b"chat").digest([("channel_id", "c-1"), ("text", "buy gold")])
    assert digest is not None
    assert b64encode(digest) == b64encode(
        KeyDigest(b"chat").digest([("channel_id", "c-1"), ("text", "buy gold")]) or b""
    )
    assert digest.hex() == "842dc5759ceca3c9"


def test_keys_differ_by_field_value_and_secret() -> None:
    chat = KeyDigest(b"chat")
    digests = {
        chat.digest([("channel_id", "a"), ("user_id", "b")]),
        chat.digest([("user_id", "a"), ("channel_id", "b")]),
        chat.digest([("channel_id", "ab"), ("user_id", "")]),
        chat.digest([("channel_id", "a"), ("user_id", None)]),
        chat.digest([("category", ["hate"])]),
        chat.digest([("category", ["hate", "sexual_content"])]),
        KeyDigest(b"other").digest([("channel_id", "a"), ("user_id", "b")]),
    }
    assert len(digests) == 7


def test_a_message_without_any_field_of_the_key_has_no_key() -> None:
    assert KeyDigest(b"chat").digest([("user_id", None), ("channel_id", None)]) is None


def test_a_window_takes_few_characters() -> None:
    window = AlertWindow(key=b"raid-key", alert_id=ID, opened_ms=1_800_000_000_000, length_s=60)
    assert len(encode_window(window)) <= 51
