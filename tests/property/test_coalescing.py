"""The open windows of a partition against a plain model, and what must hold when they do not fit."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from worker.moderation.alert_windows import AlertWindow, FlaggedCategory, count_windows, decode_state
from worker.moderation.coalescing import AlertCandidate, OpenWindows

LENGTH_S = 10
LEVELS = ("review", "remove")


class Message(NamedTuple):
    """A message of a partition; its offset is its place in the list."""

    key: int | None  # None: the message does not alert
    time_ms: int | None
    level: int


messages = st.lists(
    st.builds(
        Message,
        st.one_of(st.none(), st.integers(0, 3)),
        st.one_of(st.none(), st.integers(0, 40_000)),
        st.integers(0, 1),
    ),
    max_size=40,
)
transactions = st.lists(st.tuples(st.integers(1, 6), st.booleans()), max_size=40)


def candidate_of(offset: int, message: Message) -> AlertCandidate:
    assert message.key is not None
    return AlertCandidate(
        key=bytes([message.key] * 8),
        alert_id=f"{offset:032x}",
        verdict_id=f"{offset + 1000:032x}",
        time_ms=message.time_ms,
        offset=offset,
        item=offset % 3 or None,
        categories=[FlaggedCategory(offset % 12, np.float32(0.5 + offset / 100), np.float32(0.5))],
        level=LEVELS[message.level],
    )


@dataclass
class PlainWindow:
    """A window of the model: everything it holds as lists."""

    of: int
    opened_ms: int | None
    counted: list[int] = field(default_factory=list)


def plain(partition: Sequence[Message]) -> tuple[list[int], list[PlainWindow]]:
    """Return the offsets that alert, and all windows, by the plainest rules."""
    alerts, open_windows, all_windows = [], dict[int, PlainWindow](), list[PlainWindow]()
    for offset, (key, time_ms, _) in enumerate(partition):
        if time_ms is not None:
            for known, window in list(open_windows.items()):
                if window.opened_ms is not None and time_ms >= window.opened_ms + 1000 * LENGTH_S:
                    del open_windows[known]
        if key is None:
            continue
        if key in open_windows:
            open_windows[key].counted.append(offset)
        else:
            alerts.append(offset)
            open_windows[key] = PlainWindow(offset, time_ms)
            all_windows.append(open_windows[key])
    return alerts, all_windows


class Run:
    """The messages in transactions, of which some are aborted and repeated from the committed state."""

    def __init__(
        self, partition: Sequence[Message], sizes: Sequence[tuple[int, bool]], characters_max: int
    ) -> None:
        self.alerts: list[int] = []
        self.summaries: list[AlertWindow] = []
        self.state = ""
        self.counted = self.keys_without_room = 0
        at, left = 0, list(sizes)
        while at < len(partition):
            size, aborted = left.pop(0) if left else (3, False)
            windows = OpenWindows(self.state, characters_max=characters_max, levels=LEVELS)
            alerts = []
            for offset in range(at, min(at + size, len(partition))):
                windows.advance(partition[offset].time_ms)
                if partition[offset].key is not None:
                    candidate = candidate_of(offset, partition[offset])
                    if not windows.count(candidate):
                        windows.open(candidate, LENGTH_S)
                        alerts.append(offset)
            state = windows.encode()
            assert state.isascii()
            assert not state or len(state) <= characters_max
            assert count_windows(state) == len(windows)
            if not aborted:
                self.alerts += alerts
                self.summaries += windows.take_ended()
                self.counted += windows.counted
                self.keys_without_room += windows.keys_without_room
                self.state = state
                at += size

    @property
    def windows(self) -> list[AlertWindow]:
        """The windows that have counted messages, ended or still open."""
        return [one for one in (*self.summaries, *decode_state(self.state)) if one.counted is not None]


@given(messages, transactions)
def test_the_windows_decide_as_a_plain_model_does_however_the_messages_are_cut_and_repeated(
    partition: list[Message], sizes: list[tuple[int, bool]]
) -> None:
    alerts, windows = plain(partition)
    run = Run(partition, sizes, 100_000)
    assert run.alerts == alerts
    assert run.keys_without_room == 0
    expected = {f"{one.of:032x}": one for one in windows if one.counted}
    assert {one.alert_id for one in run.windows} == expected.keys()
    for window in run.windows:
        model, counted = expected[window.alert_id], window.counted
        assert counted is not None
        first, last = model.counted[0], model.counted[-1]
        assert (window.opened_ms, window.length_s) == (model.opened_ms, LENGTH_S)
        assert counted.count == len(model.counted)
        assert (counted.first_offset, counted.first_ms) == (first, partition[first].time_ms)
        assert (counted.last_offset, counted.last_item, counted.last_ms, counted.last_verdict_id) == (
            last,
            last % 3 or None,
            partition[last].time_ms,
            f"{last + 1000:032x}",
        )
        assert counted.level == LEVELS[max(partition[offset].level for offset in model.counted)]
        scores = Counter[int]()
        for offset in model.counted:
            scores[offset % 12] = max(scores[offset % 12], offset)
        assert [(one.category, one.score) for one in counted.categories] == [
            (category, np.float32(0.5 + scores[category] / 100)) for category in sorted(scores)
        ]


@given(messages, transactions, st.sampled_from([0, 30, 60, 120, 200, 300]))
def test_each_message_is_in_one_alert_or_one_count_also_when_not_every_key_fits(
    partition: list[Message], sizes: list[tuple[int, bool]], characters_max: int
) -> None:
    run = Run(partition, sizes, characters_max)
    flagged = {offset for offset, message in enumerate(partition) if message.key is not None}
    assert len(run.alerts) == len(set(run.alerts))
    not_alerted = flagged.difference(run.alerts)
    assert run.counted == len(not_alerted)
    covered: list[int] = []
    for window in run.windows:
        counted = window.counted
        assert counted is not None
        covered += [
            offset
            for offset in range(counted.first_offset, counted.last_offset + 1)
            if offset in not_alerted and bytes([partition[offset].key or 0] * 8) == window.key
        ]
    assert sorted(covered) == sorted(not_alerted)
    assert sum(one.counted.count for one in run.windows if one.counted) == len(not_alerted)


@given(messages, st.integers(0, 300))
def test_a_state_that_must_become_shorter_loses_no_count(partition: list[Message], characters_max: int) -> None:
    run = Run(partition, [], 100_000)
    windows = OpenWindows(run.state, characters_max=characters_max)
    shorter, ended = windows.encode(), windows.take_ended()
    assert not shorter or len(shorter) <= characters_max
    owed = [one for one in decode_state(run.state) if one.counted is not None]
    left = [one for one in decode_state(shorter) if one.counted is not None]
    assert sorted((*ended, *left), key=lambda one: one.alert_id) == sorted(owed, key=lambda one: one.alert_id)
