"""The open windows while a transaction is built: those of its partitions, or those that the clock ends.

Nothing here outlives a transaction, with one exception: the times at which this process learned of windows
(``AlertWindowClock``). The windows come from the committed states, and the new states go back to the session. If
the transaction is not committed, nothing has happened.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from worker.moderation.alert_windows import AlertWindow
from worker.moderation.coalescing import OpenWindows
from worker.records import Partition, ScoredRecord

log = logging.getLogger(__name__)

CHECK_MS = 1000


class CommittedStates(Protocol):
    """What the session knows about the states: a part of ``TransactionalSession``."""

    @property
    def states(self) -> Mapping[Partition, str]:
        """By partition, the state that was committed with its offset. A partition without a state is missing."""

    @property
    def state_characters_max(self) -> int:
        """Longest state of a partition that can be committed."""

    def is_idle(self, partition: Partition) -> bool:
        """Return whether the partition was read to its end, and all of its records are committed."""


class TransactionWindows:
    """The open windows of the partitions of one transaction.

    Args:
        results: The records of the transaction. Each of them, flagged or not, ends windows by its time.
        committed: The committed states.
        levels: The levels, mildest first.
    """

    def __init__(
        self, results: Sequence[ScoredRecord], committed: CommittedStates, levels: Sequence[str] = ()
    ) -> None:
        self._results = results
        self._committed = committed
        self._levels = levels
        self._next = 0
        self._windows: dict[Partition, OpenWindows] = {}
        if committed.states:
            for partition in {result.record.source.partition for result in results} & committed.states.keys():
                self._windows[partition] = self._open(partition)

    @property
    def counted(self) -> int:
        """How many messages were counted."""
        return sum(one.counted for one in self._windows.values())

    @property
    def keys_without_room(self) -> int:
        """How many keys had no room."""
        return sum(one.keys_without_room for one in self._windows.values())

    def at(self, index: int) -> OpenWindows:
        """Return the windows of a record's partition, after the times of all records up to this one.

        Args:
            index: The record's place in the transaction. Never less than that of an earlier call.
        """
        self._advance(index + 1)
        partition = self._results[index].record.source.partition
        if partition not in self._windows:
            self._windows[partition] = self._open(partition)
        return self._windows[partition]

    def finish(self) -> dict[Partition, str]:
        """Return the states after all records, for each partition whose state is new."""
        self._advance(len(self._results))
        states = {partition: windows.encode() for partition, windows in self._windows.items()}
        known = self._committed.states
        return {partition: state for partition, state in states.items() if state != known.get(partition, "")}

    def ended(self) -> Iterator[tuple[Partition, AlertWindow]]:
        """Yield each window that has ended since the last call, with its partition. Each must get its summary."""
        for partition, windows in self._windows.items():
            for window in windows.take_ended():
                yield partition, window

    def _advance(self, end: int) -> None:
        if self._windows:
            for result in self._results[self._next : end]:
                source = result.record.source
                if (windows := self._windows.get(source.partition)) is not None:
                    windows.advance(source.timestamp_ms)
        self._next = end

    def _open(self, partition: Partition) -> OpenWindows:
        return open_windows(self._committed, partition, self._levels)


class AlertWindowClock:
    """Ends windows of idle partitions by the clock.

    No message ends the last windows of a partition that has gone quiet. The clock ends a window when this process
    has known it for the window's length, and the partition is idle. So neither a wrong clock of a producer nor one
    of this machine can close windows early, and a backlog of old messages is coalesced like live ones. After a
    restart or a rebalance the window waits for its length again.

    A window that was opened by a message without a time ends in the same way, idle or not.
    """

    def __init__(self, check_ms: int = CHECK_MS) -> None:
        self._check_ms = check_ms
        self._next_ms = 0
        self._since_ms: dict[tuple[Partition, str], int] = {}

    def ended(self, now_ms: int, committed: CommittedStates) -> dict[Partition, OpenWindows]:
        """Return the windows of each partition whose state must change now. Their ``ended`` need a summary.

        Args:
            now_ms: The time.
            committed: The committed states. Records in memory do not matter: they come after the committed offsets,
                and meet the windows that are left.
        """
        if now_ms < self._next_ms:
            return {}
        self._next_ms = now_ms + self._check_ms
        before, self._since_ms = self._since_ms, {}
        changed: dict[Partition, OpenWindows] = {}
        for partition, state in committed.states.items():
            windows = open_windows(committed, partition)
            is_idle = committed.is_idle(partition)
            for window in list(windows):
                at = partition, window.alert_id
                since_ms = self._since_ms[at] = before.get(at, now_ms)
                can_end = is_idle or window.opened_ms is None
                if can_end and now_ms - since_ms >= 1000 * window.length_s:
                    windows.end(window)
            if windows.encode() != state:
                changed[partition] = windows
        return changed


def open_windows(committed: CommittedStates, partition: Partition, levels: Sequence[str] = ()) -> OpenWindows:
    """Return the windows of a partition. A state that cannot be read is logged, and counts as none."""
    state, characters_max = committed.states.get(partition, ""), committed.state_characters_max
    try:
        return OpenWindows(state, characters_max=characters_max, levels=levels)
    except ValueError as fault:
        log.warning(
            "%s: the windows that were committed with its offset cannot be read (%s): messages that they have "
            "counted get no summary. Do not run workers of different releases in one group",
            partition,
            fault,
        )
        return OpenWindows("", characters_max=characters_max, levels=levels)
