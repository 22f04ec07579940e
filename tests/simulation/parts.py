"""The parts that a simulated worker gets in place of threads, a model and a chat."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import orjson

from worker.errors import ModelError
from worker.loop import Prepare, TransactionalSession
from worker.moderation.alert_summaries import last_counted
from worker.moderation.alert_windows import AlertWindow
from worker.moderation.cache import ScoreCache
from worker.moderation.coalesced_alerts import AlertWindowClock, TransactionWindows
from worker.moderation.coalescing import AlertCandidate
from worker.records import (
    ConsumedRecord,
    Judged,
    OutputRecord,
    Partition,
    PreparedMessage,
    PreparedRecord,
    ScoredRecord,
    Skipped,
    Topic,
)
from worker.scores import DeadLetterReason, Scores


class Kind(Enum):
    """The content of a message. It decides which outputs the message gets."""

    HARMLESS = b"harmless"
    UNSAFE = b"unsafe"
    BLANK = b"blank"
    POISON = b"poison"  # breaks the model
    BROKEN = b"broken"  # can't be decoded
    LARGE = b"large"  # its verdict is too large for the topic
    TOMBSTONE = None
    SKIPPED = b"skipped"  # is not a chat message
    ARRAY = b"array"  # holds several messages


OWED = {
    Kind.HARMLESS: [Topic.VERDICT],
    Kind.UNSAFE: [Topic.VERDICT, Topic.ALERT],
    Kind.BLANK: [Topic.VERDICT],
    Kind.POISON: [Topic.DEAD_LETTER],
    Kind.BROKEN: [Topic.DEAD_LETTER],
    Kind.LARGE: [Topic.DEAD_LETTER],
    Kind.TOMBSTONE: [],
    Kind.SKIPPED: [],
    Kind.ARRAY: [Topic.VERDICT, Topic.ALERT, Topic.DEAD_LETTER],
}
ELEMENTS = (Kind.UNSAFE, Kind.SKIPPED, Kind.BROKEN, Kind.HARMLESS)
"""The messages in an array."""
ITEMS = [item for item, one in enumerate(ELEMENTS) if OWED[one]]
"""The numbers of the messages in an array that have outputs."""
WINDOW_S = 1
TOKENS = {Kind.HARMLESS: 0, Kind.UNSAFE: 1, Kind.LARGE: 1, Kind.POISON: 2}
SCORES: list[Scores | DeadLetterReason] = [
    np.zeros(12, np.float32),
    np.ones(12, np.float32),
    DeadLetterReason(reason="model_failed", message="This text breaks the model."),
]


Work = tuple[Future[Any], Callable[[], Any]]


class Deferred(Executor):
    """A thread that starts work immediately, and finishes it when the test calls ``step``."""

    def __init__(self) -> None:
        self._waiting: list[Work] = []
        self._begun: Work | None = None

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._waiting.append((future, lambda: fn(*args, **kwargs)))
        self._begin()
        return future

    @property
    def is_busy(self) -> bool:
        """Whether work has started and is not finished."""
        return self._begun is not None

    def step(self) -> None:
        """Finish the work that has started, if there is any."""
        if self._begun is not None:
            future, work = self._begun
            try:
                future.set_result(work())
            except ModelError as broken:
                future.set_exception(broken)
            self._begun = None
            self._begin()

    def _begin(self) -> None:
        while self._begun is None and self._waiting:
            future, work = self._waiting.pop(0)
            if future.set_running_or_notify_cancel():
                self._begun = future, work


@dataclass(slots=True)
class Device:
    """A device that scores a text by its first token."""

    broken: bool = False

    def score(self, token_lists: Sequence[Sequence[int]]) -> Sequence[Scores | DeadLetterReason]:
        if self.broken:
            raise ModelError("a harmless text failed as well")
        return [SCORES[tokens[0]] for tokens in token_lists]


def preparing(cache: ScoreCache) -> Prepare:
    """Return a preparer: from a record to a tombstone, a dead letter, or a text of up to six tokens."""

    def prepare(chunk: Sequence[ConsumedRecord]) -> list[PreparedRecord]:
        return [record for one in chunk for record in _records(one, Kind(one.value), cache)]

    return prepare


def _records(source: ConsumedRecord, kind: Kind, cache: ScoreCache) -> list[PreparedRecord]:
    if kind is Kind.ARRAY:
        source.messages = len(ELEMENTS) - ELEMENTS.count(Kind.SKIPPED)
        last = len(ELEMENTS) - 1
        return [
            PreparedRecord(source=source, content=_content(source, one, cache), item=item, is_last=item == last)
            for item, one in enumerate(ELEMENTS)
        ]
    if kind is Kind.SKIPPED:
        source.messages = 0
    return [PreparedRecord(source=source, content=_content(source, kind, cache))]


def _content(
    source: ConsumedRecord, kind: Kind, cache: ScoreCache
) -> PreparedMessage | DeadLetterReason | Skipped | None:
    if kind is Kind.TOMBSTONE:
        return None
    if kind is Kind.SKIPPED:
        return Skipped(reason="It is not a chat message.")
    if kind is Kind.BROKEN:
        return DeadLetterReason(reason="not_json", message="It is not JSON.")
    tokens = [TOKENS[kind]] * (1 + source.offset % 6) if kind in TOKENS else []
    name = cache.digest(str(tokens)) if tokens else b""
    known = cache.get_many([name]).get(name)
    return PreparedMessage(
        message_id="",
        channel_id=None,
        user_id=None,
        sent_at=None,
        characters=0,
        text_digest=name,
        tokens=tokens if known is None else (),
        truncated=False,
        cached=known,
    )


class SimulatedJudge:
    """Returns a verdict or a dead letter for each result. A flagged one also alerts, or is counted.

    A message has one of two keys, by its offset. The windows are the real ones.
    """

    def __init__(self) -> None:
        self._clock = AlertWindowClock(check_ms=5)

    def __call__(self, results: Sequence[ScoredRecord], session: TransactionalSession) -> Judged:
        windows, outputs = TransactionWindows(results, session), list[OutputRecord]()
        for index, result in enumerate(results):
            source, item = result.record.source, result.record.item
            if result.record.content is None or isinstance(result.record.content, Skipped):
                continue
            if result.dead_letter_reason or (source.partition, source.offset, item) in session.rejected:
                outputs.append(_output(Topic.DEAD_LETTER, source, item))
                continue
            outputs.append(_output(Topic.VERDICT, source, item))
            if isinstance(result.scores, np.ndarray) and result.scores[0] > 0.5:
                candidate = _candidate(source, item)
                of_partition = windows.at(index)
                if not of_partition.count(candidate):
                    of_partition.open(candidate, WINDOW_S)
                    outputs.append(_output(Topic.ALERT, source, item, candidate.alert_id.encode()))
        states = windows.finish()
        outputs += [_summary(partition, window) for partition, window in windows.ended()]
        return Judged(
            outputs=outputs, states=states, counted=windows.counted, keys_without_room=windows.keys_without_room
        )

    def end_alert_windows(self, now_ms: int, session: TransactionalSession) -> Judged:
        changed = self._clock.ended(now_ms, session)
        return Judged(
            outputs=[_summary(one, window) for one, windows in changed.items() for window in windows.take_ended()],
            states={partition: windows.encode() for partition, windows in changed.items()},
        )


def is_summary(output: OutputRecord) -> bool:
    """Return whether an output is the summary of a window."""
    return output.topic is Topic.ALERT and (output.value or b"").startswith(b"[")


def key_of(offset: int) -> str:
    """Return the key of a message."""
    return "even" if offset % 2 == 0 else "odd"


def _candidate(source: ConsumedRecord, item: int | None) -> AlertCandidate:
    name = f"{source.partition.number:04x}{source.offset:020x}{item or 0:08x}"
    return AlertCandidate(
        key=key_of(source.offset).encode(),
        alert_id=name,
        verdict_id=name,
        time_ms=source.timestamp_ms,
        offset=source.offset,
        item=item,
        categories=[],
    )


def _summary(partition: Partition, window: AlertWindow) -> OutputRecord:
    assert window.counted is not None
    repeat = [window.alert_id, window.counted.count, window.counted.first_offset, window.counted.last_offset]
    source = last_counted(partition, window.counted).source
    return _output(Topic.ALERT, source, window.counted.last_item, orjson.dumps(repeat))


def _output(topic: Topic, source: ConsumedRecord, item: int | None, value: bytes = b"") -> OutputRecord:
    return OutputRecord(topic=topic, source=source, key=None, value=value, headers=(), item=item)


def kind_of(output: OutputRecord) -> Kind:
    """Return the kind of the message that an output answers."""
    return Kind(output.source.value) if output.item is None else ELEMENTS[output.item]
